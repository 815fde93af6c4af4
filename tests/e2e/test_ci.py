"""What continuous integration does with a project: plans in pull requests, events, reports."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import junitparser
import orjson
import pytest
from jsonschema import Draft7Validator

from cosmos_jobs.cli.views import markdown
from cosmos_jobs.config import schema
from tests.integration.test_changes import Repository
from tests.support.project import Project, damage, film

EVENT = Draft7Validator(schema.load("events"))


def events(written: str) -> list[dict[str, Any]]:
    """Return the events of a stdout that has nothing else; each must be as the schema says."""
    found: list[dict[str, Any]] = [orjson.loads(line) for line in written.splitlines()]
    assert [error.message for each in found for error in EVENT.iter_errors(each)] == []
    assert [found[0]["type"], found[-1]["type"]] == ["version", "summary"]
    return found


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each["type"] == kind]


def cases(path: Path) -> list[junitparser.TestCase]:
    return [case for suite in junitparser.JUnitXml.fromfile(str(path)) for case in suite]


# --- plans --------------------------------------------------------------------------------


def test_a_plan_is_a_comment_for_a_pull_request(project: Project) -> None:
    subprocess.run(["git", "init", "-q", str(project.root.parent)], check=True)

    first = project.run("plan", "--format", "markdown").stdout
    project.edit("golden hour", "noon")
    second = project.run("plan", "--format", "markdown").stdout

    assert "### Plan: 8 to run" in first
    assert "| <code>jobs/small.yaml</code> | preview |" in first
    assert first.splitlines()[0] == second.splitlines()[0] == markdown.marker(project.root.name)


def _edit(project: Project) -> None:
    project.edit("golden hour", "noon")


def _film_again(project: Project) -> None:
    film(project.root / "clips" / "a" / "color.mp4", seed=9)


def _write_again(project: Project) -> None:
    (project.root / "storm.txt").write_text("A harbour in {weather}")


def _remove(project: Project) -> None:
    project.job.unlink()


def _apply_a_part(project: Project) -> None:
    project.run("apply", "jobs/small.yaml", "--only", "golden")


def _make_anew(project: Project) -> None:
    _apply_a_part(project)
    # A batch whose videos are all there may still be noting how it ended.
    while (left := project.root / ".cosmos-jobs").exists():
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(project.root / "outputs")


def _comment(project: Project) -> None:
    project.job.write_text(f"# reviewed\n{project.job.read_text()}")


def _rename(project: Project) -> None:
    (project.root / "clips" / "a").rename(project.root / "clips" / "pier")
    project.edit("a: clips/a", "a: clips/pier")


def _touch(project: Project) -> None:
    (project.root / "clips" / "a" / "color.mp4").touch()


def _apply_another_job(project: Project) -> None:
    other = project.root / "jobs" / "other.yaml"
    text = project.job.read_text().replace("name: small", "name: other")
    other.write_text(text.replace("golden hour", "dawn").replace("A pier in", "A ship in"))
    project.run("apply", "jobs/other.yaml", "--only", "golden")


@pytest.fixture
def saved(project: Project) -> Project:
    """Return a project whose plan is saved; one of its prompts stands in a file."""
    project.edit("text: A pier in {weather}", "file: storm.txt")
    (project.root / "storm.txt").write_text("A pier in {weather}")
    project.run("plan", "jobs/small.yaml", "--out", "plan.json")
    return project


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (_edit, ["jobs/small.yaml says something else", "the text of prompt golden of small"]),
        (_film_again, ["the video a/color of small: another one now", "small/golden/a-balanced"]),
        (_write_again, ["the text of prompt storm of small: another one now", "small/storm/a-"]),
        (_remove, ["there is no job file jobs/small.yaml"]),
    ],
)
def test_a_saved_plan_is_refused_with_what_has_changed(
    saved: Project, move: Callable[[Project], None], said: list[str]
) -> None:
    move(saved)
    made = len(saved.made())

    refused = saved.run("apply", "plan.json", exit_code=1).stderr

    assert "the saved plan plan.json is stale" in refused
    assert [each for each in said if each not in refused] == []
    assert "look again: cosmos-jobs plan jobs/small.yaml --out plan.json" in refused
    assert len(saved.made()) == made


@pytest.mark.parametrize(
    "move",
    [_comment, _rename, _touch, _apply_another_job, _apply_a_part, _make_anew],
    ids=lambda each: each.__name__,
)
def test_a_saved_plan_is_applied_when_what_moved_on_does_not_matter(
    saved: Project, move: Callable[[Project], None]
) -> None:
    move(saved)

    saved.run("apply", "plan.json")

    assert saved.summary("jobs/small.yaml") == {"keep": 8}


def test_a_saved_plan_is_applied_in_another_clone(saved: Project, tmp_path: Path) -> None:
    clone = Project(tmp_path / "another place")
    shutil.copytree(saved.root, clone.root, ignore=shutil.ignore_patterns("another place"))

    clone.run("apply", "plan.json")

    assert len(clone.made()) == 8


def test_a_saved_plan_of_prompts_that_are_enhanced_later(project: Project) -> None:
    project.edit("golden: A pier at golden hour", "golden: {text: A pier at noon, enhance: true}")
    project.run("plan", "--only", "golden", "--out", "plan.json")
    project.edit("at noon", "at night")

    refused = project.run("apply", "plan.json", exit_code=1).stderr
    project.edit("at night", "at noon")
    project.run("apply", "plan.json")

    assert "to be enhanced from another text" in refused
    assert len(project.made()) == 4


# --- what a branch has changed ------------------------------------------------------------


@pytest.fixture
def committed(project: Project) -> Repository:
    """Return the repository of a project with three jobs, all committed on `main`."""
    plain = {"version": 1, "params": {"resolution": "256"}, "prompts": {"golden": "A pier"}}
    jobs: dict[str, dict[str, Any]] = {
        "folder": {"videos": {"a": "clips/a"}},
        "file": {
            "videos": {"b": {"color": "clips/b/color.mp4"}},
            "prompts": {"x": {"file": "x.txt"}},
        },
        "glob": {"videos": {"glob": "more/*"}, "prompts": {"golden": "A glob"}},
    }
    for name, more in jobs.items():
        path = project.root / "jobs" / f"{name}.yaml"
        path.write_bytes(orjson.dumps({**plain, "name": name, **more}))
    project.job.unlink()
    film(project.root / "more" / "c" / "color.mp4", 3)
    film(project.root / "more" / "d" / "color.mp4", 4)
    (project.root / "x.txt").write_text("A prompt")
    (project.root / ".gitignore").write_text("/.cosmos-jobs\n/outputs\n")
    made = Repository(project.root)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit()
    return made


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        ("jobs/file.yaml", ["file"]),
        ("clips/a/color.mp4", ["folder"]),
        ("clips/a/depth.mp4", ["folder"]),
        ("clips/b/color.mp4", ["file"]),
        ("clips/b/depth.mp4", []),
        ("x.txt", ["file"]),
        ("more/e/color.mp4", ["glob"]),
        ("more/d/color.mp4", ["glob"]),
        ("cosmos-jobs.yaml", ["file", "folder", "glob"]),
        ("README.md", []),
    ],
)
def test_only_jobs_that_differ_or_name_what_differs_are_planned(
    project: Project, committed: Repository, changed: str, jobs: list[str]
) -> None:
    path = project.root / changed
    if path.suffix == ".mp4":
        film(path, seed=9)
    else:
        text = path.read_text() if path.exists() else ""
        path.write_text(f"{text}\n" if path.suffix == ".yaml" else "other")

    plan = project.run("plan", "--changed-since", "main", "--format", "json")
    validated = project.run("validate", "--changed-since", "main").stdout

    assert sorted(orjson.loads(plan.stdout)["targets"]) == jobs
    assert [
        each for each in ("file", "folder", "glob") if f"jobs/{each}.yaml: ok" in validated
    ] == jobs
    assert ("no job file differs from main" in validated) == (not jobs)


def test_a_video_that_is_gone_and_a_job_file_that_was_wrong_before(
    project: Project, committed: Repository
) -> None:
    (project.root / "jobs" / "wrong.yaml").write_text("version: 7\n")
    committed.commit()
    shutil.rmtree(project.root / "more" / "d")

    planned = project.run("plan", "--changed-since", "HEAD").stdout

    assert "jobs/glob.yaml" in planned
    assert "Plan: 1 to run" in planned
    project.run("plan", exit_code=3)


def test_apply_makes_what_a_branch_has_changed_and_a_saved_plan_does_so_later(
    project: Project, committed: Repository
) -> None:
    nothing = project.run("apply", "--changed-since", "main").stdout
    project.run("plan", "--changed-since", "main", "--out", "nothing.plan")
    (project.root / "x.txt").write_text("Another prompt")
    project.run("plan", "--changed-since", "main", "--out", "branch.plan")
    committed.commit()

    project.run("apply", "nothing.plan")
    before = len(project.made())
    project.run("apply", "branch.plan")

    assert "Nothing to do: no job file differs from main." in nothing
    assert before == 0
    assert project.summary("jobs/file.yaml") == {"keep": 1}
    assert len(project.made()) == 1


def test_a_comment_says_that_no_job_file_differs(project: Project, committed: Repository) -> None:
    said = project.run("plan", "--changed-since", "main", "--format", "markdown").stdout

    assert said.splitlines()[2:] == [
        "### Plan: nothing to do",
        "",
        "No job file differs from <code>main</code>.",
    ]


def test_an_unknown_ref_says_what_to_type(project: Project, committed: Repository) -> None:
    refused = project.run("plan", "--changed-since", "--output=x", exit_code=2).stderr

    assert refused.startswith("error: git knows no commit `--output=x`\n  see what there is:")


# --- events and reports -------------------------------------------------------------------


def test_an_apply_tells_programs_what_happens(project: Project) -> None:
    done = project.run("apply", "--format", "json", "--junit", "reports/apply.xml")
    again = project.run("apply", "--format", "json")

    told = events(done.stdout)
    assert done.stderr == ""
    assert len(of("planned", told)) == len(of("submitted", told)) == len(of("finished", told)) == 8
    assert {each["place"] for each in of("planned", told)} == {
        each["place"] for each in of("finished", told)
    }
    assert told[-1]["states"]["succeeded"] == told[-1]["started"] == 8
    assert told[-1]["exit_code"] == 0
    assert [each["type"] for each in events(again.stdout)] == ["version", "plan", "summary"]
    assert events(again.stdout)[-1]["up_to_date"] == 8
    made = cases(project.root / "reports" / "apply.xml")
    assert len(made) == 8
    assert [case.result for case in made] == [[]] * 8
    assert "golden/a-balanced" in {case.name for case in made}
    assert all(case.time > 0 for case in made)


def test_a_run_that_fails_is_a_finished_event_and_a_failed_test(project: Project) -> None:
    damage(project.root / "clips" / "a" / "color.mp4")

    done = project.run("apply", "--format", "json", "--junit", "apply.xml", exit_code=1)

    told = events(done.stdout)
    bad = [each for each in of("finished", told) if each["state"] == "failed"]
    assert len(bad) == told[-1]["states"]["failed"] == 6
    assert all(each["reason"] for each in bad)
    assert told[-1]["exit_code"] == 1
    failures = [case.result[0] for case in cases(project.root / "apply.xml") if case.result]
    assert [type(each) for each in failures] == [junitparser.Failure] * 6
    assert {each.message for each in failures} <= {each["reason"].splitlines()[0] for each in bad}


def _limit(project: Project) -> tuple[str, ...]:
    return ("--max-runs", "3")


def _mistake(project: Project) -> tuple[str, ...]:
    project.edit("prompts:", "promts:")
    return ()


def _nothing(project: Project) -> tuple[str, ...]:
    return ("jobs/none.yaml",)


def _broken_store(project: Project) -> tuple[str, ...]:
    (project.root / ".cosmos-jobs").mkdir()
    (project.root / ".cosmos-jobs" / "state.json").write_text("{")
    return ()


def _stale(project: Project) -> tuple[str, ...]:
    project.run("plan", "--out", "plan.json")
    _edit(project)
    return ("plan.json",)


def _no_engine(project: Project) -> tuple[str, ...]:
    project.edit("name: small", "name: small\nengine: transfer1")
    return ()


@pytest.mark.parametrize(
    ("arrange", "exit_code", "said"),
    [
        (_limit, 1, "this would start 8 runs"),
        (_mistake, 3, "nothing was planned"),
        (_nothing, 2, "there is no job file jobs/none.yaml"),
        (_broken_store, 4, "state.json"),
        (_stale, 1, "jobs/small.yaml says something else"),
        (_no_engine, 3, "nothing was planned"),
    ],
)
def test_a_refusal_is_an_event_and_a_report_too(
    project: Project,
    arrange: Callable[[Project], tuple[str, ...]],
    exit_code: int,
    said: str,
) -> None:
    options = arrange(project)

    done = project.run(
        "apply", "--format", "json", "--junit", "apply.xml", *options, exit_code=exit_code
    )

    told = events(done.stdout)
    (error,) = of("error", told)
    assert said in error["message"]
    assert error["exit_code"] == told[-1]["exit_code"] == exit_code
    assert bool(of("problem", told)) == (exit_code == 3)
    assert said in done.stderr
    (case,) = cases(project.root / "apply.xml")
    assert said in case.result[0].message
    assert not project.made()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_interrupted_ends_with_a_summary(project: Project, number: signal.Signals) -> None:
    project.edit('"256"', '"256", seed: {start: 1, stop: 50, step: 1}')
    lines = []
    with project.start("apply", "--format", "json", "--junit", "apply.xml") as client:
        assert client.stdout
        for line in client.stdout:
            lines.append(line)
            if '"state":"succeeded"' in line:
                client.send_signal(number)
                break
        lines += client.stdout.readlines()

    told = events("".join(lines))
    assert client.returncode == told[-1]["exit_code"] == 130
    assert of("error", told)[-1]["message"] == "interrupted"
    *runs, error = cases(project.root / "apply.xml")
    made = [case for case in runs if not case.result]
    assert len(runs) == sum(told[-1]["states"].values()) == 400
    assert len(made) == told[-1]["states"]["succeeded"] > 0
    assert error.result[0].message == "interrupted"


def test_a_reader_that_goes_away_stops_no_work(project: Project) -> None:
    with project.start("apply", "--format", "json") as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.stdout.close()

    assert client.returncode == 0
    assert len(project.made()) == 8


def test_a_report_that_cannot_be_written_is_told(project: Project) -> None:
    (project.root / "reports").write_text("a file")

    refused = project.run("apply", "--junit", "reports/apply.xml", exit_code=5)

    assert "reports" in refused.stderr
    assert "Traceback" not in refused.stderr
