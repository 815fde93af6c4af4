"""Nothing is lost and nothing is run twice: kill -9, and two of us at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from tests.support.project import RUNS, Project, ids
from tests.support.waiting import until

MANY = """\
version: 1
name: small
videos: {a: clips/a, b: clips/b}
prompts: {golden: A pier at golden hour}
weights: {edges: {edge: 1.0}}
params: {resolution: "256", max_frames: 1, seed: {start: 1, stop: 80, step: 1}}
"""


def engines(project: Project) -> list[int]:
    """Return the process groups of the batches that are at work."""
    batches = project.root / ".cosmos-jobs" / "hosts" / "local" / "batches"
    claims = [
        each for each in batches.glob("*/claim/pid") if not (each.parents[1] / "exit").exists()
    ]
    return [int(each.read_text().split()[0]) for each in claims]


@pytest.mark.campaign(part="kills")
def test_kills_lose_nothing_and_run_nothing_twice(project: Project, times: int) -> None:
    project.job.write_text(MANY)
    (project.root / "cosmos-jobs.yaml").write_text("version: 1\ntargets: {local: {max_batch: 4}}\n")
    state = project.root / ".cosmos-jobs" / "state.json"
    dice = random.Random(4)
    for number in range(times):
        client = project.start("apply", "jobs/small.yaml")
        time.sleep(dice.uniform(0.05, 1.2))
        client.send_signal(signal.SIGKILL)
        client.communicate()
        # Each fifth time the machine seems to go down: the engine dies with us.
        for group in engines(project) if number % 5 == 4 else []:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if state.exists():
            orjson.loads(state.read_bytes())

    for _ in range(3):
        last = project.run("apply", "jobs/small.yaml")

    assert "Nothing to do: 160 runs" in last.stdout
    made = Counter(project.made())
    assert len(made) == 160
    assert set(made.values()) == {1}
    assert {run["state"] for run in project.runs()} == {"succeeded"}
    left = [each.name for each in state.parent.iterdir() if each.name.startswith(".state")]
    assert left == []


def test_two_applies_at_once_run_each_run_once(project: Project) -> None:
    (project.root / "cosmos-jobs.yaml").write_text("version: 1\ntargets: {local: {max_batch: 2}}\n")

    both = [project.start("apply", "jobs/small.yaml") for _ in range(2)]
    results = [(*each.communicate(timeout=120), each.returncode) for each in both]

    assert [code for *_, code in results] == [0, 0], results
    assert Counter(project.made()) == Counter(ids(project.runs()))
    assert [len(run["attempts"]) for run in project.runs()] == [1] * RUNS  # type: ignore[arg-type]


def test_a_killed_engine_is_lost_and_its_runs_are_made_by_the_next_apply(project: Project) -> None:
    client = project.start("apply", "jobs/small.yaml")
    until(lambda: engines(project))
    os.killpg(engines(project)[0], signal.SIGKILL)
    out, err = client.communicate(timeout=60)

    assert client.returncode == 1, out + err
    assert "its process is gone" in out
    project.run("apply", "jobs/small.yaml")
    assert project.summary() == {"keep": RUNS}


def test_runs_in_flight_on_a_target_that_is_gone_can_be_given_up(project: Project) -> None:
    settings = project.root / "cosmos-jobs.yaml"
    settings.write_text("version: 1\ntargets: {big: {max_batch: 1}}\n")
    client = project.start("apply", "--target", "big")
    batches = project.root / ".cosmos-jobs" / "hosts" / "big" / "batches"
    until(lambda: list(batches.glob("*/claim/pid")))
    client.send_signal(signal.SIGKILL)
    client.communicate()
    settings.write_text("version: 1\n")

    refused = project.run("apply", exit_code=5)
    project.job.unlink()
    project.run("prune", "--job", "small", "--yes")

    assert "`big` is no longer in cosmos-jobs.yaml" in refused.stderr
    assert project.runs() == []


def test_a_state_file_that_is_cut_is_refused_and_kept(project: Project) -> None:
    project.run("apply", "--only", "golden")
    state = project.root / ".cosmos-jobs" / "state.json"
    state.write_bytes(state.read_bytes()[:-200])
    before = {each: each.read_bytes() for each in state.parent.glob("state.json*")}

    refused = project.run("apply", exit_code=4)

    assert "is damaged" in refused.stderr
    assert f"cp {state}.bak {state}" in refused.stderr
    assert {each: each.read_bytes() for each in state.parent.glob("state.json*")} == before
    Path(f"{state}.bak").replace(state)
    project.run("apply")
    assert project.summary() == {"keep": RUNS}


def test_a_full_disk_is_told_and_the_next_apply_goes_on(project: Project) -> None:
    outputs = project.root / "outputs"
    outputs.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(outputs)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")

    refused = project.start("apply")
    try:
        _, err = refused.communicate(timeout=60)
    finally:
        subprocess.run(["umount", str(outputs)], check=True)

    assert refused.returncode == 5, err
    assert "No space left on device" in err
    assert "Traceback" not in err
    project.run("apply")
    assert project.summary() == {"keep": RUNS}
    assert Counter(project.made()) == Counter(ids(project.runs()))
