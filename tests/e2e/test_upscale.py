"""4K videos of outputs and of any video, without a model: the way is the same with one."""

from __future__ import annotations

from pathlib import Path

import av

from tests.support.project import RUNS, Project, damage, frames


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def only_golden(project: Project) -> list[dict[str, object]]:
    """Return the runs of one prompt, made."""
    project.run("apply", "jobs/small.yaml", "--only", "golden")
    return project.runs()


def test_every_run_of_a_job_is_followed_by_a_larger_one(project: Project) -> None:
    project.job.write_text(project.job.read_text() + "upscale: true\n")

    project.run("apply", "jobs/small.yaml")

    folder = project.root / "outputs" / "small" / "golden"
    small, large = folder / "a-balanced.mp4", folder / "a-balanced-4k.mp4"
    assert size(large)[0] == 3 * size(small)[0]
    assert frames(large) == frames(small)
    assert project.summary() == {"keep": 2 * RUNS}
    assert len(project.made()) == 2 * RUNS


def test_what_was_made_is_upscaled_by_a_command_once(project: Project) -> None:
    run = str(only_golden(project)[0]["id"])

    first = project.run("upscale", run[:8], "--weight", "0.3").stdout
    again = project.run("upscale", run[:8], "--weight", "0.3").stdout

    (made,) = [each for each in project.runs() if not each["jobs"]]
    video = project.root / "outputs" / "runs" / str(made["id"]) / "output.mp4"
    assert made["state"] == "succeeded"
    assert f"outputs/runs/{made['id']}/" in first
    assert "Nothing to do: 1 run is up to date." in again
    assert str(video) in again
    assert frames(video) == 3
    assert project.summary() == {"create": RUNS - 4, "keep": 4}, "it is in no job"
    shown = project.run("show", str(made["id"])).stdout
    assert ["upscaled", "from", run] in [line.split() for line in shown.splitlines()]
    assert run in project.run("list", "prompts").stdout


def test_any_video_is_upscaled_when_one_says_what_it_shows(project: Project) -> None:
    asked = project.run("upscale", "clips/a/color.mp4", exit_code=2).stderr
    project.run("upscale", "clips/a/color.mp4", "--prompt", "noise", "-q")

    (made,) = project.runs()
    video = project.root / "outputs" / "runs" / str(made["id"]) / "output.mp4"
    assert "say it: --prompt TEXT" in asked
    assert size(video)[0] == 3 * 64


def test_what_cannot_be_upscaled_is_said_and_starts_nothing(project: Project) -> None:
    runs = only_golden(project)
    project.run("upscale", str(runs[0]["id"]), "-q")
    (large,) = [str(each["id"]) for each in project.runs() if not each["jobs"]]
    before = project.made()

    said = [
        project.run("upscale", name, exit_code=2).stderr
        for name in ("rs_0000", "nothing.mp4", large, "jobs/small.yaml")
    ]
    lacking = project.run("upscale", str(runs[0]["id"]), "--engine", "transfer1", exit_code=6)

    assert "there is no run `rs_0000`" in said[0]
    assert "nothing.mp4 does not exist" in said[1]
    assert "upscaled already" in said[2]
    assert "jobs/small.yaml" in said[3]
    assert "has no engine `transfer1`" in lacking.stderr
    assert project.made() == before


def test_a_larger_one_waits_for_the_run_that_it_works_on(project: Project) -> None:
    project.job.write_text(project.job.read_text() + "upscale: true\n")
    damage(project.root / "clips" / "a" / "color.mp4")

    said = project.run("apply", "jobs/small.yaml", "--only", "golden", exit_code=1).stdout

    states = [str(each["state"]) for each in project.runs()]
    assert states.count("failed") == states.count("pending") == 2
    assert states.count("succeeded") == 4
    assert "2 pending" in said
    assert "What is pending did not begin." in said
