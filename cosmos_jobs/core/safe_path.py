"""Names of files that come from elsewhere: only those that stay below their folder."""

from __future__ import annotations

import unicodedata
from typing import Self

MAX_PART_BYTES = 240
"""A file name has at most 255 bytes on every file system; a suffix comes behind."""

MAX_BYTES = 3000
_SHOWN = 80
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Characters that cannot be seen, or that change how what stands beside them is read."""


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


def _problem(text: str) -> str:
    """Return why a text cannot be such a path; "" when it can."""
    # What cannot be encoded is refused below, as a surrogate.
    parts = [part.encode(errors="replace") for part in text.split("/")]
    if len(text) > MAX_BYTES or max(map(len, parts)) > MAX_PART_BYTES:
        return "is too long"
    if any(unicodedata.category(character) in _HIDDEN for character in text):
        return "has characters that cannot be shown"
    if "\\" in text or any(part in (b"", b".", b"..") for part in parts):
        return "is not a relative path without `..`"
    return ""


def _shown(text: object) -> str:
    """Return the beginning of anything, so that a terminal shows it and obeys nothing in it."""
    whole = ascii(text[:_SHOWN] if isinstance(text, str) else type(text).__name__)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}..."
