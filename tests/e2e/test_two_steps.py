"""The two-step workflow as users and their scripts call it: create a prompt, then its video."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import orjson
import pytest

from cosmos_jobs.config import project as projects
from cosmos_jobs.core import identity
from cosmos_jobs.core.record import PromptRecord
from cosmos_jobs.operations import WorkflowOperations
from tests.support.project import RUNS, Project, damage, film, frames

SMALL = ("--param", "resolution=256")
SCRIPTS = Path(sysconfig.get_path("scripts"))


def create(project: Project, text: str, video: str = "clips/a", *options: str) -> str:
    """Make a prompt and return its id, as a script would find it."""
    first, *_ = project.run("create", "prompt", text, video, *options).stdout.splitlines()
    return first.removeprefix("ID: ")


def shell(project: Project, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the installed commands `cosmos` and `cosmos-jobs` in its path."""
    if not (SCRIPTS / "cosmos").exists():
        pytest.skip("the package is not installed, so that there is no command `cosmos`")
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=project.root,
        env={**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- create prompt ---------------------------------------------------------------------------


def test_a_prompt_is_made_and_the_next_step_named(project: Project) -> None:
    first = project.run("create", "prompt", "A pier at golden hour", "clips/a")
    again = project.run("create", "prompt", "A pier at golden hour", "clips/a")

    prompt_id = first.stdout.split()[1]
    assert first.stdout.splitlines() == [
        f"ID: {prompt_id}",
        "Name: pier_golden_hour",
        "Video: clips/a/color.mp4",
        f"Next step: cosmos-jobs inference {prompt_id}",
    ]
    assert first.stderr == ""
    assert again.stdout == first.stdout
    assert "in the store already; nothing is new." in again.stderr
    (listed,) = orjson.loads(project.run("list", "prompts", "--format", "json").stdout)
    assert listed["id"] == prompt_id


@pytest.mark.parametrize("program", ["cosmos", "cosmos-jobs"])
def test_scripts_find_the_id_as_the_plan_says(project: Project, program: str) -> None:
    done = shell(
        project,
        f"""
        PROMPT_ID=$({program} create prompt "My prompt" clips/a | grep "ID:" | cut -d' ' -f2)
        {program} inference $PROMPT_ID --param resolution=256
        echo "made $PROMPT_ID"
        {program} create prompt "My prompt" clips/a | tail -n 1
        """,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    prompt_id = lines[-2].removeprefix("made ")
    assert prompt_id.startswith("ps_")
    assert len(prompt_id) == len("ps_") + 16
    assert lines[-1] == f"Next step: {program} inference {prompt_id}"
    assert "1 succeeded." in lines


def test_a_folder_without_color_is_named_and_nothing_is_made(project: Project) -> None:
    (project.root / "clips" / "a" / "color.mp4").rename(project.root / "clips" / "a" / "rgb.mp4")

    refused = project.run("create", "prompt", "A pier", "clips/a", exit_code=2)

    assert "folder `clips/a` has no color.mp4" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert not (project.root / ".cosmos-jobs" / "state.json").exists()


def test_runs_are_not_made_by_hand_and_nothing_says_they_are(project: Project) -> None:
    shown = project.run("create", "--help").stdout
    refused = [
        project.run("create", "run", "ps_1", exit_code=2).stderr,
        project.run("generate", exit_code=2).stderr,
    ]

    commands = shown.partition("Commands:")[2].split()
    assert commands[0] == "prompt"
    assert "run" not in shown.split()
    assert all("no such command" in each.lower() for each in refused)


def test_a_path_is_one_from_the_working_directory(project: Project) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "cosmos_jobs", "create", "prompt", "A pier", "a"],
        cwd=project.root / "clips",
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout.split()[1] == create(project, "A pier")
    assert "Video: clips/a/color.mp4" in made.stdout


# --- inference -------------------------------------------------------------------------------


def test_a_video_is_made_once_and_found_again(project: Project) -> None:
    prompt_id = create(project, "A pier")
    weights = ("-w", "0.3", "0.3", "0.2", "0.2")

    first = project.run("inference", prompt_id, *weights, *SMALL)
    again = project.run("inference", prompt_id[:8], *weights, *SMALL)

    path = "outputs/inference/pier/vis0.3_edge0.3_depth0.2_seg0.2-resolution256.mp4"
    (run,) = project.runs()
    assert frames(project.root / path) == 3
    assert f"succeeded  {prompt_id}  pier  {path}" in first.stdout
    assert f"up to date  {prompt_id}  pier  {path}" in again.stdout
    assert "1 up to date." in again.stdout
    assert str(run["id"]) not in first.stdout, "runs stay hidden"
    assert len(project.made()) == 1


def test_several_settings_of_one_prompt_are_several_videos(project: Project) -> None:
    prompt_id = create(project, "A pier")

    project.run("inference", prompt_id, "--weights", "0.5", "0.2", "0.2", "0.1", *SMALL)
    project.run("inference", prompt_id, "-w", "1", "0", "0", "0", "--steps", "50", *SMALL)
    project.run("inference", prompt_id, "-w", "1", "0", "0", "0", "--seed", "7", *SMALL)

    folder = project.root / "outputs" / "inference" / "pier"
    assert sorted(each.name for each in folder.iterdir()) == [
        "vis0.5_edge0.2_depth0.2_seg0.1-resolution256.mp4",
        "vis1-resolution256-num_steps50.mp4",
        "vis1-resolution256-seed7.mp4",
    ]


def test_prompts_of_a_file_and_of_the_line_are_made_once_each(project: Project) -> None:
    one, two, three = (create(project, text) for text in ("one", "two", "three"))
    (project.root / "ids.txt").write_bytes(
        f"\ufeff# tonight\r\n{one}\r\n\r\n  {two[:12]}  # again: {three}\r\n{one}\n".encode()
    )

    alone = project.run("inference", "--prompts-file", "ids.txt", *SMALL)
    both = project.run("inference", three, one, "--prompts-file", "ids.txt", "-v", *SMALL)

    assert "2 succeeded." in alone.stdout
    assert "1 succeeded, 2 up to date." in both.stdout
    assert all(str(each["id"]) in both.stdout for each in project.runs()), "-v shows runs"
    assert len(project.made()) == 3


def test_a_list_of_prompts_comes_through_a_pipe(project: Project) -> None:
    one, two = create(project, "one"), create(project, "two")

    done = shell(
        project,
        f"printf '{one}\\n{two}\\n' | cosmos inference --prompts-file - -q {' '.join(SMALL)}",
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(project.made()) == 2


def test_what_the_plan_names_by_hand_works_by_hand(project: Project) -> None:
    """Step 8 of the plan, scenario 3."""
    film(project.root / "clips" / "c" / "color.mp4", 9)
    ids = [
        create(project, text, f"clips/{video}")
        for text, video in (("Sunset", "a"), ("Sunrise", "b"), ("Night", "c"))
    ]

    done = project.run("inference", *ids, "--weights", *["0.25"] * 4, *SMALL)

    assert "3 succeeded." in done.stdout
    assert all(prompt_id in done.stdout for prompt_id in ids)
    for name in ("sunset", "sunrise", "night"):
        assert len(list((project.root / "outputs" / "inference" / name).glob("*.mp4"))) == 1


def test_every_wrong_id_is_named_and_nothing_starts(project: Project) -> None:
    good = create(project, "A pier")
    run_id = "rs_0123456789abcdef"

    refused = project.run("inference", good, "ps_nonexistent", run_id, *SMALL, exit_code=2)
    empty = project.root / "empty.txt"
    empty.write_text("# nothing\n")
    others = [
        project.run("inference", "--prompts-file", name, exit_code=2).stderr
        for name in ("empty.txt", "missing.txt", "clips", "clips/a/color.mp4")
    ]

    assert f"there is no prompt: ps_nonexistent, {run_id}; nothing was started" in refused.stderr
    assert "there are no ids of prompts in empty.txt" in others[0]
    assert "cannot read missing.txt: No such file or directory" in others[1]
    assert "cannot read clips: Is a directory" in others[2]
    assert "clips/a/color.mp4 is not UTF-8 text" in others[3]
    assert not project.runs()


def test_without_a_prompt_the_help_is_shown(project: Project) -> None:
    shown = project.run("inference").stdout

    assert "Make videos of prompts." in shown
    assert shown == project.run("inference", "--help").stdout


def test_what_the_engine_does_not_know_is_refused_with_a_hint(project: Project) -> None:
    prompt_id = create(project, "A pier")

    said = [
        project.run("inference", prompt_id, *options, exit_code=2).stderr
        for options in (
            ("--param", "num_step=4"),
            ("--steps", "many"),
            ("--sigma-max", "70"),
            ("--param", "num_steps"),
            ("--steps", "4", "--param", "num_steps=5"),
            ("-w", "0", "0", "0", "0"),
            ("--engine", "transfer1", "--guidance", "-1"),
            ("--batch-name", "runs"),
            ("--target", "moon"),
        )
    ]

    assert "did you mean `num_steps`?" in said[0]
    assert "`num_steps` must be a whole number, not the text `many`" in said[1]
    assert "engine preview has no parameter `sigma_max`" in said[2]
    assert "`num_steps` is not KEY=VALUE" in said[3]
    assert "`num_steps` is given twice: by --steps and by --param" in said[4]
    assert "all weights are 0" in said[5]
    assert "`guidance` must be at least 0" in said[6]
    assert "`runs` cannot name a batch" in said[7]
    assert "unknown target `moon`" in said[8]
    assert not project.runs()


def test_a_target_without_the_engine_is_refused(project: Project) -> None:
    prompt_id = create(project, "A pier")

    refused = project.run("inference", prompt_id, "--engine", "transfer2.5", exit_code=6)

    assert "has no engine `transfer2.5`" in refused.stderr
    assert not project.runs()


def test_a_prompt_that_failed_is_told_first_and_made_by_the_same_call(project: Project) -> None:
    good, bad = create(project, "good"), create(project, "bad", "clips/b")
    whole = damage(project.root / "clips" / "b" / "color.mp4")

    failed = project.run("inference", good, bad, *SMALL, exit_code=1)
    quiet = project.run("inference", good, bad, "-q", *SMALL, exit_code=1)
    (project.root / "clips" / "b" / "color.mp4").write_bytes(whole)
    made = project.run("inference", good, bad, *SMALL)

    table = failed.stdout.partition("STATUS")[2].splitlines()
    assert table[1].startswith(f"failed     {bad}  bad ")
    assert table[2].startswith(f"succeeded  {good}  good  outputs/inference/good/")
    assert "1 failed, 1 succeeded." in table
    assert "clips/b/color.mp4" in failed.stderr, "one is warned that the video is another one"
    assert quiet.stdout == ""
    assert f"failed      {bad}" in quiet.stderr
    assert "1 succeeded, 1 up to date." in made.stdout


def test_a_dry_run_shows_the_plan_and_changes_nothing(project: Project) -> None:
    prompt_id = create(project, "A pier")

    shown = project.run("inference", prompt_id, "--dry-run", *SMALL).stdout
    plan = orjson.loads(
        project.run("inference", prompt_id, "--dry-run", "--format", "json", *SMALL).stdout
    )

    assert "inference  engine preview, target local" in shown
    assert "+ 1 new" in shown
    assert plan["summary"]["create"] == 1
    assert not project.runs()


def test_json_is_all_that_stdout_has(project: Project) -> None:
    good, bad = create(project, "good"), create(project, "bad", "clips/b")
    damage(project.root / "clips" / "b" / "color.mp4")

    done = project.run("inference", good, bad, "--format", "json", *SMALL, exit_code=1)

    found = orjson.loads(done.stdout)
    assert found["counts"] == {"succeeded": 1, "failed": 1}
    first, second = found["results"]
    assert (first["prompt_id"], first["status"]) == (good, "succeeded")
    assert Path(first["output_path"]).is_file()
    assert (second["status"], second["output_path"]) == ("failed", None)


def test_a_batch_has_a_folder_of_its_own_but_not_that_of_a_job_file(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "--only", "golden", "-q")
    prompt_id = create(project, "A pier")

    refused = project.run("inference", prompt_id, "--batch-name", "small", exit_code=2)
    project.run("inference", prompt_id, "--batch-name", "tonight", "-w", "0", "1", "0", "0", *SMALL)

    assert "`small` belongs to the job file jobs/small.yaml" in refused.stderr
    assert (project.root / "outputs" / "tonight" / "pier" / "edge1-resolution256.mp4").is_file()


def test_no_job_file_takes_the_name_of_the_folder(project: Project) -> None:
    project.edit("name: small", "name: inference")

    refused = project.run("validate", exit_code=3)

    assert "`runs` and `inference` are taken" in refused.stderr


def test_runs_of_prompts_and_of_job_files_are_the_same_runs(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "-q")
    prompts = orjson.loads(project.run("list", "prompts", "--format", "json").stdout)
    golden = next(each["id"] for each in prompts if each["name"] == "golden")

    done = project.run("inference", golden, "-w", *["0.25"] * 4, *SMALL)
    status = project.run("status").stdout

    assert "1 up to date." in done.stdout
    assert len(project.made()) == RUNS
    assert project.summary() == {"keep": RUNS}, "the job file has lost nothing"
    assert "inference" in status
    folder = project.root / "outputs" / "inference" / "golden"
    assert [each.name for each in folder.iterdir()] == [
        "vis0.25_edge0.25_depth0.25_seg0.25-resolution256.mp4"
    ]


def test_what_was_asked_for_without_a_file_is_retried_without_one(project: Project) -> None:
    prompt_id = create(project, "A pier")
    whole = damage(project.root / "clips" / "a" / "color.mp4")
    project.run("inference", prompt_id, *SMALL, exit_code=1)
    (project.root / "clips" / "a" / "color.mp4").write_bytes(whole)

    project.run("retry", "inference")

    assert [each["state"] for each in project.runs()] == ["succeeded"]


def test_ten_thousand_prompts_stay_quick_and_readable(project: Project) -> None:
    prompt_id = create(project, "A pier")
    ops = WorkflowOperations(projects.load(project.root))
    first = ops.get_prompt(prompt_id)
    prompts = [identity.prompt(f"pier {n}", "", first.prompt.inputs) for n in range(10_000)]
    ops.store.change(
        lambda change: change.put_prompts(
            PromptRecord(prompt=each, name=f"pier-{n}", video="a", files=first.files, frames=3)
            for n, each in enumerate(prompts)
        )
    )
    ids = project.root / "ids.txt"
    ids.write_text("".join(f"{each.id}\n" for each in prompts))

    began = time.perf_counter()
    shown = project.run("inference", "--prompts-file", "ids.txt", "--dry-run").stdout
    took = time.perf_counter() - began

    assert "+ 10,000 new" in shown
    assert len(shown.splitlines()) < 20
    # Measured 1.6 s; a quadratic step would take a minute.
    assert took < 20


def test_a_job_file_does_not_take_over_the_runs_of_a_batch(project: Project) -> None:
    prompt = create(project, "A pier")
    project.run("inference", prompt, "--batch-name", "night", "--param", "resolution=256")
    project.edit("name: small", "name: night")

    refused = project.run("plan", "jobs/small.yaml", exit_code=3).stderr
    pruned = project.run("prune", "night", "--yes", exit_code=2).stderr

    assert "belongs to runs that no job file asked for" in refused
    assert "cosmos-jobs prune --job night" in refused + pruned
    assert len(list((project.root / "outputs" / "night").rglob("*.mp4"))) == 1
