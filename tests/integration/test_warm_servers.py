"""Warm servers as real processes: one load for many batches, and none that holds a GPU for nobody.

The server is a small program of the tests' own (`tests/fakes/warm_server.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.config.project import Installation, Target
from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Command, Life, Server, Status
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors.base import Submission, Swept
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.executors.process.executor import ProcessExecutor
from cosmos_jobs.targets.hosts.local import LocalHost
from tests.integration.test_process_executor import numbered
from tests.support.processes import members
from tests.support.waiting import until

PROGRAM = Path(__file__).parents[1] / "fakes" / "warm_server.py"
Line = tuple[str, ...]
LASTS: Line = ("await", "stop")


def command(*lines: Line, key: str = "a model", idle_s: float = 60, **more: Any) -> Command:
    """Return a batch that a server works, line by line."""
    work = "".join(json.dumps(line) + "\n" for line in lines).encode()
    server = Server((sys.executable, str(PROGRAM), str(idle_s)), key, int(idle_s))
    return Command(("false",), {"batch.jsonl": work}, server=server, **more)


class Bench:
    """An executor on this machine, its batches numbered from 1, and its servers."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.ledger = root.parent / "ledger"
        target = Target("local", str(root), **settings)
        self.batches = BatchDirectory(LocalHost(), str(root), client="ann@here", owner="owner1")
        self.executor = ProcessExecutor(self.batches, target, kill_grace_s=1)

    def submit(
        self, number: int, command: Command, env: dict[str, str] | None = None, **more: Any
    ) -> None:
        installation = Installation(env={"LEDGER": str(self.ledger), **(env or {})})
        order = Submission(numbered(number), command, installation, **more)
        asyncio.run(self.executor.submit([order]))

    def folder(self, number: int) -> Path:
        return self.root / "batches" / numbered(number).id

    def poll(self, number: int) -> Status:
        batch = numbered(number).id
        return asyncio.run(self.executor.poll([batch]))[batch]

    def wait(self, number: int, met: Callable[[Status], object]) -> Status:
        deadline = time.monotonic() + 30
        while not met(status := self.poll(number)):
            assert time.monotonic() < deadline, status
            time.sleep(0.03)
        return status

    def at_work(self, number: int) -> None:
        self.wait(number, lambda status: "awaiting" in status.files)

    def ended(self, number: int) -> Status:
        return self.wait(number, lambda status: status.life is Life.EXITED)

    def made(self, number: int, command: Command, **more: Any) -> Status:
        self.submit(number, command, **more)
        return self.ended(number)

    def cancel(self, number: int) -> None:
        asyncio.run(self.executor.cancel([numbered(number).id]))

    def sweep(self, needed: Collection[str], *, delete: bool) -> Sequence[Swept]:
        return asyncio.run(self.batches.sweep(needed, self.executor.judge, delete=delete))

    def stop(self, number: int) -> None:
        """Let a batch that lasts end."""
        (self.folder(number) / "out" / "stop").touch()

    def loads(self) -> int:
        return len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0

    def servers(self) -> list[int]:
        """Return the processes of our servers."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if str(PROGRAM).encode() in words and str(self.root).encode() in words[-2]:
                    found.append(int(process.name))
        return found

    def end(self) -> None:
        """Kill what a test has left."""
        for file in (*self.root.glob("warm/*/pid"), *self.root.glob("batches/*/claim/pid")):
            for pid in members(int(file.read_text().split()[0])):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return how to make an executor; its servers end with the test."""
    made = []

    def make(name: str = "it's a root", **settings: Any) -> Bench:
        made.append(Bench(tmp_path / name, **settings))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def bench(benches: Callable[..., Bench]) -> Bench:
    """Return an executor with one GPU."""
    return benches(gpus=("0",))


def kill(session: int) -> None:
    """Kill the processes of a session, also those it started meanwhile, until none is left."""

    def dead() -> bool:
        for pid in members(session):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not members(session)

    until(dead)


