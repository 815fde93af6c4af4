"""What a reader is told about a file: a problem, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

Where: TypeAlias = tuple[str | int, ...]


class Severity(StrEnum):
    """How bad a problem of a file is: an error stops everything, a warning is shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file: `line` and `column` count from 1, columns in code points.

    `end_column` is exclusive and on the same line.
    """

    line: int
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem of one file: where it is, what is wrong, and what to do."""

    code: str
    message: str
    path: str
    span: Span | None = None
    source: str = ""
    hint: str = ""
    note: str = ""
    severity: Severity = Severity.ERROR


class Locator(Protocol):
    """Knows where each value of a parsed file stands in its text."""

    def diagnostic(
        self,
        at: Where,
        code: str,
        message: str,
        *,
        key: bool = False,
        hint: str = "",
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        """Return a diagnostic at the value (or, with `key`, the key) of path `at`.

        `at` is a path of keys and indexes from the root, such as
        ``("prompts", "storm", "videos", 0)``; where it does not exist in the
        text, its nearest existing parent is shown.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a file cannot be an input.

    `what` continues a sentence that starts with the file's name: "is empty".
    """

    code: str
    what: str
    hint: str = ""
