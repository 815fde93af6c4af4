"""Batches on a real Slurm: found again, told apart, and never taken for something else."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cosmos_jobs.config.project import Container, Installation, Slurm
from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Batch, Command, Life, Status
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.executors.slurm import executor, states
from cosmos_jobs.targets.hosts.base import Completed
from cosmos_jobs.targets.hosts.local import LocalHost
from tests.support import docker_engine
from tests.support.docker_engine import Dockerd
from tests.support.executor_bench import BATCH, SECOND, Bench
from tests.support.slurm_cluster import NOBODY, Cluster
from tests.support.waiting import until

if TYPE_CHECKING:  # pytest itself must be the first to import it
    from tests.support.fixtures_slurm import Clusters

pytest_plugins = ["tests.support.fixtures_slurm", "tests.support.fixtures_docker"]

LASTS = ("sh", "-c", "echo begun >> out/begun; sleep 60.5")


class Nobody(LocalHost):
    """This machine as the user nobody sees it."""

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        done = await asyncio.to_thread(
            subprocess.run,
            [*NOBODY, "sh", "-s"],
            input=script.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask often: nobody minds here, and the tests are done sooner."""
    monkeypatch.setattr(executor, "ASK_EVERY_S", (0.2, 0.2))
    monkeypatch.setattr(executor, "AWAY_PAUSE_S", (0.2, 0.2))
    monkeypatch.setattr(executor, "ANSWER_S", 3)
    monkeypatch.setattr(executor, "FILES_LATE_S", 0)


@pytest.fixture
def bench(slurm: Cluster, tmp_path: Path) -> Iterator[Bench]:
    """Return an executor on the cluster that the tests share."""
    made = Bench(LocalHost(), tmp_path, Slurm())
    yield made
    made.close()


def many(count: int) -> list[Batch]:
    return [Batch(f"ba_{n:016}", "any", "gpu", (f"rs_{n:016}",)) for n in range(1, count + 1)]


def submit(bench: Bench, batches: Sequence[Batch], *argv: str, **more: Any) -> None:
    command = Command(argv or LASTS, {})
    orders = [Submission(batch, command, Installation(), **more) for batch in batches]
    bench.run(bench.executor.submit(orders))


def began(bench: Bench, batch: Batch = BATCH) -> Status:
    # A look reads the facts before it lists the files.
    return bench.wait(lambda status: "begun" in status.files and "slurm_job" in status.facts, batch)


def settled(bench: Bench, batch: Batch = BATCH) -> Status:
    return bench.wait(lambda status: status.life is not Life.RUNNING, batch)


def times_begun(bench: Bench) -> int:
    return len((bench.folder / "out" / "begun").read_text().split())


# --- submissions --------------------------------------------------------------------------


def test_batches_are_elements_of_one_array(slurm: Cluster, bench: Bench) -> None:
    batches = many(5)
    submit(bench, batches, "true")
    for batch in batches:
        assert bench.ended(batch).exit_code == 0

    (array,) = bench.root.glob("arrays/ca_*")
    assert (array / "batches").read_text().split() == [batch.id for batch in batches]


