"""The main job: a job file becomes videos, and only what is pending is ever run."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import orjson
import pytest

from tests.support.processes import alive
from tests.support.project import RUNS, Project, damage, film, frames


def test_apply_makes_every_video_and_a_second_apply_runs_nothing(project: Project) -> None:
    first = project.run("apply", "jobs/small.yaml")

    assert f"Applied: {RUNS} succeeded." in first.stdout
    videos = sorted((project.root / "outputs" / "small").glob("*/*.mp4"))
    assert [str(each.relative_to(project.root / "outputs/small")) for each in videos] == [
        "golden/a-balanced.mp4",
        "golden/a-edges.mp4",
        "golden/b-balanced.mp4",
        "golden/b-edges.mp4",
        "storm/a-rain-balanced.mp4",
        "storm/a-rain-edges.mp4",
        "storm/a-snow-balanced.mp4",
        "storm/a-snow-edges.mp4",
    ]
    assert {frames(each) for each in videos} == {3}
    second = project.run("apply", "jobs/small.yaml")
    assert f"Nothing to do: {RUNS} runs of 1 job file are up to date." in second.stdout
    assert len(project.made()) == RUNS


def test_each_run_keeps_its_video_maps_manifest_and_log(project: Project) -> None:
    project.run("apply", "--only", "golden")

    for run in project.runs():
        folder = project.root / "outputs" / "runs" / str(run["id"])
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        assert manifest["run"]["id"] == run["id"]
        assert manifest["output"] == {
            "sha256": run["output"]["sha256"],  # type: ignore[index]
            "size": (folder / "output.mp4").stat().st_size,
            "frames": 3,
            "name": "output.mp4",
        }
        assert sorted(each.name for each in (folder / "controls").iterdir()) == [
            "depth.mp4",
            "edge.mp4",
            "seg.mp4",
            "vis.mp4",
        ]
        assert (folder / "log.txt").is_file()


def test_a_new_text_runs_only_its_own_runs(project: Project) -> None:
    project.run("apply")
    project.edit("A pier at golden hour", "A pier at blue hour")

    plan = project.run("plan")
    project.run("apply")

    assert "+ 4 prompt text changed" in plan.stdout
    assert len(project.made()) == RUNS + 4


def test_reordering_and_commenting_the_file_runs_nothing(project: Project) -> None:
    project.run("apply")
    lines = project.job.read_text().splitlines()
    at = {key: lines.index(key) for key in ("videos:", "prompts:", "variables:")}
    videos = lines[at["videos:"] : at["prompts:"]]
    rest = lines[at["prompts:"] :]
    project.job.write_text("\n".join(["# a comment", *lines[:2], *rest, "", *videos]) + "\n")

    summary = project.summary()

    assert summary == {"keep": RUNS}


def test_a_changed_video_runs_again_and_says_why(project: Project) -> None:
    project.run("apply")
    film(project.root / "clips" / "b" / "color.mp4", seed=9)

    plan = project.run("plan")

    assert "+ 2 color video changed" in plan.stdout
    assert project.summary() == {"create": 2, "keep": RUNS - 2, "orphan": 2}


def test_a_deleted_output_is_made_again(project: Project) -> None:
    project.run("apply", "--only", "golden")
    lost = project.runs()[0]
    (project.root / "outputs" / "runs" / str(lost["id"]) / "output.mp4").unlink()

    plan = project.run("plan", "--only", "golden")
    project.run("apply", "--only", "golden")

    assert "~ 1 retry: its video is missing or damaged" in plan.stdout
    assert project.summary() == {"create": 4, "keep": 4}
    assert project.made().count(str(lost["id"])) == 2


def test_plan_writes_nothing_but_the_cache(project: Project) -> None:
    project.run("plan")

    left = {each.relative_to(project.root) for each in (project.root / ".cosmos-jobs").rglob("*")}
    assert left == {Path(".cosmos-jobs/cache"), Path(".cosmos-jobs/cache/digests.json")}


def test_a_corrupt_video_fails_its_own_runs_only_and_is_retried(project: Project) -> None:
    clip = project.root / "clips" / "b" / "color.mp4"
    whole = damage(clip)

    applied = project.run("apply", exit_code=1)

    assert "Applied: 6 succeeded, 2 failed." in applied.stdout
    assert "golden/b-edges" in applied.stdout
    clip.write_bytes(whole)
    project.run("apply")
    assert project.summary() == {"keep": RUNS, "orphan": 2}


def test_a_damaged_output_is_made_again(project: Project) -> None:
    project.run("apply", "--only", "golden")
    damaged = project.root / "outputs" / "runs" / str(project.runs()[0]["id"]) / "output.mp4"
    whole = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(whole[:-10])

    project.run("apply", "--only", "golden")

    assert damaged.read_bytes() == whole


def test_a_run_that_failed_leaves_its_log(project: Project) -> None:
    damage(project.root / "clips" / "b" / "color.mp4")
    project.run("apply", exit_code=1)
    failed = next(run for run in project.runs() if run["state"] == "failed")

    shown = project.run("show", str(failed["id"])).stdout

    log = project.root / "outputs" / "runs" / str(failed["id"]) / "log.txt"
    assert f"failed {failed['id']}" in log.read_text()
    assert str(log) in shown


def test_force_runs_again_and_keeps_the_history(project: Project) -> None:
    project.run("apply", "--only", "golden")

    project.run("apply", "--only", "golden", "--force")

    assert [len(run["attempts"]) for run in project.runs()] == [2] * 4  # type: ignore[arg-type]


def test_the_same_run_in_two_jobs_exists_once(project: Project) -> None:
    other = project.job.with_name("other.yaml")
    other.write_text(project.job.read_text().replace("name: small", "name: other"))

    project.run("apply", "jobs")

    assert len(project.made()) == RUNS
    first = project.root / "outputs" / "small" / "golden" / "a-edges.mp4"
    second = project.root / "outputs" / "other" / "golden" / "a-edges.mp4"
    assert first.samefile(second)


def test_a_run_whose_label_changes_moves_and_is_not_run_again(project: Project) -> None:
    project.run("apply", "--only", "golden")
    golden = project.root / "outputs" / "small" / "golden"
    before = (golden / "a-edges.mp4").stat().st_ino
    project.edit('{resolution: "256"}', '{resolution: "256", seed: [2025, 7]}')

    project.run("apply", "--only", "golden")

    assert sorted(each.name for each in golden.iterdir()) == [
        f"{video}-{weights}-seed{seed}.mp4"
        for video in ("a", "b")
        for weights in ("balanced", "edges")
        for seed in (2025, 7)
    ]
    assert (golden / "a-edges-seed2025.mp4").stat().st_ino == before
    assert len(project.made()) == 8


def test_pruning_an_old_run_leaves_the_new_one_at_its_place(project: Project) -> None:
    project.run("apply", "--only", "golden")
    project.edit('{resolution: "256"}', '{resolution: "256", num_steps: 50}')
    project.run("apply")

    pruned = project.run("prune", "--yes")

    assert "Removed 4 runs" in pruned.stdout
    assert len(list((project.root / "outputs" / "small").glob("*/*.mp4"))) == RUNS
    assert project.summary() == {"keep": RUNS}


def test_over_max_runs_nothing_starts_and_plan_does_not_care(project: Project) -> None:
    refused = project.run("apply", "--max-runs", "7", exit_code=1)

    assert "this would start 8 runs; one apply starts at most 7" in refused.stderr
    assert not (project.root / ".cosmos-jobs" / "state.json").exists()
    assert project.summary() == {"create": RUNS}


def test_the_limits_of_a_job_file_refuse(project: Project) -> None:
    project.job.write_text(project.job.read_text() + "limits: {max_runs: 5}\n")

    plan = project.run("plan")
    refused = project.run("apply", exit_code=1)

    said = "small starts 8 runs; its limits.max_runs is 5"
    assert said in plan.stdout
    assert said in refused.stderr


GPUS = """\
version: 1
targets:
  b200:
    hosts: [nowhere.invalid]
    root: /data/cosmos-jobs
    gpus: 8
    gpu: GPU_NAME
    price_per_gpu_hour: 2.5
    engines:
      transfer2.5: {path: /opt/cosmos-transfer2.5}