# --- one load for many ----------------------------------------------------------------------


def test_batches_of_one_model_load_it_once_and_have_their_own_logs(bench: Bench) -> None:
    first = bench.made(1, command(("say", "one"), ("write", "a", "A")))
    second = bench.made(2, command(("say", "two"), ("exit", "3")))

    assert (first.exit_code, first.log, first.files) == (0, "one", ("a",))
    assert (second.exit_code, second.log, second.files) == (3, "two", ())
    assert (bench.loads(), len(bench.servers())) == (1, 1)


def test_a_server_runs_where_its_command_says_and_sees_its_gpu(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "its place").mkdir()

    bench.made(1, command(cwd=str(tmp_path / "its place")))

    assert bench.ledger.read_text() == f"load 0 {tmp_path}/its place\n"


@pytest.mark.parametrize(
    ("other", "env"),
    [(command(key="another model"), {}), (command(env={"A": "b"}), {}), (command(), {"A": "b"})],
)
def test_another_model_takes_the_place_of_the_first(
    bench: Bench, other: Command, env: dict[str, str]
) -> None:
    bench.made(1, command())
    (before,) = bench.servers()
    bench.made(2, other, env=env)

    assert bench.loads() == 2
    assert len(bench.servers()) == 1
    assert before not in bench.servers()


