"""A small project of its own for each test, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support import browser
from tests.support.needs import need
from tests.support.project import JOB, Project, film


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project with two clips and a job of RUNS runs."""
    made = Project(tmp_path)
    for seed, name in enumerate(("a", "b")):
        film(tmp_path / "clips" / name / "color.mp4", seed)
    made.job.parent.mkdir()
    made.job.write_text(JOB)
    (tmp_path / "cosmos-jobs.yaml").write_text("version: 1\n")
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Return a browser; skip where there is none, which in CI is a failure."""
    need(browser.missing())
    with browser.chromium() as started:
        yield started