def test_arrays_are_split_at_our_limit_and_at_the_clusters(
    clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = clusters("MaxArraySize=3")
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    sizes = {}

    for limit in (2, 100):
        bench = Bench(LocalHost(), tmp_path / str(limit), Slurm(array_limit=limit))
        submit(bench, many(5), "true")
        listed = (each / "batches" for each in bench.root.glob("arrays/ca_*"))
        sizes[limit] = sorted(len(each.read_text().split()) for each in listed)
        for batch in many(5):
            bench.ended(batch)
        bench.close()

    assert sizes == {2: [1, 2, 2], 100: [2, 3]}


def test_no_more_of_an_array_run_at_a_time_than_was_said(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(max_running=1))
    submit(bench, many(2))
    first, second = many(2)
    began(bench, first)

    waits = bench.wait(lambda status: status.waits_for, second)
    bench.close()

    assert waits.waits_for == "others of its array: max_running (JobArrayTaskLimit)"
    assert waits.started is None


def test_a_submission_that_was_cut_before_its_number_was_noted_is_found_again(
    slurm: Cluster, bench: Bench
) -> None:
    submit(bench, [BATCH])
    began(bench)
    (noted,) = bench.root.glob("arrays/ca_*/job")
    before = slurm.jobs()
    number = noted.read_text()
    noted.unlink()
    (bench.folder / "claim" / "restarts").unlink()
    (bench.folder / "claim" / "pid").unlink()
    (bench.folder / "claim").rmdir()

    life = bench.wait(lambda status: noted.exists()).life
    found = noted.read_text()
    noted.unlink()
    submit(bench, [BATCH, SECOND])

    assert life is Life.RUNNING
    assert found == noted.read_text() == number
    assert began(bench, SECOND).started
    assert len(slurm.jobs().keys() - before.keys()) == 1
    assert times_begun(bench) == 1


def test_a_batch_whose_number_was_lost_and_that_ended_is_told(slurm: Cluster, bench: Bench) -> None:
    submit(bench, [BATCH])
    job = began(bench).facts["slurm_job"]
    next(bench.root.glob("arrays/ca_*/job")).unlink()
    slurm.run("scancel", job)
    until(lambda: slurm.jobs()[job] == "CANCELLED")
    fresh = Bench(LocalHost(), bench.root, Slurm())

    status = settled(fresh)
    fresh.quit()

    assert (status.life, status.fault) == (Life.CANCELLED, f"{failures.CANCELLED_BY} somebody else")


def test_a_submission_that_was_cut_before_sbatch_is_made_again(
    slurm: Cluster, bench: Bench
) -> None:
    slurm.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    try:
        submit(bench, [BATCH], "true")
        slurm.cancel_all()
    finally:
        slurm.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    (noted,) = bench.root.glob("arrays/ca_*/job")
    noted.unlink()
    # Slurm remembers for a while; a real cut leaves nothing.
    name = noted.parent.name
    lost = noted.parent.rename(noted.parent.with_name("ca_0000000000000000"))
    (bench.folder / "array").write_text(f"{lost.name} 0\n")

    absent = bench.wait(lambda status: status.life is Life.ABSENT)
    submit(bench, [BATCH], "true")

    assert name != lost.name
    assert absent == Status(Life.ABSENT)
    assert bench.ended().exit_code == 0


def test_what_slurm_refuses_is_told_in_its_words(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(partition="none"))

    with pytest.raises(HostError, match=r"(?s)Slurm does not submit 1 batch: .*partition") as told:
        submit(bench, [BATCH])

    assert "cosmos-jobs doctor gpu" in told.value.hint
    assert bench.poll().life is Life.ABSENT
    bench.close()


def test_a_job_asks_for_what_the_target_says(slurm: Cluster, tmp_path: Path) -> None:
    asked = Slurm("gpu", gres="gpu:h100:2", mem="3G", cpus=4, extra=("--nice=7",))
    bench = Bench(LocalHost(), tmp_path, asked)
    submit(bench, [BATCH], limit_s=3600)
    status = began(bench)

    shown = slurm.run("scontrol", "--oneliner", "show", "job", status.facts["slurm_job"])
    bench.close()

    for words in ("TimeLimit=01:05:00", "NumCPUs=4", "MinMemoryNode=3G", "Nice=7", "gpu:h100:2"):
        assert words in shown
    assert f"Comment=cosmos-jobs {next(tmp_path.glob('arrays/ca_*')).name} of ann@here" in shown
    assert (status.gpu, status.facts["node"]) == ("0 1", "node")


def test_a_limit_beyond_the_partitions_is_the_partitions(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm("short"))

    submit(bench, [BATCH], limit_s=7200)
    status = began(bench)

    shown = slurm.run("scontrol", "--oneliner", "show", "job", status.facts["slurm_job"])
    bench.close()
    assert "TimeLimit=00:01:00" in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SBATCH_JOB_NAME", "mine"),
        ("SBATCH_EXPORT", "NONE"),
        ("SBATCH_PARTITION", "short"),
        ("SBATCH_ARRAY_INX", "0-3"),
        ("SQUEUE_STATES", "all"),
        ("SQUEUE_FORMAT2", "JobID"),
    ],
)
def test_variables_of_slurms_programs_change_nothing(
    slurm: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    installation = Installation(env={"TOKEN": "${TOKEN}"})
    command = Command(("sh", "-c", 'echo begun > out/begun; echo "${#TOKEN}"; sleep 60.5'), {})
    order = Submission(BATCH, command, installation, secrets={"TOKEN": "secret"})

    bench.run(bench.executor.submit([order]))
    status = bench.wait(lambda status: status.log == "6" and "slurm_job" in status.facts)
    shown = slurm.run("scontrol", "--oneliner", "show", "job", status.facts["slurm_job"])
    bench.cancel()

    assert f"JobName={next(bench.root.glob('arrays/ca_*')).name}" in shown
    assert "Partition=gpu" in shown
    assert bench.poll().life is Life.CANCELLED


def test_the_limits_of_a_job_that_we_are_in_are_not_those_of_batches(
    slurm: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")

    submit(bench, [BATCH], "sh", "-c", 'echo "${SLURM_MEM_PER_CPU:-none}"')

    assert bench.ended().log != "100"


# --- what Slurm says ----------------------------------------------------------------------


def test_a_requeued_batch_is_lost_and_does_not_run_again(slurm: Cluster, bench: Bench) -> None:
    submit(bench, [BATCH])
    job = began(bench).facts["slurm_job"]

    slurm.run("scontrol", "requeue", job)
    status = settled(bench)

    assert (status.life, status.fault) == (Life.GONE, failures.REQUEUED)
    # Slurm waits for what it revoked to run out; to start it sooner would fail.
    until(lambda: slurm.jobs()[job] == "COMPLETED", 150, slurm.jobs)
    later = Bench(LocalHost(), bench.root, Slurm())
    assert settled(later).fault == failures.REQUEUED
    later.close()
    assert times_begun(bench) == 1


def test_a_batch_that_another_user_cancels_is_cancelled_not_by_us(
    slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(tempfile.mkdtemp(prefix="shared-"))
    root.chmod(0o777)
    bench = Bench(Nobody(), root, Slurm())
    submit(bench, many(2))
    first, second = many(2)
    job = began(bench, first).facts["slurm_job"]
    began(bench, second)

    slurm.run("scancel", job)
    status = settled(bench, first)

    assert (status.life, status.fault) == (Life.CANCELLED, f"{failures.CANCELLED_BY} somebody else")
    assert bench.poll(second).life is Life.RUNNING
    bench.close()


def test_a_job_over_its_time_limit_has_failed(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(time="1"))
    submit(bench, [BATCH], "sh", "-c", "echo begun > out/begun; sleep 600")
    job = began(bench).facts["slurm_job"]

    deadline = time.monotonic() + 150
    while (status := bench.poll()).life is Life.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    bench.close()

    assert (status.life, status.fault) == (Life.EXITED, f"{failures.TIME_LIMIT} {job}")
    assert "raise `time` of `slurm`" in failures.explain(status)


@pytest.mark.parametrize(
    ("extra", "fault"), [((), failures.REQUEUED), (("--no-requeue",), failures.NODE_FAILED)]
)
def test_a_batch_whose_node_goes_down_is_lost(
    slurm: Cluster, tmp_path: Path, extra: tuple[str, ...], fault: str
) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(extra=extra))
    submit(bench, [BATCH])
    began(bench)

    slurm.set_node("down")
    try:
        status = settled(bench)
    finally:
        slurm.set_node("resume")
    bench.close()

    assert (status.life, status.fault) == (Life.GONE, fault)


def test_a_controller_that_is_away_is_waited_for(slurm: Cluster, bench: Bench) -> None:
    waits = "while [ ! -e out/stop ]; do sleep 0.1; done"
    submit(bench, [BATCH], "sh", "-c", f"echo begun > out/begun; {waits}; echo made > out/made")
    began(bench)
    slurm.stop_controller()

    during = [bench.poll().life for _ in range(3)]
    (bench.folder / "out" / "stop").touch()
    made = bench.wait(lambda status: "made" in status.files)
    slurm.start_controller()

    assert during == [Life.RUNNING] * 3
    assert made.life in (Life.RUNNING, Life.EXITED)
    assert bench.ended().exit_code == 0


def test_a_submission_waits_for_a_controller_that_is_away(slurm: Cluster, bench: Bench) -> None:
    submit(bench, [SECOND])
    slurm.stop_controller()

    async def both() -> None:
        order = Submission(BATCH, Command(("true",), {}), Installation())
        submitting = asyncio.create_task(bench.executor.submit([order]))
        while not bench.said:
            await asyncio.sleep(0.05)
        # Not in a thread: it ends with whoever started it.
        slurm.start_controller()
        await submitting

    bench.run(both())

    assert bench.ended().exit_code == 0
    assert bench.said[0] == f"localhost: waits for {states.AWAY}"


def test_what_waits_says_that_the_controller_is_away(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(extra=("--begin=now+1hour",)))
    submit(bench, [BATCH])
    before = bench.wait(lambda status: status.waits_for)

    slurm.stop_controller()
    try:
        during = bench.wait(lambda status: status.waits_for == states.AWAY)
    finally:
        slurm.start_controller()
    bench.close()

    assert before.waits_for == "the time at which it may begin (BeginTime)"
    assert during.life is Life.RUNNING


# --- cancel -------------------------------------------------------------------------------


def test_a_cancel_waits_for_a_controller_that_is_away(slurm: Cluster, bench: Bench) -> None:
    submit(bench, [BATCH])
    began(bench)
    slurm.stop_controller()

    async def both() -> None:
        cancelling = asyncio.create_task(bench.executor.cancel([BATCH.id]))
        await asyncio.sleep(8)
        slurm.start_controller()
        await cancelling

    bench.run(both())

    assert bench.poll().life is Life.CANCELLED
    assert not bench.living("sleep 60.5")


def test_many_arrays_of_a_controller_that_is_away_are_waited_for(
    slurm: Cluster, tmp_path: Path
) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(array_limit=1))
    batches = many(6)
    submit(bench, batches)
    for batch in batches:
        slurm.run("scancel", began(bench, batch).facts["slurm_job"])
    fresh = Bench(LocalHost(), tmp_path, Slurm())

    async def looks() -> list[Life]:
        looking = asyncio.create_task(fresh.executor.poll([each.id for each in batches]))
        await asyncio.sleep(0.15)
        slurm.stop_controller()
        return [each.life for each in (await looking).values()]

    lives = fresh.run(looks())
    slurm.start_controller()
    after = [settled(fresh, each).life for each in batches]
    fresh.quit()
    bench.close()

    assert {*lives} <= {Life.RUNNING, Life.CANCELLED}
    assert after == [Life.CANCELLED] * 6


def test_only_our_elements_are_cancelled(slurm: Cluster, bench: Bench) -> None:
    batches = many(3)
    submit(bench, batches)
    for batch in batches:
        began(bench, batch)
    other = slurm.run("sbatch", "--parsable", "--wrap=sleep 60", "--output=/dev/null")

    bench.run(bench.executor.cancel([batches[1].id]))

    assert slurm.jobs()[other] == "RUNNING"
    assert sum(state == "RUNNING" for state in slurm.jobs().values()) == 3
    assert [bench.poll(each).life for each in batches] == [
        Life.RUNNING,
        Life.CANCELLED,
        Life.RUNNING,
    ]


def test_what_waits_leaves_the_queue_when_it_is_withdrawn(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(max_running=1))
    submit(bench, many(2))
    first, second = many(2)
    began(bench, first)

    bench.run(bench.executor.cancel([first.id, second.id], kill=False))

    assert bench.poll(first).life is Life.RUNNING
    assert bench.poll(second) == Status(Life.CANCELLED)
    assert [state for state in slurm.jobs().values() if state == "PENDING"] == []
    bench.close()
    assert not bench.living("sleep 60.5")


# --- what is kept -------------------------------------------------------------------------


def test_batches_that_slurm_has_are_not_swept(slurm: Cluster, tmp_path: Path) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm(max_running=1))
    submit(bench, many(2))
    began(bench)
    bench.run(bench.batches.release([each.id for each in many(2)]))

    during = bench.sweep((), delete=False)
    bench.run(bench.executor.cancel([each.id for each in many(2)]))
    after = bench.sweep((), delete=True)
    bench.quit()

    assert during == []
    assert [each.name for each in after] == [each.id for each in many(2)]
    assert list(tmp_path.glob("batches/*")) == []


