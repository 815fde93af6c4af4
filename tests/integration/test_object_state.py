"""A state in an object store: conditions hold, and a lost answer changes nothing twice."""

from __future__ import annotations

import io
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cosmos_jobs.artifacts.s3 import Bucket
from cosmos_jobs.errors import StoreAway, StoreError
from cosmos_jobs.state.backends.s3 import ObjectFile
from cosmos_jobs.state.store import Store, Transaction
from tests.integration.test_store import put, record
from tests.support.object_server import BUCKET, ObjectServer
from tests.support.ssh_server import Proxy
from tests.support.state_files import count

CROWD = 8


@pytest.fixture
def url(objects: ObjectServer, tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def far(objects: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Return the network before the server, through which clients opened now go."""
    with Proxy(objects.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield proxy


def test_the_server_of_these_tests_keeps_its_conditions(
    objects: ObjectServer, tmp_path: Path
) -> None:
    clients = [objects.client() for _ in range(CROWD)]
    barrier = Barrier(CROWD)

    def write(client: Any, key: str, condition: dict[str, str]) -> int:
        barrier.wait()
        try:
            client.put_object(Bucket=BUCKET, Key=key, Body=bytes(10_000), **condition)
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    said: Counter[int] = Counter()
    with ThreadPoolExecutor(CROWD) as threads:
        for number in range(20):
            key = f"{tmp_path.name}/{number}"
            first = {"IfNoneMatch": "*"}
            said.update(threads.map(lambda each, k=key, c=first: write(each, k, c), clients))
            tag = clients[0].get_object(Bucket=BUCKET, Key=key)["ETag"]
            clients[0].put_object(Bucket=BUCKET, Key=key, Body=b"x", IfMatch=tag)
            stale = {"IfMatch": tag}
            said.update(threads.map(lambda each, k=key, c=stale: write(each, k, c), clients))

    assert said == {200: 20, 412: 20 * (CROWD - 1) + 20 * CROWD}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_change_whose_answer_is_lost_is_made_once(far: Proxy, url: str, way: str) -> None:
    store = Store(ObjectFile(url))
    count(store, 0)
    tries = 0

    def work(change: Transaction) -> int:
        nonlocal tries
        number = int(change.job("all") or 0) + 1
        change.put_jobs({"all": str(number)})
        if not tries:
            far.cut_after(700 if way == "up" else 1, way)
        tries += 1
        return number

    assert store.change(work) == 2

    known = Store(ObjectFile(url)).snapshot()
    assert (dict(known.jobs), known.serial) == ({"all": "2", "writer-0": "1"}, 2)


def test_a_change_is_decided_anew_when_others_were_quicker(url: str) -> None:
    ann, bob = (Store(ObjectFile(url)) for _ in range(2))
    count(ann, 0)
    seen: list[str | None] = []

    def work(change: Transaction) -> None:
        seen.append(change.job("all"))
        if len(seen) == 1:
            count(bob, 1)
        change.put_jobs({"all": str(int(change.job("all") or 0) + 1)})

    ann.change(work)

    assert seen == ["1", "2"]
    assert ann.snapshot().jobs["all"] == "3"


def test_a_server_that_is_away_is_out_of_reach(far: Proxy, url: str) -> None:
    said: list[str] = []
    store = Store(ObjectFile(url, 2, said.append))
    put(store, record(1))
    far.off()

    with pytest.raises(StoreAway, match="out of reach"):
        put(store, record(2))

    assert said == [f"{store.file.name}: no answer; trying again for 2 s"]
    far.on = True
    put(store, record(2))
    assert len(store.snapshot().runs) == 2


def test_a_bucket_itself_can_be_the_place(objects: ObjectServer) -> None:
    objects.client().create_bucket(Bucket="whole")
    store = Store(ObjectFile("s3://whole"))
    put(store, record(1))

    assert store.file.name == "s3://whole/state.json"
    assert len(Store(ObjectFile("s3://whole/")).snapshot().runs) == 1


def test_a_backup_is_made_of_what_was_there_at_the_first_write(url: str) -> None:
    put(Store(ObjectFile(url)), record(1))
    before = ObjectFile(url).read("")
    store = Store(ObjectFile(url))
    for number in range(2, 5):
        put(store, record(number))

    assert before is not None
    assert ObjectFile(url).backup() == before.data


def test_who_is_not_allowed_is_told_without_secrets(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(StoreError, match="nobody") as caught:
        Store(ObjectFile(url)).snapshot()

    assert "credentials" in caught.value.hint


def test_an_upload_does_not_wait_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "x")
        bucket = Bucket("s3://films/x", "it is", "")
        said: list[bytes] = []

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                said.append(connection.recv(1 << 16))
                connection.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")

        with ThreadPoolExecutor(1) as threads:
            answering = threads.submit(answer)
            with pytest.raises(ClientError, match="503"):
                bucket.client().put_object(Bucket="films", Key="x", Body=io.BytesIO(b"pictures"))
            answering.result()
        bucket.close()

    # Cut while it waited for `100 Continue`, the library would read in a loop without end.
    assert said[0].startswith(b"PUT ")
    assert b"100-continue" not in said[0].lower()
