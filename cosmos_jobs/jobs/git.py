"""What differs from a git ref, in the files as they are now."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cosmos_jobs.errors import UsageError

TIMEOUT_S = 120.0
POINTER = ".dvc"
"""How the files end by which DVC keeps track of what git ignores."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The files that differ, as absolute paths; those that are gone, too."""

    paths: frozenset[Path]
    folders: frozenset[Path]
    """All folders that one of them is in."""

    def of(self, path: Path) -> bool:
        """Return whether a file differs, or what git keeps in its place.

        That is the submodule that it is in, a link that leads to it, or DVC's
        pointer to it or to its folder.
        """
        places = {_absolute(path), path.resolve()}
        above = {folder for place in places for folder in place.parents}
        pointers = {Path(f"{place}{POINTER}") for place in places | above}
        return not self.paths.isdisjoint(places | above | pointers)

    def within(self, folder: Path) -> bool:
        """Return whether something in a folder differs, now or before, or the folder itself."""
        places = {_absolute(folder), folder.resolve()}
        return self.of(folder) or not self.folders.isdisjoint(places)


def _absolute(path: Path) -> Path:
    """Return where a file is by the names that git has for it: its own may be a link."""
    return path.parent.resolve() / path.name


def since(root: Path, ref: str) -> Changes:
    """Return what this branch has changed since it left `ref`, committed or not.

    Raises UsageError where there is no git, no repository, no such ref, or
    nothing in common with it.
    """
    top = Path(_top(root)).resolve()
    base = _base(top, ref)
    # --no-relative: names are those below the top, whatever git's settings say.
    differ = _git(top, "diff", "--name-only", "-z", "--no-renames", "--no-relative", base, "--")
    added = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    names = (os.fsdecode(name) for name in (differ + added).split(b"\0") if name)
    paths = frozenset(top / name for name in names)
    return Changes(paths, frozenset(folder for path in paths for folder in path.parents))


def _top(root: Path) -> str:
    try:
        return os.fsdecode(_git(root, "rev-parse", "--show-toplevel").removesuffix(b"\n"))
    except _Refused as error:
        if "not a git repository" not in error.message:
            raise
        raise UsageError(
            f"{root} is in no git repository, so nothing is known of changes",
            hint="leave out --changed-since",
        ) from error


def _base(top: Path, ref: str) -> str:
    """Return the last commit that this branch and `ref` have in common."""
    try:
        wanted = _git(top, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    except _Refused as error:
        raise UsageError(f"git knows no commit `{ref}`", hint=_fetching(top, ref)) from error
    commit = wanted.decode().strip()
    try:
        return _git(top, "merge-base", commit, "HEAD").decode().strip()
    except _Refused as error:
        message = f"`{ref}` and this branch have no commit in common"
        raise UsageError(message, hint=_fetching(top, ref)) from error


def _fetching(top: Path, ref: str) -> str:
    """Return how to get what the clone lacks."""
    if _git(top, "rev-parse", "--is-shallow-repository").strip() == b"true":
        return "this clone is shallow: git fetch --unshallow; with actions/checkout: fetch-depth: 0"
    return "see what there is: git branch --all; fetch the others: git fetch --all"


class _Refused(UsageError):
    """Git has ended with an error, and said why."""


def _git(folder: Path, *arguments: str) -> bytes:
    """Return what git prints; it writes nothing, asks nothing, and speaks English."""
    env = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed", hint="leave out --changed-since") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"git takes longer than {TIMEOUT_S:g} s: {arguments[0]}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _Refused(f"git: {lines[0] if lines else f'exit {done.returncode}'}")
    return done.stdout
