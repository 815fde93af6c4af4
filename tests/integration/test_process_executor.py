"""Batches as real processes: started once, believed only with proof, really ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.config import project
from cosmos_jobs.config.project import Installation, Target
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Command, Life
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.executors.batch_dir import LOG_TAIL_BYTES, BatchDirectory
from cosmos_jobs.targets.executors.process.executor import ProcessExecutor
from cosmos_jobs.targets.fleet import Access, open_machines
from cosmos_jobs.targets.hosts.local import LocalHost
from tests.support import executor_bench, processes
from tests.support.executor_bench import BATCH, Value


class Bench(executor_bench.Bench):
    """An executor on this machine, which needs no connection."""

    def __init__(self, root: Path, **settings: Any) -> None:
        super().__init__(LocalHost(), root, **settings)

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run(work)

    def pid(self) -> int:
        self.wait(lambda status: (self.folder / "claim" / "pid").exists())
        return int((self.folder / "claim" / "pid").read_text().split()[0])


def batches_of(root: Path, secret: str) -> BatchDirectory:
    return BatchDirectory(
        LocalHost(), str(root), client="ann@here", owner="owner1", secrets=[secret]
    )


@pytest.fixture(params=["plain", 'it\'s a $(touch hacked) `x`; "q" \\ ü\nnew'])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Return an executor in a folder with a good name, and in one with a bad name."""
    return Bench(tmp_path / str(request.param))


def test_a_killed_batch_is_gone(bench: Bench) -> None:
    bench.submit("sleep", "60")
    os.killpg(bench.pid(), signal.SIGKILL)

    assert bench.wait(lambda status: status.life is not Life.RUNNING).life is Life.GONE


def test_a_batch_whose_script_was_killed_lives_as_long_as_its_engine(bench: Bench) -> None:
    bench.submit("sh", "-c", "echo at work; sleep 60; true")
    group = bench.pid()
    bench.wait(lambda status: "at work" in status.log)
    os.kill(group, signal.SIGKILL)
    bench.wait(lambda status: group not in processes.group(group))

    alive = bench.poll().life
    bench.cancel()

    assert alive is Life.RUNNING
    assert bench.poll().life is Life.CANCELLED
    assert not processes.group(group)


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


@pytest.mark.campaign(part="starts")
def test_cancelling_at_any_moment_of_a_start_leaves_no_process(tmp_path: Path, times: int) -> None:
    for number in range(times):
        bench = Bench(tmp_path / str(number))
        bench.submit("sleep", "60")
        time.sleep(number * 0.04 / times)

        bench.cancel()

        status = bench.wait(lambda status: status.life is not Life.RUNNING)
        assert status.life in (Life.CANCELLED, Life.EXITED)
        if (bench.folder / "claim" / "pid").exists():
            group = int((bench.folder / "claim" / "pid").read_text().split()[0])
            bench.wait(lambda status, group=group: not processes.group(group))  # type: ignore[misc]


def test_a_missing_setsid_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    bench = Bench(tmp_path / "root")

    with pytest.raises(HostError, match="setsid is not installed"):
        bench.submit("true")


# --- GPUs ---------------------------------------------------------------------------------


def numbered(number: int) -> Batch:
    return Batch(f"ba_{number:016}", "any", "local", (f"rs_{number:016}",))


TIMED = (
    'echo "$CUDA_VISIBLE_DEVICES" > out/gpu; date +%s%N > out/from; sleep 0.4; date +%s%N > out/to'
)


