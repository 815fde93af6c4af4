"""What every executor promises, on this machine and over SSH: one suite for all of them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cosmos_jobs.config.project import Installation, Slurm
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Command, Life, Status
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.executors.slurm import executor
from cosmos_jobs.targets.hosts.base import Host
from cosmos_jobs.targets.hosts.local import LocalHost
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.support.executor_bench import AGAIN, BATCH, SECOND, Bench

if TYPE_CHECKING:  # pytest itself must be the first to import it
    from tests.support.fixtures_ssh import Servers

pytest_plugins = ["tests.support.fixtures_slurm"]

ROOT = 'it\'s a $(touch hacked) `x`; "q" \\ ü'
THEIRS = "from-the-machine"
WAYS = ("process-local", "process-ssh", "slurm-local", "slurm-ssh")


@pytest.fixture(params=WAYS)
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Return an executor in a folder with a bad name, on this machine or on one behind sshd."""
    kind, way = request.param.split("-")
    monkeypatch.setenv("THEIR_TOKEN", THEIRS)
    lines = [f"THEIR_TOKEN={THEIRS}"]
    if kind == "slurm":
        cluster = request.getfixturevalue("slurm")
        lines.append(f"SLURM_CONF={cluster.config}")
        # Nobody minds, and the tests are done sooner.
        monkeypatch.setattr(executor, "ASK_EVERY_S", (0.2, 0.2))
    host: Host = LocalHost()
    if way == "ssh":
        servers: Servers = request.getfixturevalue("ssh_servers")
        servers("gpu", f"SetEnv {' '.join(lines)}")
        host = SSHHost("gpu")
    made = Bench(host, tmp_path / ROOT, Slurm() if kind == "slurm" else None)
    yield made
    made.close()


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
    texts = bench.run(bench.batches.read({BATCH.id: ["a/b.txt", "none"]}))
    assert texts == {BATCH.id: {"a/b.txt": "one\n"}}


@pytest.mark.parametrize("value", ["$(touch hacked)", "`x`", "it's", 'say "hi"', "a\nb", "-n", ""])
def test_arguments_and_variables_are_data(bench: Bench, value: str) -> None:
    bench.submit("sh", "-c", 'printf %s "$1$GIVEN" > out/got', "sh", value, env={"GIVEN": value})

    bench.ended()

    assert (bench.folder / "out" / "got").read_text() == 2 * value
    assert not list(bench.root.rglob("hacked"))


def test_a_batch_that_is_submitted_twice_runs_once(bench: Bench) -> None:
    for _ in range(3):
        bench.submit("sh", "-c", "echo once >> out/times")
    bench.ended()
    bench.submit("sh", "-c", "echo once >> out/times")
    time.sleep(0.3)

    assert (bench.folder / "out" / "times").read_text() == "once\n"


def test_ten_submitters_at_once_start_one(bench: Bench) -> None:

    async def race() -> None:
        order = Submission(
            BATCH, Command(("sh", "-c", "echo once >> out/times"), {}), Installation()
        )
        await asyncio.gather(*(bench.executor.submit([order]) for _ in range(10)))

    bench.run(race())
    bench.ended()
    time.sleep(0.3)

    assert (bench.folder / "out" / "times").read_text() == "once\n"


def test_a_cancelled_batch_has_no_process_left(bench: Bench) -> None:
    bench.submit("sh", "-c", "sleep 60.125 & touch out/at-work; sleep 60.125")
    bench.wait(lambda status: "at-work" in status.files)
    before = bench.living("sleep 60.125")

    bench.cancel()

    assert before
    assert bench.poll().life is Life.CANCELLED
    assert not bench.living("sleep 60.125")


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


@pytest.mark.parametrize("kill", [True, False])
def test_a_batch_that_a_colleague_needs_is_left_alone(bench: Bench, kill: bool) -> None:
    bench.submit("sh", "-c", "touch out/at-work; sleep 60")
    bench.wait(lambda status: "at-work" in status.files)
    bench.run(bench.theirs.keep([BATCH.id]))

    left_alone = bench.run(bench.executor.cancel([BATCH.id, SECOND.id], kill=kill))
    repeated = bench.run(bench.executor.cancel([BATCH.id], kill=kill))
    life = bench.poll().life
    marks = [each.name for each in (bench.folder / "needed").iterdir()]
    theirs = bench.run(bench.colleague.cancel([BATCH.id]))

    assert left_alone == repeated == {BATCH.id}
    assert life is Life.RUNNING
    assert marks == ["owner2"]
    assert theirs == frozenset()
    assert bench.wait(lambda status: status.life is not Life.RUNNING).life is Life.CANCELLED
    assert bench.poll(SECOND).life is Life.CANCELLED


def test_cancelling_what_has_ended_keeps_our_mark_beside_a_colleagues(bench: Bench) -> None:
    bench.submit("true")
    before = bench.ended()
    bench.run(bench.theirs.keep([BATCH.id]))

    assert bench.run(bench.executor.cancel([BATCH.id])) == frozenset()

    assert bench.poll() == before
    marks = {each.name for each in (bench.folder / "needed").iterdir()}
    assert marks == {"owner1", "owner2"}


def test_what_we_marked_just_now_is_not_swept(bench: Bench) -> None:
    bench.submit("true")
    bench.ended()

    young = bench.sweep((), delete=False)
    old = time.time() - 2 * 3600
    os.utime(bench.folder / "needed" / "owner1", (old, old))
    later = bench.sweep((), delete=False)

    assert young == []
    assert [each.name for each in later] == [BATCH.id]


