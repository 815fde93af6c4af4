"""Names of files that come from elsewhere: only those that stay below their folder."""

from __future__ import annotations

from typing import Self

MAX_PART_BYTES = 240
"""A file name has at most 255 bytes on every file system; a suffix comes behind."""

MAX_BYTES = 3000
_SHOWN = 80


class UnsafePath(ValueError):
    """Something from elsewhere cannot be the name of a file here; says which and why."""


class SafePath(str):
    """A path that stays below whatever folder it is joined to: `controls/edge.mp4`.

    It is relative, of parts that are names (not empty, `.` or `..`), without
    backslashes and characters that hide, and short enough for every file system.
    There is no other: to make one of anything else raises UnsafePath.
    """

    __slots__ = ()

    def __new__(cls, text: object) -> Self:
        """Check `text`; raises UnsafePath."""
        if not isinstance(text, str):
            raise UnsafePath(f"{_shown(text)} is not a text")
        if wrong := _problem(text):
            raise UnsafePath(f"{_shown(text)} {wrong}")
        return super().__new__(cls, text)

    def __deepcopy__(self, memo: object) -> Self:
        # `asdict` copies every value: records are written by the 100,000.
        return self


def _problem(text: str) -> str:
    """Return why a text cannot be such a path; "" when it can."""
    if not text.isprintable():
        return "has characters that cannot be shown"
    whole = text.encode()
    parts = whole.split(b"/")
    if len(whole) > MAX_BYTES or max(map(len, parts)) > MAX_PART_BYTES:
        return "is too long"
    if b"\\" in whole or not {b"", b".", b".."}.isdisjoint(parts):
        return "is not a relative path without `..`"
    return ""


def _shown(text: object) -> str:
    """Return the beginning of anything, so that a terminal shows it and obeys nothing in it."""
    whole = ascii(text[:_SHOWN] if isinstance(text, str) else type(text).__name__)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}..."