# --- what a healthy cluster does not say ----------------------------------------------------


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Put programs before the real ones of Slurm; `$real` is where those are."""
    folder.mkdir()
    for name, body in programs.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\nreal={shutil.which(name) or '/none'}\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


GONE = '[ "$1" != --noheader ] || exit 0\nexec "$real" "$@"'
"""A squeue that lists nothing."""


def test_a_look_waits_for_no_controller(
    slurm: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    submit(bench, [BATCH])
    began(bench)
    away = 'echo "slurm_load_ctl_conf error: Unable to contact slurm controller" >&2; exit 1'
    pretend(tmp_path / "bin", monkeypatch, squeue=GONE, scontrol=away, sacct="exit 9")
    fresh = Bench(LocalHost(), bench.root, Slurm())

    status = fresh.poll()
    fresh.quit()

    assert status.life is Life.RUNNING


@pytest.mark.parametrize(
    ("state", "life", "fault"),
    [
        ("PREEMPTED", Life.GONE, failures.PREEMPTED),
        ("BOOT_FAIL", Life.GONE, failures.NODE_FAILED),
        ("OUT_OF_MEMORY", Life.EXITED, failures.OUT_OF_MEMORY),
        ("DEADLINE", Life.EXITED, failures.DEADLINE),
        ("CANCELLED by 1001", Life.CANCELLED, failures.CANCELLED_BY),
        ("RUNNING", Life.RUNNING, ""),
    ],
)
@pytest.mark.parametrize("books", [True, False])
def test_what_becomes_of_a_batch_is_read_in_the_books_or_from_the_controller(
    slurm: Cluster,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    state: str,
    life: Life,
    fault: str,
    books: bool,
) -> None:
    submit(bench, [BATCH])
    job = began(bench).facts["slurm_job"]
    name = next(bench.root.glob("arrays/ca_*")).name
    told = f'echo "JobName={name} ArrayTaskId=0 JobState={state.split()[0]} Reason=x ExitCode=0:9"'
    storage = f"accounting_storage/{'slurmdbd' if books else 'none'}"
    pretend(
        tmp_path / "bin",
        monkeypatch,
        squeue=GONE,
        sacct=f'echo "{name}|{job}|{state}|0:9|Unknown"' if books else "exit 9",
        scontrol=f'case "$*" in *config*) echo "AccountingStorageType = {storage}"'
        f' ;; *partition*) echo ;; *"show job"*) {"exit 9" if books else told} ;;'
        ' *) exec "$real" "$@" ;; esac',
    )
    fresh = Bench(LocalHost(), bench.root, Slurm())

    if life is Life.RUNNING:
        # Long enough for both to be asked.
        for _ in range(8):
            status = fresh.poll()
            time.sleep(0.25)
    else:
        status = settled(fresh)
    fresh.quit()

    assert (status.life, status.fault.split(" ")[0]) == (life, fault)


def test_an_sbatch_whose_answer_is_lost_has_submitted_once(
    slurm: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "lost"
    pretend(
        tmp_path / "bin",
        monkeypatch,
        sbatch=f'[ -e {mark} ] && exec "$real" "$@"\n: > {mark}\n"$real" "$@" > /dev/null\n'
        'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv" >&2\n'
        "exit 1",
    )

    before = slurm.jobs()
    submit(bench, many(2))
    for batch in many(2):
        began(bench, batch)

    assert len(slurm.jobs().keys() - before.keys()) == 2
    assert bench.said


def test_an_sbatch_that_greets_is_understood(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(
        tmp_path / "bin",
        monkeypatch,
        sbatch='echo "Welcome; your account has 7 hours"\nnumber=$("$real" "$@") || exit\n'
        'echo "$number;gallium"',
    )
    submit(bench, [BATCH], "true")

    assert bench.ended().exit_code == 0
    (noted,) = bench.root.glob("arrays/ca_*/job")
    assert noted.read_text().strip().isdigit()


def test_slurm_is_asked_about_all_batches_at_once_and_seldom(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(executor, "ASK_EVERY_S", (1.0, 4.0))
    count = f'echo "$0" | sed "s|.*/||" >> {tmp_path}/asked\nexec "$real" "$@"'
    names = ("squeue", "scontrol", "sacct", "sbatch", "sinfo")
    pretend(tmp_path / "bin", monkeypatch, **dict.fromkeys(names, count))
    submit(bench, many(4))
    (tmp_path / "asked").unlink()

    began_at = time.monotonic()
    while time.monotonic() - began_at < 3.6:
        bench.run(bench.executor.poll([each.id for each in many(4)]))
        time.sleep(0.02)

    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["squeue"] * len(asked)
    assert 1 <= len(asked) <= 4


# --- secrets and containers -----------------------------------------------------------------


def test_a_secret_is_in_no_file_of_ours(bench: Bench) -> None:
    secret = "s3cr3t-'\"$(x)"
    order = Submission(
        BATCH,
        Command(("sh", "-c", 'printf %s "$TOKEN" | sha256sum > out/seen; echo "it is $TOKEN"'), {}),
        Installation(env={"TOKEN": "${TOKEN}"}),
        secrets={"TOKEN": secret},
    )
    bench.run(bench.executor.submit([order]))
    status = bench.ended()

    seen = (bench.folder / "out" / "seen").read_text().split()[0]
    assert seen == hashlib.sha256(secret.encode()).hexdigest()
    assert status.log == f"it is {'*' * len(secret)}"
    files = [each for each in bench.root.rglob("*") if each.is_file()]
    assert [each for each in files if secret in each.read_text(errors="replace")] == []


APPTAINER = """\
while [ $# -gt 0 ]; do
  case "$1" in
    *.sif) shift; break ;;
    --pwd) cd "$2" || exit 9; shift 2 ;;
    *) shift ;;
  esac