def test_a_batch_is_refused_a_run_that_another_has_had_meanwhile(bench: Bench) -> None:
    bench.submit("true")
    bench.ended()
    bench.order(Command(("touch", "out/ran"), {}), batch=AGAIN)
    status = bench.wait(lambda status: status.life is Life.REFUSED, AGAIN)

    assert status == Status(Life.REFUSED, others=(BATCH.id,))
    assert not (bench.root / "batches" / AGAIN.id / "out").exists()
    assert bench.run(bench.batches.find(BATCH.runs)) == {BATCH.runs[0]: BATCH.id}


def test_a_batch_gets_a_run_whose_earlier_batch_it_knows(bench: Bench) -> None:
    bench.submit("true")
    bench.ended()
    known = {BATCH.runs[0]: ("ba_0000000000000009", BATCH.id)}
    bench.order(Command(("touch", "out/ran"), {}), batch=AGAIN, known=known)
    bench.ended(AGAIN)

    assert (bench.root / "batches" / AGAIN.id / "out" / "ran").exists()
    assert bench.run(bench.batches.find(BATCH.runs)) == {BATCH.runs[0]: AGAIN.id}


def test_a_batch_says_of_itself_what_its_client_wrote(bench: Bench) -> None:
    bench.order(Command(("true",), {}), description=b"\x00what it is for\n")
    bench.ended()

    told = bench.run(bench.batches.describe([BATCH.id, "ba_none"]))

    assert told == {BATCH.id: b"\x00what it is for\n"}


def test_what_somebody_needs_is_marked(bench: Bench) -> None:
    bench.submit("true")
    bench.ended()
    mark = bench.folder / "needed" / "owner1"

    before = mark.exists()
    bench.run(bench.batches.release([BATCH.id]))
    released = mark.exists()
    bench.run(bench.batches.keep([BATCH.id, "ba_none"]))

    assert (before, released, mark.exists()) == (True, False, True)
    assert not (bench.root / "batches" / "ba_none").exists()


def test_an_engine_runs_in_the_folder_of_its_command(bench: Bench) -> None:
    place = bench.root / "it's a $(place)"
    place.mkdir(parents=True)

    bench.order(Command(("pwd",), {}, cwd=str(place)))
    status = bench.ended()

    assert (status.exit_code, status.log) == (0, str(place))
    assert list(place.iterdir()) == []


def test_a_missing_folder_of_a_command_is_told(bench: Bench) -> None:
    bench.order(Command(("true",), {}, cwd=f"{bench.root}/it's not there"))

    status = bench.ended()

    assert (status.exit_code, status.fault) == (127, f"no-folder {bench.root}/it's not there")


def test_the_variables_of_an_engine_are_its_own(bench: Bench) -> None:
    bench.submit("/bin/sh", "-c", "exit 4", env={"PATH": "/nowhere"})

    assert bench.ended().exit_code == 4


def test_what_was_asked_for_is_there_for_whoever_collects(bench: Bench) -> None:
    bench.order(Command(("cat", "out/asked.json"), {serialize.ASKED: b"[]\n"}))

    status = bench.ended()

    assert (status.log, status.files) == ("[]", (serialize.ASKED,))


def test_a_missing_folder_of_the_engine_is_told(bench: Bench) -> None:
    bench.order(Command(("true",), {}), Installation(path=f"{bench.root}/it's not there"))

    status = bench.ended()

    assert (status.exit_code, status.fault) == (127, f"no-folder {bench.root}/it's not there")


def test_a_missing_program_is_told(bench: Bench) -> None:
    bench.submit("/opt/none/bin/python", "-m", "x")

    assert bench.ended().fault == "no-program /opt/none/bin/python"


def test_a_batch_that_takes_too_long_is_stopped(bench: Bench) -> None:
    bench.order(Command(("sh", "-c", "sleep 60 & sleep 60"), {}), limit_s=1)

    status = bench.ended()

    assert status.fault == "timeout 1"
    assert status.exit_code == 124


def test_a_secret_reaches_the_engine_and_no_file(bench: Bench) -> None:
    secret = "s3cr3t-'\"$(x)"
    script = 'printf %s "$TOKEN" | sha256sum > out/seen; echo "using $TOKEN now"; echo end'

    bench.order(
        Command(("sh", "-c", script), {}),
        Installation(env={"TOKEN": "${TOKEN}", "PLAIN": "x y"}),
        secrets={"TOKEN": secret},
    )
    status = bench.ended()

    seen = (bench.folder / "out" / "seen").read_text().split()[0]
    assert seen == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in status.log
    files = [each for each in bench.root.rglob("*") if each.is_file()]
    assert [each for each in files if secret in each.read_text(errors="replace")] == []
    assert (bench.folder / "log").read_text() == f"using {'*' * len(secret)} now\nend\n"


def test_a_secret_that_we_lack_comes_from_the_machine(bench: Bench) -> None:
    installation = Installation(env={"TOKEN": "${THEIR_TOKEN}"})

    bench.order(Command(("sh", "-c", 'echo "${#TOKEN}" > out/seen'), {}), installation)
    bench.ended()

    assert (bench.folder / "out" / "seen").read_text() == f"{len(THEIRS)}\n"


def test_a_log_is_read_from_where_one_was(bench: Bench) -> None:
    bench.submit("sh", "-c", "echo one; echo two")
    bench.ended()

    parts = [bench.run(bench.batches.log(BATCH.id, offset)) for offset in (0, 4, 8)]

    assert parts == [(b"one\ntwo\n", 8), (b"two\n", 8), (b"", 8)]
    assert bench.run(bench.batches.log("ba_none", 0)) == (b"", 0)
