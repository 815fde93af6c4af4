"""What continuous integration does with a project: plans in pull requests, events, reports."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_jobs.render import markdown

from .conftest import Project, film

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
    shutil.rmtree(project.root / ".cosmos-jobs")
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
        (_apply_a_part, ["small/golden/a-balanced, small/golden/a-edges", "no longer to be"]),
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
    [_comment, _rename, _touch, _apply_another_job, _make_anew],
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
