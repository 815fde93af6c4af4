"""The paths of a job file: from which folder they are, and what is wrong with them."""

# Paths stay strings here, as written: messages repeat them, and Path would tidy them.
# ruff: noqa: PTH112, PTH118, PTH208

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches

from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Severity, Unusable, Where

HOME_HINT = "`~` is not expanded: write the path from the project root, or from /"
_SHOWN = 8


class Paths:
    """Paths relative to `root` that `source` names; `problems` collects what is found wrong."""

    def __init__(self, root: str, source: Locator) -> None:
        self.root = root
        self._source = source
        self.problems: list[Diagnostic] = []

    def full(self, path: str) -> str:
        """Return where a path of the job is."""
        return os.path.join(self.root, path)

    def add(
        self,
        where: Where,
        code: str,
        message: str,
        *,
        hint: str = "",
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Report what is wrong at a place of the job file."""
        self.problems.append(
            self._source.diagnostic(where, code, message, hint=hint, note=note, severity=severity)
        )

    def unusable(self, where: Where, path: str, problem: Unusable) -> None:
        """Report a file that cannot be used."""
        hint = problem.hint
        if problem.code == "missing-file":
            hint = self.suggestion(path)
        self.add(where, problem.code, f"`{path}` {problem.what}", hint=hint)

    def suggestion(self, path: str) -> str:
        """Return a hint for a path that does not exist: names close to its first wrong part."""
        if path.startswith("~"):
            return HOME_HINT
        parent, missing = os.path.split(os.path.normpath(path))
        while parent not in ("", os.sep) and not os.path.isdir(self.full(parent)):
            parent, missing = os.path.split(parent)
        content = listing(self.full(parent))
        if content is None:
            return ""
        close = get_close_matches(missing, sorted(content), n=1)
        if close:
            return f"did you mean `{os.path.join(parent, close[0])}`?"
        return holds(parent or ".", content)


def listing(folder: str) -> set[str] | None:
    """Return the names in a folder; None where there is none to look into."""
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):
        return None


def holds(folder: str, content: Iterable[str]) -> str:
    """Return what a folder holds, in words."""
    visible = sorted(name for name in content if not name.startswith("."))
    return f"`{folder}` holds {listed(visible)}" if visible else f"`{folder}` is empty"


def listed(names: list[str]) -> str:
    """Return names as words: of many only the first."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
