"""A parsed text: its plain values, and where each of them stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, TypeAlias

from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Span, Where
from cosmos_jobs.core.run import Scalar

MAX_PROBLEMS = 1_000
"""Problems of one file that are reported; nobody reads more, and each takes time."""

Value: TypeAlias = "Scalar | list[Any] | dict[str, Any]"

LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


@dataclass(slots=True, eq=False)
class Node:
    """One value of the text: lines and columns count from 0, `text` is a scalar as written."""

    line: int
    column: int
    end_line: int
    end_column: int
    _: KW_ONLY
    value: Value = None
    text: str = ""
    plain: bool = False
    entries: Mapping[str, tuple[Node, Node]] | None = None
    items: tuple[Node, ...] | None = None
    size: int = 1


class Document:
    """A parsed text: its plain `value`, and where everything in it stands (a Locator)."""

    def __init__(self, path: str, text: str, root: Node | None = None) -> None:
        self.path = path
        self._text = text
        self._root = root

    @property
    def value(self) -> Value:
        """The whole text as plain values; None when it could not be read."""
        return None if self._root is None else self._root.value

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
        """Return a diagnostic at the value (or, with `key`, the key) of path `at`."""
        node = self._find(at, key=key)
        span = None if node is None else self._span(node)
        return self._build(span, code, message, hint=hint, note=note, severity=severity)

    def within(
        self, at: Where, part: str, code: str, message: str, *, nth: int = 0, hint: str = ""
    ) -> Diagnostic:
        """Return an error at the `nth` (from 0) occurrence of `part` in the text at `at`.

        Where `part` is not in the source as it stands, because of escapes or line
        folding, the whole value is shown.
        """
        node = self._find(at, key=False)
        span = None if node is None else self._part(node, part, nth) or self._span(node)
        return self._build(span, code, message, hint=hint)

    def at_node(
        self, node: Node, code: str, message: str, *, hint: str = "", note: str = ""
    ) -> Diagnostic:
        """Return an error at a node, also one that is not (yet) part of the document."""
        return self._build(self._span(node), code, message, hint=hint, note=note)

    def at_line(
        self, line: int, column: int, code: str, message: str, *, hint: str = ""
    ) -> Diagnostic:
        """Return an error at one character of the text, counted from 0."""
        node = Node(line, column, line, column + 1)
        return self.at_node(node, code, message, hint=hint)

    def line(self, number: int) -> str:
        """Return one line of the text, counted from 0; "" beyond its end."""
        return self._lines[number] if number < len(self._lines) else ""

    def text(self, at: Where) -> str:
        """Return the scalar at `at` as it is written: `1e3` stays `1e3`."""
        node = self._find(at, key=False)
        return "" if node is None else node.text

    def cut_at(self, at: Where) -> str:
        """Return the comment that ends an unquoted text after a single blank, else "".

        Two blanks or more before `#` are how people write a comment on purpose.
        """
        node = self._find(at, key=False)
        if node is None or not node.plain:
            return ""
        found = re.match(r"[ \t](#.*)", self.line(node.end_line)[node.end_column :])
        return found[1] if found else ""

    @cached_property
    def _lines(self) -> list[str]:
        return LINE_BREAK.split(self._text)

    def _find(self, at: Where, *, key: bool) -> Node | None:
        """Return the node at `at`; where there is none, its nearest parent."""
        node = self._root
        for depth, step in enumerate(at):
            if node is None:
                return None
            last = depth == len(at) - 1
            if node.entries is not None and isinstance(step, str) and step in node.entries:
                node = node.entries[step][0 if key and last else 1]
            elif node.items is not None and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                return node
        return node

    def _span(self, node: Node) -> Span:
        line = self.line(node.line)
        last = len(line.rstrip()) if node.end_line > node.line else node.end_column
        return Span(node.line + 1, node.column + 1, max(last, node.column + 1) + 1)

    def _part(self, node: Node, part: str, nth: int) -> Span | None:
        for number in range(node.line, min(node.end_line, len(self._lines) - 1) + 1):
            start = node.column if number == node.line else 0
            for found in re.finditer(re.escape(part), self.line(number)[start:]):
                if nth == 0:
                    column = start + found.start() + 1
                    return Span(number + 1, column, column + len(part))
                nth -= 1
        return None

    def _build(
        self,
        span: Span | None,
        code: str,
        message: str,
        *,
        hint: str,
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        line = "" if span is None else self.line(span.line - 1)
        return Diagnostic(
            code,
            message,
            self.path,
            span,
            source=line,
            hint=hint,
            note=note,
            severity=severity,
        )


class Values(Document):
    """Plain values that stand in no text, as those of a command line: problems have no place."""

    def __init__(self, value: Value = None, path: str = "command line") -> None:
        super().__init__(path, "")
        self._value = value

    @property
    def value(self) -> Value:
        """The values."""
        return self._value


def too_many_problems(path: str, severity: Severity = Severity.ERROR) -> Diagnostic:
    """Return the diagnostic that ends a list of MAX_PROBLEMS."""
    message = f"more than {MAX_PROBLEMS:,} problems; the others are not shown"
    hint = "correct these first"
    return Diagnostic("too-many-problems", message, path, hint=hint, severity=severity)


def shortened(text: str) -> str:
    """Return `text` for a message: at most 60 characters of it."""
    return text if len(text) <= 60 else f"{text[:57]}..."
