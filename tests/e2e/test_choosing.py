"""The whole way of a user: apply, measure, look, judge, and apply what was chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support import made_projects
from tests.support.project import Project

REPOSITORY = Path(__file__).parents[2]

HANDOVER = f"""\
version: 1
name: handover
videos: {{arms: {made_projects.RECORDING}}}
prompts: {{kitchen: Two robot arms hand over a cup in a bright kitchen}}
weights:
  edges: {{edge: 1}}
  balanced: [0.25, 0.25, 0.25, 0.25]
params: {{resolution: "256", max_frames: 24, seed: [1, 2]}}
"""
HERE = pytest.mark.skipif(
    not made_projects.RECORDING.is_dir(), reason=f"there is no {made_projects.RECORDING}"
)


def prepared(root: Path, job: str) -> Project:
    project = Project(root)
    (root / "jobs").mkdir()
    if job == "sunsets":
        shutil.copy(REPOSITORY / "cosmos-jobs.yaml", root)
        shutil.copy(REPOSITORY / "jobs" / "sunsets.yaml", root / "jobs")
        shutil.copytree(REPOSITORY / "inputs", root / "inputs")
    else:
        (root / "cosmos-jobs.yaml").write_text("version: 1\n")
        (root / "jobs" / "handover.yaml").write_text(HANDOVER)
    return project


@pytest.mark.parametrize("job", ["sunsets", pytest.param("handover", marks=HERE)])
def test_a_winner_is_chosen_on_the_page_and_applied(
    tmp_path: Path, chromium: Browser, job: str
) -> None:
    project = prepared(tmp_path, job)
    project.run("apply", f"jobs/{job}.yaml", "-q")
    project.run("evaluate", job)
    index = tmp_path / project.run("report", f"jobs/{job}.yaml").stdout.strip()
    made_before = project.made()

    page = chromium.new_page()
    page.goto(index.as_uri())
    page.get_by_label("Sort", exact=True).select_option("edge_f1")
    for axis in ("Rows", "Columns"):
        page.get_by_label(axis, exact=True).select_option("")
    winner = page.locator("#cells .tile").first.get_attribute("data-run")
    page.keyboard.press("k")
    page.wait_for_function("() => document.querySelectorAll('video.ready').length > 1")
    page.locator("#cells .tile").first.focus()
    page.keyboard.press("5")
    with page.expect_download() as download:
        page.keyboard.press("e")
    download.value.save_as(tmp_path / download.value.suggested_filename)
    told = page.locator("#exported code").all_inner_texts()
    page.close()
    for line in told:
        project.run(*line.removeprefix("cosmos-jobs ").split())

    best = project.run("list", "runs", "--sort", "edge_f1", "--limit", "1").stdout
    assert f"\n{winner}" in best
    assert project.summary(f"jobs/{job}-best.yaml") == {"keep": 1}
    assert project.made() == made_before
    assert len(told) == 3
