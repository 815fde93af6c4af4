"""One suite over every host: the machine itself, and one that a real OpenSSH server leads to."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.hosts.base import Host, Upload
from cosmos_jobs.targets.hosts.local import LocalHost
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.support.waiting import until

Result = TypeVar("Result")
Use = Callable[[Callable[[Host], Awaitable[Result]]], Result]

NASTY = 'it\'s a $(touch hacked) `x`; "q" \\ ü\nnew -n'


@pytest.fixture(params=["local", "ssh"])
def use(request: pytest.FixtureRequest) -> Use[object]:
    """Return how to do something with a host, which is closed then."""
    if request.param == "ssh":
        request.getfixturevalue("ssh_servers")("gpu-1")

    def run(work: Callable[[Host], Awaitable[object]]) -> object:
        async def body() -> object:
            host: Host = SSHHost("gpu-1") if request.param == "ssh" else LocalHost()
            try:
                return await work(host)
            finally:
                await host.close()

        return asyncio.run(body())

    return run


def file(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(source: Path, target: Path) -> Upload:
    return Upload(source, str(target), digest(source))


def test_a_script_gives_its_exit_code_and_both_streams(use: Use[object]) -> None:
    async def work(host: Host) -> None:
        done = await host.run("echo out; echo err >&2; exit 3")

        assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")

    use(work)


def test_scripts_know_nothing_of_one_another(use: Use[object], tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        await host.run(f"left=over; cd '{tmp_path}'; set -e; trap 'echo trapped' EXIT; exec 3>&1")
        done = await host.run('echo "<$left>"; false; [ "$PWD" = / ] || echo "$PWD"; cat')

        assert done.exit_code == 0
        assert done.stdout.startswith("<>\n")
        assert str(tmp_path) not in done.stdout

    use(work)


def test_text_of_any_kind_passes_unchanged(use: Use[object], tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        long = "x" * 300_000
        done = await host.run(f"cat <<'END'\n{NASTY}\nEND\nprintf '%s' '{long}'; printf '\\377\\0'")

        assert done.stdout == f"{NASTY}\n{long}\ufffd\0"

    use(work)


def test_output_without_a_last_line_end_is_kept_as_it_is(use: Use[object]) -> None:
    async def work(host: Host) -> None:
        outputs = [
            (await host.run(f"printf '{text}'")).stdout for text in ("", "a", "\\n", "a\\n\\n")
        ]

        assert outputs == ["", "a", "\n", "a\n\n"]

    use(work)


def test_a_broken_script_is_the_scripts_failure(use: Use[object]) -> None:
    async def work(host: Host) -> None:
        done = await host.run("if then fi (")

        assert done.exit_code not in (0, None)
        assert (await host.run("echo fine")).stdout == "fine\n"

    use(work)


def test_a_script_that_takes_too_long_is_an_error_and_the_next_one_runs(use: Use[object]) -> None:
    async def work(host: Host) -> None:
        began = time.monotonic()
        with pytest.raises(HostError, match="did not answer within 1 s"):
            await host.run("sleep 30", timeout_s=1)

        assert time.monotonic() - began < 10
        assert (await host.run("echo fine")).stdout == "fine\n"

    use(work)


def test_a_detached_child_is_not_waited_for(use: Use[object], tmp_path: Path) -> None:
    async def work(host: Host) -> None:
        child = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo on > {tmp_path}/on"
        script = f"setsid sh -c '{child}' </dev/null >/dev/null 2>&1 &"
        await host.run(script, timeout_s=30)
        await host.close()

        assert not (tmp_path / "on").exists()
        (tmp_path / "go").touch()
        await asyncio.to_thread(until, (tmp_path / "on").exists)

    use(work)


def test_many_scripts_at_once_all_get_their_own_answers(use: Use[object]) -> None:
    async def work(host: Host) -> None:
        done = await asyncio.gather(*(host.run(f"echo {number}") for number in range(40)))

        assert [each.stdout for each in done] == [f"{number}\n" for number in range(40)]

    use(work)


@pytest.mark.parametrize("folder", ["plain", NASTY])
@pytest.mark.parametrize("size", [0, 1, 20_000, (4 << 20) - 1, 4 << 20, 9_000_001])
def test_a_file_is_brought_verified_and_read_only(
    use: Use[object], tmp_path: Path, folder: str, size: int
) -> None:
    source = file(tmp_path / "here" / folder / "clip one.mp4", size)
    target = tmp_path / "there" / folder / "-n it's.mp4"

    assert use(lambda host: host.put([upload(source, target)])) == {}

    assert digest(target) == digest(source)
    assert target.stat().st_mode & 0o777 == 0o444
    assert [*target.parent.iterdir()] == [target]
    assert not [*tmp_path.rglob("hacked")]


def test_many_files_go_to_several_folders(use: Use[object], tmp_path: Path) -> None:
    sizes = [5_000] * 60 + [5 << 20] * 2
    uploads = []
    for number, size in enumerate(sizes):
        source = file(tmp_path / "here" / f"{number}.bin", size, number)
        uploads.append(upload(source, tmp_path / "there" / f"{number % 3}" / source.name))

    assert use(lambda host: host.put([*uploads, *uploads[:5]])) == {}

    assert all(digest(Path(each.target)) == each.sha256 for each in uploads)
    assert sum(1 for path in (tmp_path / "there").rglob("*") if path.is_file()) == len(uploads)


def test_nothing_to_bring_and_nothing_to_fetch_is_fine(use: Use[object]) -> None:
    assert use(lambda host: host.put([])) == {}
    assert use(lambda host: host.get({})) == {}


def test_what_is_there_is_marked_as_used_and_not_sent_again(
    use: Use[object], tmp_path: Path
) -> None:
    target = file(tmp_path / "there" / "clip.mp4", 100)
    os.utime(target, (1e9, 1e9))
    source = tmp_path / "gone.mp4"
    before = target.stat()

    assert use(lambda host: host.put([Upload(source, str(target), digest(target))])) == {}

    after = target.stat()
    assert (after.st_ino, after.st_size, after.st_mode) == (
        before.st_ino,
        before.st_size,
        before.st_mode,
    )
    assert after.st_mtime > before.st_mtime


@pytest.mark.parametrize("size", [100, 5 << 20])
def test_what_has_changed_or_is_gone_is_told_and_the_rest_is_there(
    use: Use[object], tmp_path: Path, size: int
) -> None:
    there = tmp_path / "there"
    good, changed, gone = (file(tmp_path / f"{name}.mp4", size, 1) for name in "abc")
    uploads = [upload(each, there / each.name) for each in (good, changed, gone)]
    file(changed, size, 2)
    gone.unlink()

    wrong = use(lambda host: host.put(uploads))

    assert wrong == {
        str(there / "b.mp4"): f"{changed} has changed since it was planned",
        str(there / "c.mp4"): f"{gone} is gone",
    }
    assert [*there.iterdir()] == [there / "a.mp4"]


def test_a_folder_that_cannot_be_written_is_an_error_in_the_hosts_words(
    use: Use[object], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    source = file(tmp_path / "clip.mp4", 100)

    with pytest.raises(HostError, match=r"cannot write .*/file/in: .*(director|exists)"):
        use(lambda host: host.put([upload(source, tmp_path / "file" / "in" / "clip.mp4")]))


@pytest.mark.parametrize("size", [100, 5 << 20])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    use: Use[object], tmp_path: Path, small_disk: Path, size: int
) -> None:
    sources = [file(tmp_path / f"{number}.mp4", size, number) for number in range(2)]
    (small_disk / "filler").write_bytes(bytes((2 << 20) - 8192))
    filled = [path for path in [small_disk / "more"] if fill(path)]
    uploads = [upload(each, small_disk / "inputs" / each.name) for each in sources]

    with pytest.raises(HostError, match=r"cannot write .*No space left on device"):
        use(lambda host: host.put(uploads))

    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert sorted(left) == sorted([small_disk / "filler", *filled])


def fill(path: Path) -> bool:
    """Write until the disk is full."""
    try:
        with path.open("wb") as target:
            while True:
                target.write(bytes(512))
                target.flush()
    except OSError:
        return path.exists()


@pytest.mark.parametrize("size", [0, 1, 20_000, 8 << 20, (8 << 20) + 1, 20_000_001])
def test_a_file_is_fetched_whole(use: Use[object], tmp_path: Path, size: int) -> None:
    source = file(tmp_path / "there" / NASTY / "-n.mp4", size)
    target = tmp_path / "here" / NASTY / "out.mp4"

    assert use(lambda host: host.get({str(source): target})) == {str(source): digest(source)}

    assert digest(target) == digest(source)
    assert [*target.parent.iterdir()] == [target]
    assert not [*tmp_path.rglob("hacked")]


def test_of_many_files_those_that_exist_are_fetched(use: Use[object], tmp_path: Path) -> None:
    there = [
        file(tmp_path / "there" / f"{number}.json", number * 37, number) for number in range(50)
    ]
    there.append(file(tmp_path / "there" / "big.mp4", 9 << 20))
    (tmp_path / "there" / "folder").mkdir()
    names = [*(each.name for each in there), "none.mp4", "folder"]
    wanted = {str(tmp_path / "there" / name): tmp_path / "here" / name for name in names}

    fetched = use(lambda host: host.get(wanted))

    assert fetched == {str(each): digest(each) for each in there}
    assert sorted(each.name for each in (tmp_path / "here").iterdir()) == sorted(
        each.name for each in there
    )


@pytest.mark.parametrize("size", [5 << 20, 9 << 20])
def test_a_full_disk_here_is_told_and_nothing_is_left(
    use: Use[object], tmp_path: Path, small_disk: Path, size: int
) -> None:
    source = file(tmp_path / "there.mp4", size)
    target = small_disk / "here" / "clip.mp4"

    with pytest.raises(HostError, match="No space left on device") as caught:
        use(lambda host: host.get({str(source): target}))

    assert caught.value.message == f"this machine: cannot write {target}: No space left on device"
    assert [*target.parent.iterdir()] == []


def test_what_was_fetched_before_is_replaced(use: Use[object], tmp_path: Path) -> None:
    source = file(tmp_path / "there.mp4", 1000)
    target = file(tmp_path / "here.mp4", 2000, 1)

    use(lambda host: host.get({str(source): target}))

    assert digest(target) == digest(source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_read_only_root_is_an_error(use: Use[object], tmp_path: Path, small_disk: Path) -> None:
    source = file(tmp_path / "clip.mp4", 5 << 20)
    assert os.system(f"mount -o remount,ro '{small_disk}'") == 0

    with pytest.raises(HostError, match=r"cannot write .*Read-only file system"):
        use(lambda host: host.put([upload(source, small_disk / "inputs" / "clip.mp4")]))