"""


def on_gpus(project: Project, gpu: str) -> None:
    """Let the job run Transfer2.5 on a machine that nobody can reach."""
    (project.root / "cosmos-jobs.yaml").write_text(GPUS.replace("GPU_NAME", gpu))
    project.edit('params: {resolution: "256"}', "engine: transfer2.5\ntarget: b200")


def test_a_plan_says_what_it_costs_before_anything_was_run(project: Project) -> None:
    on_gpus(project, "NVIDIA B200")

    cost = orjson.loads(project.run("plan", "--format", "json").stdout)["estimate"]
    text = project.run("plan").stdout

    # 3 frames are one chunk: half of the 186.92 s of two; each of the GPUs makes one run.
    assert cost["wall_s"] == pytest.approx(93.46)
    assert cost["gpu_hours"] == pytest.approx(RUNS * 93.46 / 3600)
    assert cost["price"] == pytest.approx(2.5 * cost["gpu_hours"])
    assert (cost["runs"], cost["unknown"], cost["tables"]) == (RUNS, 0, RUNS)
    said = "It takes about 2 min (0.2 GPU hours; 0.52 at the target's price), going by"
    assert said in text.replace("\n", " ")


def test_over_max_gpu_hours_nothing_starts(project: Project) -> None:
    on_gpus(project, "NVIDIA B200")

    refused = project.run("apply", "--max-gpu-hours", "0.2", exit_code=1)

    assert "this would take about 0.21 GPU hours; --max-gpu-hours is 0.2" in refused.stderr
    assert "allow it: --max-gpu-hours 0.3" in refused.stderr
    assert not (project.root / ".cosmos-jobs" / "state.json").exists()


def test_a_job_files_limit_in_gpu_hours_refuses(project: Project) -> None:
    on_gpus(project, "NVIDIA B200")
    project.job.write_text(project.job.read_text() + "limits: {max_gpu_hours: 0.1}\n")

    plan = project.run("plan")
    refused = project.run("apply", exit_code=1)

    said = "small takes about 0.21 GPU hours; its limits.max_gpu_hours is 0.1"
    assert said in plan.stdout
    assert said in refused.stderr


def test_a_limit_that_cannot_be_checked_refuses_nothing_and_is_told(project: Project) -> None:
    on_gpus(project, "NVIDIA A100-SXM4-80GB")
    project.job.write_text(project.job.read_text() + "limits: {max_gpu_hours: 0.1}\n")

    plan = project.run("plan")
    # The machine does not answer: it is asked, so no limit stood in the way.
    tried = project.run("apply", "--max-gpu-hours", "0.1", "--connect-timeout", "1", exit_code=5)

    assert "How long it takes is unknown until the first run." in plan.stdout
    assert "this limit is not checked for 8 of its runs" in plan.stderr
    assert "--max-gpu-hours: not checked for 8 runs, whose length is unknown yet" in tried.stderr


def test_previews_go_by_those_made_before(project: Project) -> None:
    project.run("apply", "--only", "golden")

    cost = orjson.loads(project.run("plan", "--format", "json").stdout)["estimate"]

    assert (cost["runs"], cost["unknown"], cost["gpu_hours"]) == (4, 0, 0)
    assert (cost["tables"], cost["batches"]) == (0, 1)
    assert cost["wall_s"] > 0


def test_a_saved_plan_is_applied_and_refused_once_it_is_stale(project: Project) -> None:
    project.run("plan", "--only", "golden", "--out", "golden.plan")
    project.run("plan", "--out", "all.plan")

    project.run("apply", "golden.plan")
    assert len(project.made()) == 4
    project.edit("golden hour", "noon")
    refused = project.run("apply", "all.plan", exit_code=1)

    assert len(project.made()) == 4
    assert "stale" in refused.stderr
    assert "no longer to be started" in refused.stderr


def test_plan_tells_scripts_whether_there_is_something_to_do(project: Project) -> None:
    project.run("plan", "--exit-code", "-q", exit_code=1)

    project.run("apply", "-q")

    assert project.run("plan", "--exit-code", "-q").stdout == ""


def test_fail_fast_stops_the_others_and_the_next_apply_makes_them(project: Project) -> None:
    (project.root / "cosmos-jobs.yaml").write_text("version: 1\ntargets: {local: {max_batch: 1}}\n")
    whole = damage(project.root / "clips" / "a" / "color.mp4")

    project.run("apply", "--fail-fast", exit_code=1)

    states = [run["state"] for run in project.runs()]
    # On a busy machine the next one may have failed, too, before anybody hears of the first.
    assert states.count("failed") in (1, 2)
    assert states.count("cancelled") >= 4
    (project.root / "clips" / "a" / "color.mp4").write_bytes(whole)
    project.run("apply")
    assert project.summary() == {"keep": RUNS, "orphan": 6}


def test_ctrl_c_ends_the_work_and_the_next_apply_goes_on(project: Project) -> None:
    long = project.root / "clips" / "a" / "color.mp4"
    film(long, seed=3, frames=400)
    process = project.start("apply")
    batches = project.root / ".cosmos-jobs" / "hosts" / "local" / "batches"
    deadline = time.monotonic() + 60
    while not list(batches.glob("*/claim/pid")) and time.monotonic() < deadline:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    pid = next(batches.glob("*/claim/pid")).read_text().split()[0]
    assert not alive(int(pid))
    assert "interrupted" in err
    project.run("apply")
    assert project.summary() == {"keep": RUNS}


def test_preview_shows_a_job_of_any_engine(project: Project) -> None:
    project.edit("version: 1", "version: 1\nengine: transfer2.5")
    project.edit('{resolution: "256"}', '{resolution: "256", sigma_max: 80}')

    refused = project.run("apply", exit_code=6)
    project.run("preview", "--only", "golden")

    assert "cosmos-jobs preview" in refused.stderr
    assert len(list((project.root / "outputs" / "small.preview" / "golden").glob("*.mp4"))) == 4
    manifest = next((project.root / "outputs" / "runs").glob("*/manifest.json"))
    assert "sigma_max 80" in orjson.loads(manifest.read_bytes())["run"]["params"]["note"]


def test_prune_empties_the_working_folder_and_the_videos_stay(project: Project) -> None:
    project.run("apply")
    host = project.root / ".cosmos-jobs" / "hosts" / "local"
    mine = host / "inputs" / "notes.txt"
    mine.write_text("not named like an input")

    project.run("prune", "--yes")

    assert list((host / "batches").iterdir()) == []
    assert list((host / "inputs").iterdir()) == [mine]
    assert project.summary() == {"keep": RUNS}


def test_prune_removes_what_left_the_job_and_nothing_else(project: Project) -> None:
    project.run("apply")
    own = project.root / "outputs" / "small" / "golden" / "my-notes.txt"
    own.write_text("keep me")
    project.edit("  edges: {edge: 0.7, vis: 0.2}\n", "")

    kept = project.run("prune", "--dry-run")
    project.run("prune", exit_code=2)
    project.run("prune", "--yes")

    assert "To remove: 4 runs" in kept.stdout
    assert project.summary() == {"keep": 4}
    assert len(list((project.root / "outputs" / "runs").iterdir())) == 4
    assert sorted(each.name for each in own.parent.iterdir()) == [
        "a-balanced.mp4",
        "b-balanced.mp4",
        "my-notes.txt",
    ]
