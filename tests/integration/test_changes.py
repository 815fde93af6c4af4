"""What differs from a git ref, asked of real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import git as changes


class Repository:
    """A git repository; its commits need nobody's settings."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> str:
        who = {
            f"GIT_{what}_{key}": "x"
            for what in ("AUTHOR", "COMMITTER")
            for key in ("NAME", "EMAIL")
        }
        env = {
            **os.environ,
            **who,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str, text: str = "x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a repository with one commit on `main`."""
    made = Repository(tmp_path / "work")
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch", "main")
    for name in ("jobs/a.yaml", "jobs/b.yaml", "clips/a/color.mp4", "clips/b/color.mp4"):
        made.write(name, name)
    made.commit()
    return made


def names(repository: Repository, ref: str = "main") -> set[str]:
    found = changes.since(repository.root, ref).paths
    return {str(path.relative_to(repository.root)) for path in found}


def test_what_was_committed_changed_added_renamed_and_deleted_differs(
    repository: Repository,
) -> None:
    repository.git("switch", "--quiet", "--create", "branch")
    repository.write("jobs/a.yaml", "committed")
    repository.commit()
    repository.write("jobs/new file.yaml")
    repository.write('jobs/ünïcode\n"x".yaml')
    repository.git("mv", "jobs/b.yaml", "jobs/c.yaml")
    (repository.root / "clips/a/color.mp4").unlink()

    assert names(repository) == {
        "jobs/a.yaml",
        "jobs/new file.yaml",
        'jobs/ünïcode\n"x".yaml',
        "jobs/b.yaml",
        "jobs/c.yaml",
        "clips/a/color.mp4",
    }


def test_what_others_did_since_the_branch_left_does_not_count(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "branch")
    repository.write("jobs/a.yaml", "mine")
    repository.commit()
    repository.git("switch", "--quiet", "main")
    repository.write("jobs/b.yaml", "theirs")
    repository.commit()
    repository.git("switch", "--quiet", "branch")

    assert names(repository) == {"jobs/a.yaml"}


def test_what_is_touched_or_ignored_does_not_differ(repository: Repository) -> None:
    repository.write(".gitignore", "outputs/\n")
    repository.commit()
    repository.write("outputs/a.mp4")
    (repository.root / "jobs" / "a.yaml").touch()

    assert names(repository) == set()


def test_names_are_found_from_a_project_below_the_top_and_through_links(
    repository: Repository, tmp_path: Path
) -> None:
    repository.git("config", "diff.relative", "true")
    job = repository.write("films/jobs/a.yaml")
    (tmp_path / "link").symlink_to(repository.root)
    video = repository.write("clips/a/color.mp4", "other")
    (repository.root / "films" / "pier.mp4").symlink_to(video)

    found = changes.since(tmp_path / "link" / "films", "main")

    assert found.of(tmp_path / "link" / "films" / "jobs" / "a.yaml")
    assert found.of(job)
    assert found.of(repository.root / "films" / "pier.mp4")
    assert found.within(repository.root / "clips" / "a")
    assert not found.within(repository.root / "clips" / "b")
    assert not found.of(repository.root / "jobs" / "a.yaml")


def test_a_pointer_of_dvc_and_a_submodule_stand_for_what_is_in_them(
    repository: Repository, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other")
    other.root.mkdir()
    other.git("init", "--quiet")
    other.write("color.mp4")
    other.commit()
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.root), "sub"
    )
    repository.commit()
    repository.write("clips/b.dvc")
    inside = Repository(repository.root / "sub")
    inside.write("color.mp4", "other")
    inside.commit()

    found = changes.since(repository.root, "HEAD")

    assert found.of(repository.root / "sub" / "color.mp4")
    assert found.of(repository.root / "clips" / "b" / "color.mp4")
    assert not found.of(repository.root / "clips" / "a" / "color.mp4")


@pytest.mark.parametrize(
    "ref", ["nowhere", "", "--output=x", "-h", "main..HEAD", "a b", "main:jobs"]
)
def test_an_unknown_ref_is_refused_and_is_never_an_option(repository: Repository, ref: str) -> None:
    with pytest.raises(UsageError, match="git knows no commit"):
        changes.since(repository.root, ref)

    assert not (repository.root / "x").exists()


@pytest.mark.parametrize("kind", ["tag", "commit", "short", "relative"])
def test_a_ref_is_whatever_names_a_commit(repository: Repository, kind: str) -> None:
    repository.git("tag", "--annotate", "v1", "--message", "x")
    first = repository.git("rev-parse", "HEAD")
    repository.write("jobs/a.yaml", "other")
    repository.commit()
    ref = {"tag": "v1", "commit": first, "short": first[:8], "relative": "HEAD~1"}[kind]

    assert names(repository, ref) == {"jobs/a.yaml"}


def test_a_shallow_clone_is_told_how_to_get_the_rest(
    repository: Repository, tmp_path: Path
) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.write("jobs/a.yaml", "other")
    repository.commit()
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{repository.root}", str(tmp_path / "clone")],
        check=True,
    )

    with pytest.raises(UsageError, match="git knows no commit") as refused:
        changes.since(tmp_path / "clone", first)

    assert "fetch-depth: 0" in refused.value.hint


def test_histories_with_nothing_in_common_are_refused(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--orphan", "other")
    repository.commit()

    with pytest.raises(UsageError, match="no commit in common"):
        changes.since(repository.root, "main")


def _nothing(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))


def _no_git(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(folder))


def _empty(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Repository(folder).git("init", "--quiet")


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (_nothing, "is in no git repository"),
        (_no_git, "git is not installed"),
        (_empty, "git knows no commit `main`"),
    ],
)
def test_where_git_knows_nothing_it_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrange: Callable[[Path, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    arrange(tmp_path, monkeypatch)

    with pytest.raises(UsageError, match=said):
        changes.since(tmp_path, "main")
