"""Shelves of published outputs, on a host and in a bucket: one promise, two real servers."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosmos_jobs.apply.remotes.base import Shelf
from cosmos_jobs.errors import StoreAway, StoreError
from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, ObjectServer
from tests.support.output_remotes import KINDS, Folder, Objects, Place, open_shelf

RUN, OTHER = "rs_0123456789abcdef", "rs_fedcba9876543210"


class Bench:
    """A shelf of a kind, and its place; `where` opens another client's."""

    def __init__(self, kind: str, where: str, place: Place, folder: Path) -> None:
        self.kind = kind
        self.where = where
        self.place = place
        self.folder = folder
        self.shelf: Shelf = open_shelf(kind, where)

    def file(self, data: bytes) -> tuple[str, Path]:
        """Return the sha256 of a new file, and the file."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.folder / f"file {sha256[:8]}"
        path.write_bytes(data)
        return sha256, path


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    kind, where = request.param, str(tmp_path / "a root")
    if kind == "host":
        servers: Servers = request.getfixturevalue("ssh_servers")
        servers("gpu")
        place: Place = Folder(Path(where))
    else:
        server: ObjectServer = request.getfixturevalue("objects")
        where, place = f"s3://{BUCKET}/{tmp_path.name}", Objects(server, tmp_path.name)
    made = Bench(kind, where, place, tmp_path)
    yield made
    made.shelf.close()


def test_what_is_put_is_found_and_comes_back(bench: Bench) -> None:
    sha256, video = bench.file(b"pictures" * 1000)
    _, manifest = bench.file(b"{}")

    assert bench.shelf.find([RUN]) == frozenset()
    assert bench.shelf.manifest(RUN) == b""
    bench.shelf.put(RUN, manifest, {sha256: video})
    missing = "0" * 64
    back = {sha256: bench.folder / "back", missing: bench.folder / "none"}
    bench.shelf.get(back)

    assert bench.shelf.find([OTHER, RUN]) == {RUN}
    assert bench.shelf.manifest(RUN) == b"{}"
    assert back[sha256].read_bytes() == video.read_bytes()
    assert not back[missing].exists()
    assert bench.place.names("files") == [f"files/{sha256}"]
    assert bench.place.names("runs") == [f"runs/{RUN}/manifest.json"]


def test_a_content_is_written_once_and_a_manifest_anew(bench: Bench) -> None:
    sha256, video = bench.file(b"pictures")
    bench.shelf.put(RUN, bench.file(b"{}")[1], {sha256: video})
    bench.place.write(f"files/{sha256}", b"damaged!")

    bench.shelf.put(OTHER, bench.file(b"[1]")[1], {sha256: video})
    assert bench.place.read(f"files/{sha256}") == b"damaged!"
    bench.shelf.put(RUN, bench.file(b"[2]")[1], {sha256: video}, [sha256])

    assert bench.place.read(f"files/{sha256}") == b"pictures"
    assert bench.shelf.manifest(RUN) == b"[2]"


def test_a_few_are_found_among_many(bench: Bench) -> None:
    ids = [f"rs_{number:016x}" for number in range(0, 1 << 60, 1 << 50)]
    if bench.kind == "host":
        ids = ids[::10]
    for each in ids:
        bench.place.write(f"runs/{each}/manifest.json", b"{}")
    absent = [f"{each[:-1]}1" for each in ids[::7]]
    wanted = [*ids[::100], ids[-1], *absent]

    assert bench.shelf.find(wanted) == {*ids[::100], ids[-1]}
    assert bench.shelf.find([*ids, *absent]) == set(ids)


def test_clients_that_publish_the_same_at_once_do_no_harm(bench: Bench) -> None:
    sha256, video = bench.file(os.urandom(300_000))
    _, manifest = bench.file(b"{}")
    shelves = [open_shelf(bench.kind, bench.where) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: each.put(RUN, manifest, {sha256: video}), shelves))
    for each in shelves:
        each.close()

    assert bench.place.read(f"files/{sha256}") == video.read_bytes()
    assert bench.shelf.manifest(RUN) == b"{}"


def test_who_is_killed_before_the_manifest_has_published_nothing(bench: Bench) -> None:
    sha256, video = bench.file(b"pictures")
    pipe = bench.folder / "manifest"
    # Nobody writes into it: who opens it waits, and the files are there by then.
    os.mkfifo(pipe)
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.support.output_remotes import open_shelf\n"
        "kind, where, run, manifest, sha256, video = sys.argv[1:]\n"
        "open_shelf(kind, where).put(run, Path(manifest), {sha256: Path(video)})"
    )
    given = [bench.kind, bench.where, RUN, str(pipe), sha256, str(video)]
    client = subprocess.Popen([sys.executable, "-c", program, *given])
    deadline = time.monotonic() + 60
    while not bench.place.names("files"):
        assert client.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.send_signal(signal.SIGKILL)
    client.wait()

    assert bench.shelf.find([RUN]) == frozenset()
    assert bench.shelf.manifest(RUN) == b""
    bench.shelf.put(RUN, bench.file(b"{}")[1], {sha256: video})
    assert bench.shelf.find([RUN]) == {RUN}


def test_a_part_of_a_content_does_not_stay(objects: ObjectServer, tmp_path: Path) -> None:
    place = Objects(objects, tmp_path.name)
    bench = Bench("bucket", f"s3://{BUCKET}/{tmp_path.name}", place, tmp_path)
    sha256, video = bench.file(b"pictures")
    place.write(f"files/{sha256}", b"pict")

    bench.shelf.put(RUN, bench.file(b"{}")[1], {sha256: video})

    assert place.read(f"files/{sha256}") == b"pictures"


def test_a_bucket_that_is_away_or_not_there_is_told(
    objects: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="bucket") as refused:
        open_shelf("bucket", "s3://no-such-bucket/x").find([RUN])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreAway, match="published outputs are out of reach") as away:
        open_shelf("bucket", f"s3://{BUCKET}/x").find([RUN])

    assert "cosmos-jobs.yaml" in refused.value.hint
    assert "later" in away.value.hint