done
export HF_HOME="$APPTAINERENV_HF_HOME" TOKEN="$APPTAINERENV_TOKEN"
export CUDA_VISIBLE_DEVICES="$APPTAINERENV_CUDA_VISIBLE_DEVICES"
exec "$@"
"""
PYXIS = """\
keep=
for word in "$@"; do
  shift
  case "$word" in
    --container-workdir=*) set -- "$@" "--chdir=${word#*=}" ;;
    --container-*) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$real" "$@"
"""


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_an_engine_runs_in_the_containers_of_a_cluster(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    # Programs stand in for the containers; all else, steps of srun too, is Slurm's own.
    pretend(tmp_path / "bin", monkeypatch, apptainer=APPTAINER, srun=PYXIS)
    image = tmp_path / "model.sif"
    image.touch()
    bench = Bench(LocalHost(), tmp_path / "root", Slurm(gres="gpu:h100:2", cpus=2))
    installation = Installation(
        container=Container(str(image), (), (), runtime),
        env={"HF_HOME": "/data/hf", "TOKEN": "${TOKEN}"},
    )
    script = 'pwd > out/place; echo "$HF_HOME ${#TOKEN} $CUDA_VISIBLE_DEVICES $1"; exit 3'
    command = Command(("sh", "-c", script, "sh", "it's $(touch hacked)"), {})

    order = Submission(BATCH, command, installation, secrets={"TOKEN": "secret"}, limit_s=60)
    bench.run(bench.executor.submit([order]))
    status = bench.ended()
    bench.close()

    said = "/data/hf 6 0,1 it's $(touch hacked)"
    assert status.exit_code == 3
    assert said in status.log.splitlines()
    assert failures.explain(status) == f"the engine exited with code 3: {said}"
    assert (bench.folder / "out" / "place").read_text().strip() == str(bench.folder)
    assert status.facts["image"] == str(image)
    assert not list(tmp_path.rglob("hacked"))


def test_a_docker_container_ends_with_its_element(
    slurm: Cluster, dockerd: Dockerd, tmp_path: Path
) -> None:
    bench = Bench(LocalHost(), tmp_path, Slurm())
    contained = Container(docker_engine.IMAGE, tuple(docker_engine.volumes()), ("--network=none",))
    deaf = Command(("sh", "-c", "trap '' TERM; echo begun > out/begun; sleep 60.5"), {})
    order = Submission(BATCH, deaf, Installation(container=contained))
    bench.run(bench.executor.submit([order]))
    began(bench)
    before = dockerd.containers()

    bench.close()

    assert before == [BATCH.id]
    until(lambda: not dockerd.containers())