def work_at_once(bench: Bench, count: int) -> list[tuple[str, int, int]]:
    """Run batches that were all submitted at once; return GPUs, begin and end of each."""
    batches = [numbered(number) for number in range(11, 11 + count)]

    async def submit() -> None:
        for batch in batches:
            order = Submission(batch, Command(("sh", "-c", TIMED), {}), Installation())
            await bench.executor.submit([order])

    asyncio.run(submit())
    deadline = time.monotonic() + 30
    ids = [batch.id for batch in batches]
    while any(
        each.life is not Life.EXITED for each in asyncio.run(bench.executor.poll(ids)).values()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    made = asyncio.run(bench.batches.read(dict.fromkeys(ids, ("gpu", "from", "to"))))
    return [(each["gpu"].strip(), int(each["from"]), int(each["to"])) for each in made.values()]


def overlaps(times: list[tuple[str, int, int]]) -> list[tuple[str, str]]:
    return [
        (one, other)
        for number, (one, start, end) in enumerate(times)
        for other, begin, finish in times[number + 1 :]
        if start < finish and begin < end
    ]


def test_two_batches_never_use_one_gpu_at_once(tmp_path: Path) -> None:
    times = work_at_once(Bench(tmp_path, gpus=("0",)), 4)

    assert [gpu for gpu, _, _ in times] == ["0"] * 4
    assert overlaps(times) == []


def test_each_gpu_of_a_machine_gets_its_batch(tmp_path: Path) -> None:
    times = work_at_once(Bench(tmp_path, gpus=("0", "GPU-ab-1")), 4)

    assert sorted(gpu for gpu, _, _ in times) == ["0", "0", "GPU-ab-1", "GPU-ab-1"]
    assert overlaps(times)
    assert all(one != other for one, other in overlaps(times))


def test_a_batch_can_take_several_gpus_all_or_none(tmp_path: Path) -> None:
    times = work_at_once(Bench(tmp_path, gpus=("0", "1", "2"), gpus_per_batch=2), 3)

    assert all(len(set(gpu.split(","))) == 2 for gpu, _, _ in times)
    assert overlaps(times) == []


def test_without_gpus_batches_take_turns(tmp_path: Path) -> None:
    times = work_at_once(Bench(tmp_path), 3)

    assert [gpu for gpu, _, _ in times] == [""] * 3
    assert overlaps(times) == []


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    bench = Bench(tmp_path, gpus=("0",))
    bench.submit("sleep", "60")
    bench.wait(lambda status: status.started is not None)
    second = numbered(2)
    bench.order(Command(("true",), {}), batch=second)

    deadline = time.monotonic() + 10
    while not (status := asyncio.run(bench.executor.poll([second.id]))[second.id]).waits_for:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bench.cancel()
    asyncio.run(bench.executor.cancel([second.id]))

    assert status.started is None
    assert status.waits_for == f"GPU 0, used by {BATCH.id} of ann@here"


def test_a_killed_batch_frees_its_gpu(tmp_path: Path) -> None:
    bench = Bench(tmp_path, gpus=("0",))
    bench.submit("sh", "-c", "touch out/at-work; sleep 60; true")
    bench.wait(lambda status: "at-work" in status.files)
    for pid in processes.members(bench.pid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    times = work_at_once(bench, 1)

    assert times[0][0] == "0"


def test_an_engine_that_outlives_its_batch_keeps_its_gpu(tmp_path: Path) -> None:
    bench = Bench(tmp_path, gpus=("0",))
    bench.submit("sh", "-c", "touch out/at-work; sleep 1.5; date +%s%N > out/to")
    bench.wait(lambda status: "at-work" in status.files)
    for pid in processes.members(bench.pid()):
        words = Path(f"/proc/{pid}/cmdline").read_text()
        if "run.sh" in words:
            os.kill(pid, signal.SIGKILL)

    times = work_at_once(bench, 2)

    end = int((bench.folder / "out" / "to").read_text())
    assert all(start > end for _, start, _ in times)


# --- whose runs ---------------------------------------------------------------------------


# --- where it works, and what it says of the machine ----------------------------------------


def test_what_was_asked_for_is_there_whole_or_not_at_all(small_disk: Path) -> None:
    bench = Bench(small_disk)
    bench.order(Command(("true",), {serialize.ASKED: b"x" * (1200 << 10)}))

    status = bench.ended()

    assert status.files == ()


SMI = """\
#!/bin/sh
[ "$*" = '--query-gpu=name,driver_version --format=csv,noheader -i 1,GPU-ab' ] || exit 6
echo 'NVIDIA H100 PCIe, 570.124.06'
echo 'NVIDIA L4, 570.124.06'
"""


def with_nvidia_smi(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "nvidia-smi").write_text(text)
    (folder / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")


def test_the_machine_says_which_commit_and_gpus_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_nvidia_smi(tmp_path, SMI, monkeypatch)
    model = tmp_path / "it's a model"
    model.mkdir()
    git = ["git", "-C", str(model), "-c", "user.name=a", "-c", "user.email=a@b"]
    (model / "file").write_text("one")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    shown = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    commit = shown.stdout.strip()
    bench = Bench(tmp_path / "root", gpus=("1", "GPU-ab"), gpus_per_batch=2)
    told = []

    for number, text in enumerate(("one", "two"), 1):
        (model / "file").write_text(text)
        batch = numbered(number)
        bench.order(Command(("true",), {}), Installation(path=str(model)), batch=batch)
        told.append(dict(bench.ended(batch).facts))

    card = {"gpu_name": "NVIDIA H100 PCIe", "driver": "570.124.06"}
    assert told == [{"commit": commit, **card}, {"commit": f"{commit}-dirty", **card}]


@pytest.mark.parametrize("said", ["echo 'Failed, sadly'; exit 9", "exec sleep 60", "printf '\\n'"])
def test_a_machine_that_says_nothing_of_itself_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    with_nvidia_smi(tmp_path, f"#!/bin/sh\n{said}\n", monkeypatch)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "model").mkdir()
    bench = Bench(tmp_path / "root", gpus=("0",))

    bench.order(Command(("true",), {}), Installation(path=f"{tmp_path}/model"))
    status = bench.ended()

    assert (status.exit_code, status.fault, status.facts) == (0, "", {})


# --- what goes wrong ----------------------------------------------------------------------


def test_a_full_disk_is_told_even_though_nothing_can_be_written(tmp_path: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        bench = Bench(tmp_path)
        bench.submit("sh", "-c", "cat /dev/zero > out/big")
        status = bench.ended()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert status.exit_code == 1
    assert status.fault == "disk-full"


@pytest.mark.parametrize("pages", [0, 3])
def test_a_batch_that_cannot_write_down_what_it_claims_does_nothing(
    small_disk: Path, pages: int
) -> None:
    bench = Bench(small_disk)
    bench.submit("touch", "out/ran")
    bench.ended()
    for name in ("claim/pid", "exit", "started", "log", "out/ran", f"../../runs/{BATCH.runs[0]}"):
        (bench.folder / name).unlink()
    (bench.folder / "claim").rmdir()
    (bench.folder / "out").rmdir()
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    # For the pid and what is set aside, not for the run.
    os.truncate(filler, (filler.stat().st_size // 4096 - pages) * 4096)

    subprocess.run(["sh", "run.sh"], cwd=bench.folder, check=False, capture_output=True)

    assert not (bench.folder / "started").exists()
    assert not (bench.folder / "out").exists()
    if pages:
        status = bench.poll()
        assert (status.life, status.fault) == (Life.EXITED, "disk-full")


# --- secrets ------------------------------------------------------------------------------


PROJECT = """\
version: 1
targets:
  here:
    root: {root}
    engines:
      preview: {{env: {{THE_TOKEN: "${{MY_WORD}}"}}}}
"""
THEIRS = "s3cr3t-'\"$(x)-of-the-machine"


def with_their_secret(bench: Bench, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_TOKEN", THEIRS)
    bench.order(Command(("sh", "-c", script), {}), Installation(env={"TOKEN": "${THEIR_TOKEN}"}))


def test_a_secret_is_not_on_the_disk_while_the_engine_runs_nor_after_cancel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "trap 'echo bye \"$TOKEN\"; exit' TERM;"
        ' echo "using $TOKEN now"; echo "err $TOKEN" >&2;'
        " printf '\\r10%%\\r20%%\\r'; while :; do sleep 0.1; done"
    )
    with_their_secret(bench, script, monkeypatch)
    stars = "*" * len(THEIRS)

    bench.wait(lambda status: "20%" in status.log)
    running = (bench.folder / "log").read_text()
    bench.cancel()

    assert running == f"using {stars} now\nerr {stars}\n\n10%\n20%\n"
    ended = (bench.folder / "log").read_text()
    assert ended.startswith(running)
    assert ended.endswith(f"\nbye {stars}\n")
    assert THEIRS not in ended
    assert not (bench.folder / "pipe").exists()


def test_covering_keeps_the_exit_code_and_every_byte(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "x" * 4090
    script = (
        f'for n in 1 2 3 4 5 6 7 8 9; do echo "{long}$TOKEN$TOKEN${{n}}{long}"; done;'
        " printf '\\377 end'; exit 7"
    )
    with_their_secret(bench, script, monkeypatch)

    status = bench.ended()

    stars = "*" * 2 * len(THEIRS)
    lines = "".join(f"{long}{stars}{n}{long}\n" for n in range(1, 10))
    assert status.exit_code == 7
    assert (bench.folder / "log").read_bytes() == lines.encode() + b"\xff end\n"


def test_each_line_of_a_secret_is_covered(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    secret = "first line\nsecond line\n"

    bench.order(
        Command(("sh", "-c", 'echo "$TOKEN"; echo "${TOKEN%%second*}"'), {}),
        Installation(env={"TOKEN": "${TOKEN}", "PART": "${PART}"}),
        secrets={"TOKEN": secret, "PART": "first"},
    )
    bench.ended()

    first, second = "*" * 10, "*" * 11
    assert (bench.folder / "log").read_text() == f"{first}\n{second}\n\n{first}\n\n"


def test_what_an_engine_leaves_behind_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    began = time.monotonic()
    with_their_secret(bench, "sleep 60 & echo done", monkeypatch)

    status = bench.ended()
    bench.cancel()

    assert (status.exit_code, status.log) == (0, "done")
    assert time.monotonic() - began < 20


def test_another_process_of_the_client_does_not_show_secrets(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    secret = "a plain word"
    theirs = batches_of(tmp_path, secret)
    other = ProcessExecutor(theirs, Target("local", str(tmp_path)))
    bench.submit("sh", "-c", f"echo 'it is {secret}.'")
    bench.ended()

    log, _ = asyncio.run(theirs.log(BATCH.id, 0))
    status = asyncio.run(other.poll([BATCH.id]))[BATCH.id]

    assert log == b"it is ***.\n"
    assert status.log == "it is ***."


def test_the_machines_of_a_project_know_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_WORD", "a plain word")
    (tmp_path / "cosmos-jobs.yaml").write_text(PROJECT.format(root=tmp_path / "root"))
    loaded = project.load(tmp_path)
    bench = Bench(tmp_path / "root")
    bench.submit("sh", "-c", "echo 'it is a plain word.'")
    bench.ended()

    (machine,) = open_machines(loaded, loaded.targets["here"], Access(print))
    log, _ = asyncio.run(machine.batches.log(BATCH.id, 0))

    assert log == b"it is ***.\n"


def test_the_end_of_a_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    secret = "a plain word"
    target = Target("local", str(tmp_path))
    executor = ProcessExecutor(batches_of(tmp_path, secret), target)
    bench = Bench(tmp_path)
    bench.submit("true")
    bench.ended()
    seen = {}
    for more in (-len("plain word\n") - 1, -1, 0):
        rest = "y" * (LOG_TAIL_BYTES + more - 1) + "\n"
        (bench.folder / "log").write_text(f"{'x' * 9000}\nit is {secret}\n{rest}")
        log = asyncio.run(executor.poll([BATCH.id]))[BATCH.id].log
        seen[more] = log == rest.rstrip("\n")

    assert all(seen.values()), seen
