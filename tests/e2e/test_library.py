"""What has gathered in a project: found, rated, checked, carried elsewhere, deleted."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from tests.support.project import RUNS, Project, film, ids


def made(project: Project) -> list[str]:
    """Apply the job; return its runs."""
    project.run("apply", "jobs/small.yaml", "-q")
    return [str(each["id"]) for each in project.runs()]


def state(project: Project, change: Mapping[str, object], run_id: str) -> None:
    """Change the record of a run in the state file."""
    path = project.root / ".cosmos-jobs" / "state.json"
    document = orjson.loads(path.read_bytes())
    document["runs"][run_id] |= change
    path.write_bytes(orjson.dumps(document))


def in_flight(project: Project, run_id: str, target: str = "local") -> None:
    """Make the store believe that a run is at work."""
    attempt = {"batch": "ba_0000000000000000", "target": target, "state": "running"}
    path = project.root / ".cosmos-jobs" / "state.json"
    document = orjson.loads(path.read_bytes())
    document["runs"][run_id] |= {"state": "running", "attempts": [attempt]}
    document["batches"]["ba_0000000000000000"] = {
        "engine": "preview",
        "target": target,
        "runs": [run_id],
        "done": False,
    }
    path.write_bytes(orjson.dumps(document))


def other(root: Path) -> Project:
    """Return another, empty project."""
    (root / "jobs").mkdir(parents=True)
    (root / "cosmos-jobs.yaml").write_text("version: 1\n")
    return Project(root)


# --- find -----------------------------------------------------------------------------------


def test_prompts_are_found_by_words_and_names(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "-q", "--only", "golden")

    by_text = project.run("search", "GOLDEN", "hour").stdout
    by_name = orjson.loads(project.run("search", "golden", "--format", "json").stdout)
    none = project.run("search", "%").stdout

    assert by_text.count("A pier at golden hour") == 2
    assert {each["name"] for each in by_name} == {"golden"}
    assert none == "No prompt matches.\n"
    assert "what to search for" in project.run("search", " ", exit_code=2).stderr


def test_lists_are_cut_and_say_how_much_more_there_is(project: Project) -> None:
    made(project)

    cut = project.run("list", "runs", "--limit", "3")
    whole = project.run("list", "runs", "--limit", str(RUNS))
    prompts = project.run("list", "prompts", "--limit", "1", "--format", "json")

    assert len(cut.stdout.splitlines()) == 1 + 3
    assert cut.stderr == f"… and {RUNS - 3} more\n"
    assert whole.stderr == ""
    assert len(orjson.loads(prompts.stdout)) == 1
    assert "… and 3 more" in prompts.stderr


def test_prompts_are_listed_by_what_became_of_their_runs(project: Project) -> None:
    run_id = made(project)[0]
    state(project, {"state": "failed"}, run_id)

    failed = project.run("list", "prompts", "--status", "failed", "--format", "json").stdout
    other_job = project.run("list", "prompts", "--job", "other").stdout

    assert len(orjson.loads(failed)) == 1
    assert other_job == "No such prompts.\n"


def test_status_streams_a_line_for_each_change_until_all_is_done(project: Project) -> None:
    run_id = made(project)[0]
    in_flight(project, run_id)
    streaming = project.start("status", "--stream")
    time.sleep(2)

    state(project, {"state": "succeeded"}, run_id)
    out, err = streaming.communicate(timeout=60)

    assert (streaming.returncode, err) == (0, "")
    assert "RUNNING" in out.splitlines()[0]
    assert out.splitlines()[-1].startswith(f"succeeded  {run_id}  small/")


def test_status_stream_ends_at_once_when_nothing_is_in_flight(project: Project) -> None:
    made(project)

    plain, streamed = project.run("status"), project.run("status", "--stream")
    documents = project.run("status", "--stream", "--format", "json").stdout.splitlines()

    assert streamed.stdout == plain.stdout
    assert [orjson.loads(each)["in_flight"] for each in documents] == [[]]


# --- rate -----------------------------------------------------------------------------------


def test_a_rating_is_shown_and_outlives_another_making(project: Project) -> None:
    first, second, *_ = made(project)
    before = project.run("list", "runs").stdout

    project.run("rate", first[:12], "4")
    project.run("apply", "jobs/small.yaml", "--only", first, "--force", "-q")

    assert "RATING" not in before
    assert f"{first}  succeeded  ★★★★☆" in project.run("list", "runs").stdout
    assert "★★★★ (4 of 5)" in project.run("show", first).stdout
    rated = {each["id"]: each["rating"] for each in project.runs()}
    assert (rated[first], rated[second]) == (4, None)
    assert project.run("rate", first, "--clear").stdout == f"{first}  not rated\n"
    assert {each["rating"] for each in project.runs()} == {None}


@pytest.mark.parametrize("arguments", [["6"], ["0"], [], ["3", "--clear"]])
def test_a_rating_is_one_to_five(project: Project, arguments: list[str]) -> None:
    run_id = made(project)[0] if arguments == ["6"] else "rs_0000"

    project.run("rate", run_id, *arguments, exit_code=2)

    assert not any(each["rating"] for each in project.runs())


def test_a_note_is_kept_beside_the_stars(project: Project) -> None:
    run_id = made(project)[0]

    project.run("rate", run_id, "4", "--note", "straight planks\x1b[2J")
    project.run("rate", run_id, "--note", "warm")
    project.run("apply", "jobs/small.yaml", "--only", run_id, "--force", "-q")

    (rated,) = [each for each in project.runs() if each["id"] == run_id]
    assert (rated["rating"], rated["note"]) == (4, "warm")
    assert "warm" in project.run("show", run_id).stdout
    listed = project.run("list", "runs", "--stars", "4", "--format", "json").stdout
    assert [each["id"] for each in orjson.loads(listed)] == [run_id]
    assert project.run("rate", run_id, "--clear").stdout == f"{run_id}  not rated\n"
    assert not any(each["note"] for each in project.runs())


def test_what_was_judged_on_a_page_is_taken_over_at_once(project: Project) -> None:
    first, second, *_ = made(project)
    project.run("rate", second, "2")
    page = {
        "cosmos_jobs_ratings": 1,
        "ratings": [
            {"run": first, "stars": 5, "note": "=warm"},
            {"run": second, "stars": None, "note": ""},
            {"run": "rs_0000000000000000", "stars": 1, "note": ""},
        ],
    }
    (project.root / "ratings.json").write_bytes(orjson.dumps(page))

    taken = project.run("rate", "--import", "ratings.json", exit_code=1)

    assert taken.stdout == "Rated 2 runs.\n"
    assert taken.stderr == "Not here, or without a video: rs_0000000000000000\n"
    rated = {each["id"]: (each["rating"], each["note"]) for each in project.runs()}
    assert (rated[first], rated[second]) == ((5, "=warm"), (None, ""))
    assert "'=warm" in project.run("list", "runs", "--format", "csv").stdout
    project.run("rate", "--import", "jobs/small.yaml", exit_code=3)
    project.run("rate", first, "3", "--import", "ratings.json", exit_code=2)


def test_the_best_runs_become_a_job_file_that_runs_nothing(project: Project) -> None:
    first, second, third, *_ = made(project)
    unrated = project.run("export", "--job", "small", "--best", exit_code=1).stderr
    for run_id, stars in ((first, "5"), (second, "5"), (third, "3")):
        project.run("rate", run_id, stars)

    project.run("export", "--job", "small", "--best", "-o", "jobs/best.yaml")
    project.run("export", "--job", "small", "--stars", "3", "-o", "jobs/good.yaml")

    assert "none of these runs has 1 star" in unrated and "rate --import" in unrated
    assert "name: small-best" in (project.root / "jobs" / "best.yaml").read_text()
    assert project.summary("jobs/best.yaml") == {"keep": 2}
    assert project.summary("jobs/good.yaml") == {"keep": 3}
    assert "0 succeeded" not in project.run("apply", "jobs/best.yaml").stdout
    assert len(project.made()) == RUNS


# --- verify ---------------------------------------------------------------------------------


def test_a_whole_project_verifies_and_needs_no_repair(project: Project) -> None:
    made(project)

    said = project.run("verify").stdout

    assert f"of {RUNS} runs" in said
    assert "all as it should be" in said


def test_what_is_damaged_is_found_given_up_and_made_again(project: Project) -> None:
    first, second, *_ = made(project)
    runs = project.root / "outputs" / "runs"
    video = runs / first / "output.mp4"
    whole = video.read_bytes()
    # A flipped bit that no size and no plan shows.
    video.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (runs / second / "output.mp4").unlink()

    found = orjson.loads(project.run("verify", "--format", "json", exit_code=1).stdout)
    before = project.summary()
    project.run("verify", "--repair")
    after = project.summary()
    project.run("apply", "jobs/small.yaml", "-q")

    kinds = {(each["kind"], each["id"]) for each in found["findings"]}
    assert kinds == {("damaged-video", first), ("missing-video", second)}
    assert before == {"keep": RUNS - 1, "retry": 1}
    assert after == {"keep": RUNS - 2, "retry": 2}
    assert "all as it should be" in project.run("verify").stdout


def test_missing_links_are_made_and_other_files_left_alone(project: Project) -> None:
    made(project)
    folder = project.root / "outputs" / "small" / "golden"
    gone, taken = sorted(folder.iterdir())[:2]
    gone.unlink()
    taken.unlink()
    taken.write_text("my own")
    (folder / "notes.txt").write_text("mine")
    (project.root / "outputs" / "runs" / "rs_0000000000000000").mkdir()

    said = project.run("verify", "--repair", exit_code=1).stdout

    assert "missing link, repaired (1)" in said
    assert "3 findings, 1 repaired" in said
    assert gone.is_file()
    assert taken.read_text() == "my own"
    assert (folder / "notes.txt").read_text() == "mine"
    assert "outputs/small/golden/notes.txt" in said
    assert "rs_0000000000000000" in said


def test_changed_and_missing_inputs_are_found(project: Project) -> None:
    made(project)
    film(project.root / "clips" / "a" / "color.mp4", seed=7)
    (project.root / "clips" / "b" / "color.mp4").unlink()

    found = orjson.loads(project.run("verify", "--format", "json", exit_code=1).stdout)

    assert {(each["kind"], each["path"]) for each in found["findings"]} == {
        ("changed-input", "clips/a/color.mp4"),
        ("missing-input", "clips/b/color.mp4"),
    }


# --- export and import ----------------------------------------------------------------------


def test_an_exported_job_is_up_to_date(project: Project) -> None:
    project.edit("A pier at golden hour", "A {{pier}} at golden hour")
    runs = made(project)

    text = project.run("export", "--job", "small").stdout
    project.run("export", "--job", "small", "-o", "jobs/again.yaml")

    assert (project.root / "jobs" / "again.yaml").read_text() == text
    project.run("validate", "jobs/again.yaml")
    assert project.summary("jobs/again.yaml") == {"keep": RUNS}
    project.run("apply", "jobs/again.yaml", "-q")
    assert len(project.made()) == RUNS
    assert ids(project.runs()) == set(runs)
    there = project.run("export", "--job", "small", "-o", "jobs/again.yaml", exit_code=2)
    assert "is there already" in there.stderr


def test_single_runs_and_prompts_are_exported(project: Project) -> None:
    runs = made(project)
    prompt = next(each["prompt_id"] for each in project.runs() if each["id"] == runs[0])
    of_prompt = [each["id"] for each in project.runs() if each["prompt_id"] == prompt]

    project.run("export", runs[-1], str(prompt), "--name", "few", "-o", "jobs/few.yaml")

    assert project.summary("jobs/few.yaml") == {"keep": len({runs[-1], *of_prompt})}
    unknown = project.run("export", "rs_0000", "ps_0000", exit_code=2).stderr
    assert "ps_0000" in unknown


def test_what_would_not_come_out_again_is_named_and_nothing_written(project: Project) -> None:
    runs = made(project)
    film(project.root / "clips" / "b" / "color.mp4", seed=9)

    said = project.run("export", "--job", "small", "-o", "jobs/x.yaml", exit_code=1).stderr

    lost = [each for each in runs if each in said]
    assert len(lost) == 2
    assert "not as it was: color video clips/b/color.mp4" in said
    assert not (project.root / "jobs" / "x.yaml").exists()


def test_several_engines_need_a_folder(project: Project) -> None:
    project.job.write_text(project.job.read_text() + "upscale: true\n")
    made(project)
    behind = next(str(each["id"]) for each in project.runs() if "-4k" in str(each["jobs"]))
    project.run("delete", "run", behind, "-y")

    refused = project.run("export", "--job", "small", exit_code=2).stderr
    project.run("export", "--job", "small", "--name", "two", "-o", "exported/")

    assert "name a folder" in refused
    written = sorted(path.name for path in (project.root / "exported").iterdir())
    assert written == ["two-preview-4k.yaml", "two-preview.yaml"]
    assert project.summary("exported") == {"keep": 2 * RUNS - 1}


def test_another_projects_runs_come_with_ids_videos_and_ratings(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runs = made(project)
    project.run("rate", runs[0], "5")
    here = other(tmp_path_factory.mktemp("here") / "project")

    first = here.run("import", str(project.root)).stdout
    again = here.run("import", str(project.root / ".cosmos-jobs" / "state.json")).stdout

    assert first == f"New: 4 prompts, {RUNS} runs, {RUNS} of them with their video.\n"
    assert again == f"New: 0 prompts, 0 runs.\nKnown already: {RUNS} runs, left as here.\n"
    assert ids(here.runs()) == set(runs)
    assert [each["rating"] for each in here.runs() if each["id"] == runs[0]] == [5]
    assert len(list((here.root / "outputs" / "small").rglob("*.mp4"))) == RUNS
    here.run("verify")
    shutil.copy(project.job, here.job)
    shutil.copytree(project.root / "clips", here.root / "clips")
    assert here.summary() == {"keep": RUNS}


def test_only_whole_videos_come_along_and_nothing_in_flight(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second, third, *_ = made(project)
    (project.root / "outputs" / "runs" / first / "output.mp4").write_bytes(b"damaged")
    in_flight(project, second)
    state(project, {"weights": {"seg": 1}}, third)
    here = other(tmp_path_factory.mktemp("here") / "project")

    said = here.run("import", str(project.root)).stdout

    states = {str(each["id"]): each["state"] for each in here.runs()}
    assert states[first] == "lost"
    assert second not in states
    assert third not in states
    assert f"{RUNS - 2} runs, {RUNS - 3} of them with their video" in said
    assert "In flight there: 1 run" in said
    assert "Not what their ids say: 1 record" in said
    assert "its own" not in said
    assert "no store in" in here.run("import", "jobs", exit_code=2).stderr
    assert "own store" in here.run("import", ".", exit_code=2).stderr


def test_no_name_of_another_store_leads_outside_the_outputs(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run_id = made(project)[0]
    path = project.root / ".cosmos-jobs" / "state.json"
    document = orjson.loads(path.read_bytes())
    prompt_id = document["runs"][run_id]["prompt"]
    document["prompts"][prompt_id]["name"] = "../../x"
    path.write_bytes(orjson.dumps(document))
    here = other(tmp_path_factory.mktemp("here") / "project")
    shutil.copytree(project.root / "clips", here.root / "clips")

    here.run("import", str(project.root))
    here.run("inference", prompt_id, "--engine", "preview", "--weights", "0.5", "0", "0", "0")

    named = orjson.loads(here.run("list", "prompts", "--format", "json").stdout)
    name = next(each["name"] for each in named if each["id"] == prompt_id)
    assert "/" not in name
    assert len(list((here.root / "outputs" / "inference" / name).iterdir())) == 1
    assert {each.name for each in here.root.parent.iterdir()} == {"project"}
    assert "x" not in {each.name for each in here.root.iterdir()}


# --- delete ---------------------------------------------------------------------------------


def test_runs_go_with_their_files_and_links_after_a_look_at_them(project: Project) -> None:
    first, second, *_ = made(project)
    links = list((project.root / "outputs" / "small").rglob("*.mp4"))

    looked = project.run("delete", "run", first, second[:10], "--dry-run").stdout
    refused = project.run("delete", "run", first, exit_code=2).stderr
    done = project.run("delete", "run", first, second[:10], "--yes").stdout

    assert f"- {first}  small/" in looked
    assert "To delete: 2 runs;" in looked
    assert "jobs/small.yaml asked for 2 of them" in looked
    assert "add --yes" in refused
    assert "Deleted 2 runs; freed" in done
    assert ids(project.runs()).isdisjoint({first, second})
    assert not (project.root / "outputs" / "runs" / first).exists()
    assert len(list((project.root / "outputs" / "small").rglob("*.mp4"))) == len(links) - 2
    assert project.summary() == {"create": 2, "keep": RUNS - 2}
    project.run("verify")


def test_outputs_can_stay_and_be_taken_back(project: Project) -> None:
    first, *_ = made(project)

    project.run("delete", "run", first, "--yes", "--keep-outputs")

    assert (project.root / "outputs" / "runs" / first / "output.mp4").is_file()
    assert "unknown run" in project.run("verify", exit_code=1).stdout
    project.run("adopt")
    assert project.summary() == {"keep": RUNS}


def test_a_prompt_with_runs_needs_force(project: Project) -> None:
    made(project)
    prompt = str(orjson.loads(project.run("list", "prompts", "--format", "json").stdout)[0]["id"])

    refused = project.run("delete", "prompt", prompt, "--yes", exit_code=1).stderr
    project.run("delete", "prompt", prompt, "--yes", "--force")

    assert "2 runs of this prompt would go, too" in refused
    assert "--force" in refused
    assert len(project.runs()) == RUNS - 2
    assert prompt not in project.run("list", "prompts").stdout
    assert (project.root / "clips" / "a" / "color.mp4").is_file()


def test_every_wrong_id_is_named_and_nothing_done(project: Project) -> None:
    runs = made(project)

    said = project.run("delete", "run", runs[0], "rs_zz", "rs_yy", "rs_", "-y", exit_code=2).stderr

    assert "`rs_zz`" in said
    assert "`rs_yy`" in said
    assert f"`rs_` (could be {RUNS})" in said
    assert len(project.runs()) == RUNS


def test_a_run_in_flight_is_not_deleted(project: Project) -> None:
    first, second, *_ = made(project)
    in_flight(project, first)

    said = project.run("delete", "run", first, second, "-y", exit_code=1).stderr

    assert f"in flight: {first}" in said
    assert f"cosmos-jobs cancel {first}" in said
    assert len(project.runs()) == RUNS
    assert (project.root / "outputs" / "runs" / second / "output.mp4").is_file()


def test_a_run_in_flight_on_a_target_that_is_gone_needs_force(project: Project) -> None:
    first, *_ = made(project)
    in_flight(project, first, "gone")

    refused = project.run("delete", "run", first, "-y", exit_code=1).stderr
    kept = ids(project.runs())
    project.run("delete", "run", first, "-y", "--force")

    assert "not in cosmos-jobs.yaml any more" in refused
    assert "add --force" in refused
    assert first in kept
    assert first not in ids(project.runs())


def test_no_force_deletes_a_run_in_flight_on_a_known_target(project: Project) -> None:
    first, *_ = made(project)
    in_flight(project, first)

    said = project.run("delete", "run", first, "-y", "--force", exit_code=1).stderr

    assert f"cosmos-jobs cancel {first}" in said
    assert first in ids(project.runs())


def test_a_file_of_ones_own_in_the_place_of_a_link_stays(project: Project) -> None:
    made(project)
    place = next((project.root / "outputs" / "small" / "golden").iterdir())
    run_id = next(
        str(each["id"])
        for each in project.runs()
        if place.samefile(project.root / "outputs" / "runs" / str(each["id"]) / "output.mp4")
    )
    place.unlink()
    place.write_text("my own")

    project.run("delete", "run", run_id, "-y")

    assert place.read_text() == "my own"


# --- evaluate -------------------------------------------------------------------------------


def test_what_was_measured_sorts_the_list_and_goes_into_spreadsheets(project: Project) -> None:
    made(project)

    before = project.run("list", "runs", "--sort", "edge_f1").stdout
    shown = project.run("evaluate", "small")
    listed = project.run("list", "runs", "--sort", "edge_f1").stdout.splitlines()
    rows = list(csv.DictReader(io.StringIO(project.run("list", "runs", "--format", "csv").stdout)))
    again = orjson.loads(project.run("evaluate", "--format", "json").stdout)

    assert [line.split()[2] for line in before.splitlines()] == ["EDGE_F1"] + RUNS * ["-"]
    assert shown.stderr == ""
    assert "higher is better" in shown.stdout and "no depth_si_rmse of 8 runs" in shown.stdout
    scores = [float(line.split()[2]) for line in listed[1:]]
    assert len(scores) == RUNS and scores == sorted(scores, reverse=True)
    assert {each["run"]: float(each["edge_f1"]) for each in rows} == {
        each["id"]: pytest.approx(each["metrics"]["edge_f1"], abs=1e-5) for each in again
    }
    assert project.run("verify").stdout.rstrip().endswith("all as it should be.")


def test_a_name_that_is_no_run_cannot_be_measured(project: Project) -> None:
    assert "There is no video" in project.run("evaluate").stdout
    assert "no run, job or job file `x`" in project.run("evaluate", "x", exit_code=2).stderr


def test_maps_that_somebody_puts_beside_an_output_are_nobodys_fault(project: Project) -> None:
    run_id = made(project)[0]
    folder = project.root / "outputs" / "runs" / run_id
    (folder / "maps").mkdir()
    shutil.copy(folder / "controls" / "depth.mp4", folder / "maps" / "segmentation.mp4")
    (folder / "maps" / "other.mp4").touch()

    found = orjson.loads(project.run("verify", "--format", "json", exit_code=1).stdout)["findings"]

    assert [(each["kind"], Path(each["path"]).name) for each in found] == [
        ("unknown-file", "other.mp4")
    ]
