"""Diagnostics as text for people, as JSON, and as annotations of a GitHub workflow."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Span

MAX_WIDTH = 100
"""Cells of a source line that are shown; a longer line is cut around its caret."""

MAX_JSON_SOURCE = 500
TAB_WIDTH = 4
_LEAD = MAX_WIDTH // 3
_JOINERS = "\u200c\u200d"  # inside words and emoji, harmless
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NO_CELL = frozenset({"Mn", "Me", "Cf"})

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_GUTTER = "\x1b[1;34m"
_TONES = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m"}


def text(diagnostics: Iterable[Diagnostic], *, color: bool) -> str:
    """Return one block for each diagnostic, with its source line and a caret under it.

    Nothing that stands in the user's file can reach the terminal as a control
    sequence: such characters are shown escaped. Empty without diagnostics.
    """
    blocks = ("\n".join(_block(one, color=color)) + "\n" for one in diagnostics)
    return "\n".join(blocks)


def as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, str | int | None]]:
    """Return plain values for each diagnostic.

    Keys: `path`, `line`, `column`, `end_column` (from 1, in code points, the end
    exclusive; null when the problem is the whole file), `severity` ("error" or
    "warning"), `code`, `message`, `hint`, `note`, and `source`, the first
    MAX_JSON_SOURCE characters of the line.
    """
    return [_as_dict(one) for one in diagnostics]


def github(diagnostics: Iterable[Diagnostic]) -> str:
    """Return one workflow command for each diagnostic, which GitHub shows at the line.

    Escaped as GitHub's runner undoes it (actions/toolkit, command.ts).
    """
    return "".join(f"{_command(one)}\n" for one in diagnostics)


def counted(diagnostics: Iterable[Diagnostic]) -> str:
    """Return "2 errors, 1 warning"; "no problems" without diagnostics."""
    counts = Counter(one.severity for one in diagnostics)
    parts = [
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in Severity
        if counts[severity]
    ]
    return ", ".join(parts) or "no problems"


def visible(written: str) -> str:
    """Return `written` with control, bidirectional and other unseen characters escaped."""
    # The common case first: whole texts that are printable.
    if written.isprintable():
        return written
    return "".join(map(_shown, written))


# --- text -----------------------------------------------------------------------------------


def _block(one: Diagnostic, *, color: bool) -> Iterator[str]:
    tone = _TONES[one.severity]
    width = len(str(one.span.line)) if one.span else 1
    margin = " " * width
    head = _paint(f"{one.severity}[{one.code}]", tone, color=color)
    yield head + _paint(f": {visible(one.message)}", _BOLD, color=color)
    arrow = _paint(f"{margin}-->", _GUTTER, color=color)
    yield f"{arrow} {visible(one.path)}{_place(one.span)}"
    bar = _paint(f"{margin} |", _GUTTER, color=color)
    if one.span and one.source:
        number = _paint(f"{one.span.line} |", _GUTTER, color=color)
        line, indent, length = _excerpt(one.source, one.span)
        yield bar
        yield f"{number} {line}"
        yield f"{bar} {' ' * indent}{_paint('^' * length, tone, color=color)}"
    equals = _paint(f"{margin} =", _GUTTER, color=color)
    for label, content in (("note", one.note), ("help", one.hint)):
        if content:
            yield f"{equals} {_paint(f'{label}:', _BOLD, color=color)} {visible(content)}"


def _paint(written: str, tone: str, *, color: bool) -> str:
    return f"{tone}{written}{_RESET}" if color else written


def _place(span: Span | None) -> str:
    return f":{span.line}:{span.column}" if span else ""


def _excerpt(source: str, span: Span) -> tuple[str, int, int]:
    """Return the line as shown, and the caret's indentation and length in cells."""
    start, end = span.column - 1, max(span.end_column - 1, span.column)
    # Only what can be shown is measured: a line may have millions of characters.
    whole = len(source) <= MAX_WIDTH and _cells(source) <= MAX_WIDTH
    first = 0 if whole else _first(source, start)
    before = [_shown(character) for character in source[first:start]]
    prefix = ("…" if first else "") + "".join(before)
    indent = _cells(prefix)
    room = MAX_WIDTH - indent
    rest, cut = _fitting(source[start : start + MAX_WIDTH + 1], room)
    marked = _cells(source[start : min(end, start + len(rest))])
    shown = prefix + "".join(rest) + ("…" if cut else "")
    return shown.rstrip(), indent, max(1, min(marked, room))


def _first(source: str, start: int) -> int:
    """Return the first character to show, so that a third of the width stands before the caret."""
    cells = 0
    for index in range(min(start, len(source)) - 1, -1, -1):
        cells += _cells(source[index])
        if cells > _LEAD:
            return index + 1
    return 0


def _fitting(source: str, room: int) -> tuple[Sequence[str], bool]:
    """Return the characters as shown that fit into `room` cells, and whether some did not."""
    shown: list[str] = []
    for character in source:
        room -= _cells(character)
        if room < 0:
            return shown, True
        shown.append(_shown(character))
    return shown, False


def _shown(character: str) -> str:
    if character == "\t":
        return " " * TAB_WIDTH
    if character in _JOINERS or unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _cells(written: str) -> int:
    """Return how many terminal cells `written` takes as it is shown."""
    if written.isascii() and written.isprintable():
        return len(written)
    return sum(_cell(character) for part in written for character in _shown(part))


def _cell(character: str) -> int:
    if unicodedata.category(character) in _NO_CELL:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# --- JSON and GitHub ------------------------------------------------------------------------


def _as_dict(one: Diagnostic) -> dict[str, str | int | None]:
    span = one.span
    return {
        "path": one.path,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "end_column": span.end_column if span else None,
        "severity": str(one.severity),
        "code": one.code,
        "message": one.message,
        "hint": one.hint,
        "note": one.note,
        "source": one.source[:MAX_JSON_SOURCE],
    }


def _command(one: Diagnostic) -> str:
    properties = {"file": one.path}
    if one.span:
        properties["line"] = str(one.span.line)
        properties["col"] = str(one.span.column)
        properties["endColumn"] = str(one.span.end_column)
    properties["title"] = one.code
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    parts = (one.message, one.note and f"note: {one.note}", one.hint and f"help: {one.hint}")
    message = "%0A".join(_data(visible(part)) for part in parts if part)
    return f"::{one.severity} {written}::{message}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