def test_another_commit_of_the_model_is_another_server(bench: Bench, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    commit = [*git, "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run([*git, "init", "-q"], check=True)
    env = {"LEDGER": str(bench.ledger)}
    loads = []

    for number in (1, 2, 3):
        if number != 2:
            subprocess.run(commit, check=True)
        order = Submission(numbered(number), command(), Installation(path=str(tmp_path), env=env))
        asyncio.run(bench.executor.submit([order]))
        bench.ended(number)
        loads.append(bench.loads())

    assert loads == [1, 1, 2]


def test_a_server_that_was_idle_for_long_enough_ends_by_itself(bench: Bench) -> None:
    bench.made(1, command(idle_s=0.5))
    until(lambda: not bench.servers())
    second = bench.made(2, command(("say", "again"), idle_s=0.5))

    assert (second.exit_code, second.log, bench.loads()) == (0, "again", 2)


def test_a_server_that_ends_just_when_a_batch_comes_is_started_anew(bench: Bench) -> None:
    bench.made(1, command())
    (server,) = bench.servers()
    # It cannot take the batch, but it lives.
    os.kill(server, signal.SIGSTOP)
    bench.submit(2, command(("say", "done")))
    until((bench.root / "warm" / "0" / "next").exists)
    os.kill(server, signal.SIGKILL)

    status = bench.ended(2)

    assert (status.exit_code, status.log, bench.loads()) == (0, "done", 2)


# --- GPUs -----------------------------------------------------------------------------------


def test_a_server_that_waits_has_no_gpu_locked(bench: Bench) -> None:
    bench.made(1, command())

    lock = ["flock", "--nonblock", str(bench.root / "gpus" / "0.lock"), "true"]
    until(lambda: not members(int((bench.folder(1) / "claim" / "pid").read_text().split()[0])))

    assert len(bench.servers()) == 1
    assert subprocess.run(lock, check=False).returncode == 0


def test_ten_gpus_are_not_locked_by_a_server_either(benches: Callable[..., Bench]) -> None:
    gpus = tuple("0123456789")
    bench = benches(gpus=gpus, gpus_per_batch=10)
    bench.made(1, command())
    until(lambda: not members(int((bench.folder(1) / "claim" / "pid").read_text().split()[0])))

    locks = [["flock", "--nonblock", f"{bench.root}/gpus/{gpu}.lock", "true"] for gpu in gpus]

    assert len(bench.servers()) == 1
    assert [subprocess.run(lock, check=False).returncode for lock in locks] == [0] * 10
    opened = [each.resolve() for each in Path(f"/proc/{bench.servers()[0]}/fd").iterdir()]
    assert [each for each in opened if each.parent.name == "gpus"] == []


def test_a_batch_without_a_server_ends_the_one_on_its_gpu(bench: Bench) -> None:
    bench.made(1, command())
    bench.made(2, Command(("true",), {}))

    assert bench.servers() == []


def test_servers_of_other_gpus_stay(benches: Callable[..., Bench]) -> None:
    one, other = benches(gpus=("0",)), benches(gpus=("1",))
    one.made(1, command())
    other.made(2, command())

    other.made(3, Command(("true",), {}))

    assert len(one.servers()) == 1


def test_a_batch_of_two_gpus_ends_the_servers_of_both(benches: Callable[..., Bench]) -> None:
    one, two = benches(gpus=("0", "1")), benches(gpus=("0", "1"), gpus_per_batch=2)
    one.submit(1, command(LASTS))
    one.at_work(1)
    one.made(2, command(key="another model"))
    one.stop(1)
    one.ended(1)
    before = len(one.servers())

    two.made(3, command())
    slots = [each.name for each in (one.root / "warm").iterdir() if (each / "pid").exists()]

    assert (before, len(one.servers()), slots) == (2, 1, ["0-1"])


def test_a_batch_goes_where_its_model_is_loaded(benches: Callable[..., Bench]) -> None:
    bench = benches(gpus=("0", "1", "2"))
    bench.submit(1, command(LASTS))
    bench.at_work(1)
    bench.made(2, command(key="another model"))
    bench.stop(1)
    bench.ended(1)

    second = bench.made(3, command(key="another model"))
    plain = bench.made(4, Command(("true",), {}))

    assert (second.gpu, plain.gpu) == ("1", "2")
    assert bench.loads() == 2


# --- what goes wrong ------------------------------------------------------------------------


def test_a_crash_in_the_middle_of_a_batch_is_its_exit_code(bench: Bench) -> None:
    crashed = bench.made(1, command(("say", "so far"), ("die", "9")))
    after = bench.made(2, command(("say", "next")))

    assert (crashed.exit_code, crashed.log) == (9, "so far")
    assert (after.exit_code, after.log, bench.loads()) == (0, "next", 2)


@pytest.mark.parametrize("everything", [False, True])
def test_a_killed_server_is_told_as_a_killed_engine(bench: Bench, everything: bool) -> None:
    bench.submit(1, command(LASTS))
    bench.at_work(1)
    leader = int((bench.root / "warm" / "0" / "pid").read_text().split()[0])

    for pid in members(leader) if everything else bench.servers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    status = bench.ended(1)

    assert status.exit_code == 137
    assert "killed, perhaps out of memory" in failures.explain(status)


def test_a_server_that_ends_with_a_batch_has_not_made_it(bench: Bench) -> None:
    assert bench.made(1, command(("die", "0"))).exit_code == 1


def test_a_server_that_cannot_begin_says_why_in_the_log_of_the_batch(bench: Bench) -> None:
    status = bench.made(1, command(), env={"CANNOT_IMPORT": "torch"})

    assert status.exit_code == 1
    assert status.log.endswith("ModuleNotFoundError: No module named torch")


def test_a_missing_program_of_a_server_is_told(bench: Bench) -> None:
    server = Server(("/opt/none/bin/python",), "a model", 60)

    status = bench.made(1, Command(("true",), {}, server=server))

    assert (status.exit_code, status.fault) == (127, "no-program /opt/none/bin/python")


@pytest.mark.parametrize("deaf", [False, True])
def test_a_batch_that_takes_too_long_ends_its_server(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    monkeypatch.setattr(launcher, "KILL_AFTER_S", 1)
    lines = (("deaf",), LASTS) if deaf else (LASTS,)

    status = bench.made(1, command(*lines), limit_s=1)

    assert (status.exit_code, status.fault) == (124, "timeout 1")
    assert bench.servers() == []


# --- to end them ----------------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True])
def test_cancelling_a_batch_ends_the_server_that_works_it(bench: Bench, deaf: bool) -> None:
    bench.submit(1, command(*((("deaf",), LASTS) if deaf else (LASTS,))))
    bench.at_work(1)

    bench.cancel(1)

    assert bench.servers() == []
    assert bench.poll(1).life is Life.CANCELLED
    assert bench.made(2, command(("say", "next"))).log == "next"


def test_cancelling_what_has_ended_leaves_its_server_alone(bench: Bench) -> None:
    bench.made(1, command())

    bench.cancel(1)

    assert len(bench.servers()) == 1


def test_cancelling_what_waits_leaves_the_server_of_another_alone(bench: Bench) -> None:
    bench.submit(1, command(LASTS))
    bench.at_work(1)
    bench.submit(2, command())
    until((bench.folder(2) / "claim" / "pid").exists)

    bench.cancel(2)
    bench.stop(1)

    assert bench.poll(2).life is Life.CANCELLED
    assert bench.ended(1).exit_code == 0


@pytest.mark.campaign(part="servers")
def test_cancelling_at_any_moment_leaves_no_server_at_work(
    benches: Callable[..., Bench], times: int
) -> None:
    for number in range(times):
        bench = benches(str(number), gpus=("0",))
        bench.submit(1, command(LASTS))
        time.sleep(number * 0.24 / times)

        bench.cancel(1)

        # One that was just starting sees by itself that it is not wanted.
        until(lambda bench=bench: not bench.servers())  # type: ignore[misc]
        assert bench.poll(1).life is Life.CANCELLED


@pytest.mark.parametrize("cancel", [True, False])
def test_a_server_whose_batch_was_killed_makes_way(bench: Bench, cancel: bool) -> None:
    bench.submit(1, command(LASTS))
    bench.at_work(1)
    (server,) = bench.servers()
    kill(int((bench.folder(1) / "claim" / "pid").read_text().split()[0]))

    alive = bench.poll(1).life
    if cancel:
        bench.cancel(1)
        until(lambda: server not in bench.servers())
    after = bench.made(2, command(("say", "next")))

    assert alive is Life.GONE
    assert (after.exit_code, after.log) == (0, "next")
    assert server not in bench.servers()


# --- secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_a_secret_reaches_the_server_and_no_file(bench: Bench, fails: bool) -> None:
    secret = "s3cr3t-'\"$(x)"
    env = {"TOKEN": "${TOKEN}", **({"CANNOT_IMPORT": "${TOKEN}"} if fails else {})}
    secrets = dict.fromkeys(("TOKEN", "CANNOT_IMPORT") if fails else ("TOKEN",), secret)

    status = bench.made(1, command(("say", "using $TOKEN")), env=env, secrets=secrets)

    stars = "*" * len(secret)
    assert stars in (bench.folder(1) / "log").read_text()
    assert status.exit_code == (1 if fails else 0)
    files = [each for each in bench.root.rglob("*") if each.is_file()]
    assert [each for each in files if secret in each.read_text(errors="replace")] == []


# --- what can go ----------------------------------------------------------------------------


def test_the_folder_of_a_server_goes_when_it_is_dead(bench: Bench) -> None:
    bench.made(1, command())
    slot, old = bench.root / "warm" / "0", time.time() - 2 * 3600
    leader = int((slot / "pid").read_text().split()[0])
    os.utime(slot, (old, old))

    alive = bench.sweep((), delete=True)
    for pid in bench.servers():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not members(leader))
    young = bench.sweep((), delete=True)
    os.utime(slot, (old, old))
    dead = bench.sweep((), delete=True)

    assert alive == young == []
    assert [each.name for each in dead] == ["warm/0"]
    assert not slot.exists()
