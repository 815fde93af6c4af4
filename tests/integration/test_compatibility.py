"""A project that an earlier version worked in: its state, its outputs and its host's folders.

`project-before-the-move.tar.gz` was written by the version whose modules stood
side by side in one folder: a job of two runs and one run by `cosmos inference`,
all by the engine preview, and the folders of the target `local`.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.project import Project

PROJECT = Path(__file__).parents[1] / "data" / "project-before-the-move.tar.gz"
IDS = {"rs_6e73db40e7a62833", "rs_decd7cf332186c58", "rs_eaec741f38568566"}


@pytest.fixture
def earlier(tmp_path: Path) -> Project:
    with tarfile.open(PROJECT) as archive:
        archive.extractall(tmp_path, filter="data")
    return Project(tmp_path)


def test_what_an_earlier_version_made_is_up_to_date(earlier: Project) -> None:
    plan = earlier.run("plan", "--exit-code").stdout

    assert "2 up to date" in plan
    assert {str(each["id"]) for each in earlier.runs()} == IDS
    assert "of 3 runs: all as it should be" in earlier.run("verify").stdout


@pytest.mark.parametrize("lost", [["outputs"], [".cosmos-jobs/hosts"]])
def test_a_lost_state_comes_back_from_either_place(earlier: Project, lost: list[str]) -> None:
    before = [(each["id"], each["output"]) for each in earlier.runs()]
    for name in (*lost, ".cosmos-jobs/state.json", ".cosmos-jobs/state.json.bak"):
        path = earlier.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    adopted = earlier.run("adopt").stdout

    assert "Adopted 3 runs." in adopted
    after = [(each["id"], each["output"]) for each in earlier.runs()]
    assert sorted(map(str, after)) == sorted(map(str, before))
    assert "2 up to date" in earlier.run("plan", "--exit-code").stdout
