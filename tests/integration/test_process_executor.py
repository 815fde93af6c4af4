"""Batches as real processes: started once, believed only with proof, really ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cosmos_jobs.executors.process import ProcessExecutor
from cosmos_jobs.hosts.local import LocalHost
from cosmos_jobs.model import Batch, Command, Life, Status

BATCH = Batch("ba_0000000000000001", "any", "local", ("rs_0000000000000001",))


class Bench:
    """An executor on this machine, with what a test asks of it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "batches" / BATCH.id
        self.executor = ProcessExecutor(LocalHost(), str(root), slots=1, kill_grace_s=1)

    def submit(self, *argv: str, env: Mapping[str, str] | None = None) -> None:
        asyncio.run(self.executor.submit(BATCH, Command(argv, {}, env or {})))

    def poll(self) -> Status:
        return asyncio.run(self.executor.poll([BATCH.id]))[BATCH.id]

    def cancel(self) -> None:
        asyncio.run(self.executor.cancel([BATCH.id]))

    def wait(self, met: Callable[[Status], bool]) -> Status:
        deadline = time.monotonic() + 30
        while not met(status := self.poll()):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def ended(self) -> Status:
        return self.wait(lambda status: status.life is Life.EXITED)

    def pid(self) -> int:
        self.wait(lambda status: (self.folder / "claim" / "pid").exists())
        return int((self.folder / "claim" / "pid").read_text().split()[0])


@pytest.fixture(params=["plain", 'it\'s a $(touch hacked) `x`; "q" \\ ü\nnew'])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Return an executor in a folder with a good name, and in one with a bad name."""
    return Bench(tmp_path / str(request.param))


def test_a_batch_that_nobody_started_is_absent(bench: Bench) -> None:
    assert bench.poll() == Status(Life.ABSENT)


def test_a_batch_leaves_its_exit_code_its_files_and_its_log(bench: Bench) -> None:
    before = time.time()
    bench.submit(
        "sh", "-c", "mkdir out/a; echo one > out/a/b.txt; echo said; echo >&2 wrong; exit 3"
    )

    status = bench.ended()

    assert status.exit_code == 3
    assert status.files == ("a/b.txt",)
    assert status.log == "said\nwrong"
    assert status.started is not None
    assert status.finished is not None
    assert before - 1 <= status.started <= status.finished <= time.time() + 1
    texts = asyncio.run(bench.executor.read(BATCH.id, ["a/b.txt", "none"]))
    assert texts == {"a/b.txt": "one\n"}


@pytest.mark.parametrize("value", ["$(touch hacked)", "`x`", "it's", 'say "hi"', "a\nb", "-n", ""])
def test_arguments_and_variables_are_data(tmp_path: Path, value: str) -> None:
    bench = Bench(tmp_path)
    bench.submit("sh", "-c", 'printf %s "$1$GIVEN" > out/got', "sh", value, env={"GIVEN": value})

    bench.ended()

    assert (bench.folder / "out" / "got").read_text() == 2 * value
    assert not list(tmp_path.rglob("hacked"))


def test_a_batch_that_is_submitted_twice_runs_once(bench: Bench) -> None:
    for _ in range(3):
        bench.submit("sh", "-c", "echo once >> out/times")
    bench.ended()
    bench.submit("sh", "-c", "echo once >> out/times")
    time.sleep(0.3)

    assert (bench.folder / "out" / "times").read_text() == "once\n"


def test_ten_submitters_at_once_start_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def race() -> None:
        command = Command(("sh", "-c", "echo once >> out/times"), {})
        await asyncio.gather(*(bench.executor.submit(BATCH, command) for _ in range(10)))

    asyncio.run(race())
    bench.ended()
    time.sleep(0.3)

    assert (bench.folder / "out" / "times").read_text() == "once\n"


def test_a_killed_batch_is_gone(bench: Bench) -> None:
    bench.submit("sleep", "60")
    os.killpg(bench.pid(), signal.SIGKILL)

    assert bench.wait(lambda status: status.life is not Life.RUNNING).life is Life.GONE


def test_a_batch_whose_script_was_killed_lives_as_long_as_its_engine(bench: Bench) -> None:
    bench.submit("sh", "-c", "sleep 60; true")
    group = bench.pid()
    bench.wait(lambda status: len(_members(group)) >= 2)
    os.kill(group, signal.SIGKILL)
    bench.wait(lambda status: group not in _members(group))

    alive = bench.poll().life
    bench.cancel()

    assert alive is Life.RUNNING
    assert bench.poll().life is Life.CANCELLED
    assert not _members(group)


def test_a_pid_that_another_process_has_now_is_not_believed(bench: Bench) -> None:
    bench.submit("sleep", "60")
    group = bench.pid()
    born = (bench.folder / "claim" / "pid").read_text().split()[1]
    os.killpg(group, signal.SIGKILL)

    (bench.folder / "claim" / "pid").write_text(f"{os.getpid()} {born}\n")

    assert bench.poll().life is Life.GONE


def test_a_claim_without_a_process_is_given_up_after_a_while(bench: Bench) -> None:
    claim = bench.folder / "claim"
    claim.mkdir(parents=True)

    young = bench.poll().life
    os.utime(claim, (time.time() - 60, time.time() - 60))

    assert young is Life.RUNNING
    assert bench.poll().life is Life.GONE


def test_a_cancelled_batch_has_no_process_left(bench: Bench) -> None:
    bench.submit("sh", "-c", "sleep 60 & sleep 60")
    group = bench.pid()

    bench.cancel()

    assert bench.poll().life is Life.CANCELLED
    assert not _members(group)


def test_a_batch_that_does_not_want_to_end_is_killed(bench: Bench) -> None:
    bench.submit("sh", "-c", "trap '' TERM; touch out/deaf; while :; do sleep 1; done")
    bench.wait(lambda status: "deaf" in status.files)

    bench.cancel()

    assert bench.poll().life is Life.CANCELLED


def test_a_batch_that_is_cancelled_before_its_start_never_starts(bench: Bench) -> None:
    bench.cancel()
    bench.submit("touch", "out/started")
    time.sleep(0.3)

    assert bench.poll() == Status(Life.CANCELLED)


def test_cancelling_what_has_ended_changes_nothing(bench: Bench) -> None:
    bench.submit("true")
    before = bench.ended()

    bench.cancel()

    assert bench.poll() == before


def test_cancelling_at_any_moment_of_a_start_leaves_no_process(tmp_path: Path) -> None:
    for number in range(20):
        bench = Bench(tmp_path / str(number))
        bench.submit("sleep", "60")
        time.sleep(number * 0.002)

        bench.cancel()

        status = bench.wait(lambda status: status.life is not Life.RUNNING)
        assert status.life in (Life.CANCELLED, Life.EXITED)
        if (bench.folder / "claim" / "pid").exists():
            group = int((bench.folder / "claim" / "pid").read_text().split()[0])
            bench.wait(lambda status, group=group: not _members(group))  # type: ignore[misc]


def _members(group: int) -> list[int]:
    """Return the processes of a group that are not dead."""
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, itself = (process / "stat").read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(itself) == group and state != "Z":
            members.append(int(process.name))
    return members
