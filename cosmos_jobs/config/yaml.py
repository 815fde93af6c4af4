"""YAML text by its 1.2 core rules → plain values whose places in the text are known.

Nothing is ever constructed from a tag: the result holds dicts with text keys, lists,
text, numbers, booleans and None, and nothing else.

The tree is built from the parser's events and not from ``yaml.compose``: the composer
calls itself for each level (20,000 brackets overflow its C stack), keeps duplicate keys,
and takes five times as long (10,000 prompts: 0.52 s against 0.10 s).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Span, Where
from cosmos_jobs.core.run import Scalar

if TYPE_CHECKING:
    from yaml.error import Mark

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 100
_TOO_DEEP = (
    "too-deep",
    f"more than {MAX_DEPTH} levels of lists and mappings",
    "is a bracket or a dash repeated?",
)
MAX_VALUES = 500_000
MAX_EXPANDED = 500_000
"""Values that aliases may repeat in all; 64 characters of text count as one more."""
MAX_INTEGER = 2**53 - 1
MIN_FLOAT, MAX_FLOAT = 1e-5, 1e15
MAX_BAD_CHARACTERS = 20
MAX_PROBLEMS = 1_000
"""Problems of one file that are reported; nobody reads more, and each takes time."""

Value: TypeAlias = "Scalar | list[Any] | dict[str, Any]"

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NOT_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_WIDE_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: Mapping[str, Scalar] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("+-.0123456789")
_CORE = "tag:yaml.org,2002:"
_SCALAR_TYPES: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
}

_SYNTAX_HELP = (
    ("cannot start any token", "quote the text, or write it as a block after `|`"),
    ("mapping values are not allowed", "a `: ` inside unquoted text starts a mapping: quote it"),
    ("could not find expected ':'", "every key needs a `:` and a space before its value"),
    ("did not find expected key", "check the indentation and the quotes of the lines above"),
    ("did not find expected ',' or", "close the bracket, add the comma, or quote the text"),
    ("did not find expected '-' indicator", "align the items of the list"),
    ("unexpected end of stream", "a quote or a bracket is not closed"),
)


# --- what a reader gets -------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Node:
    """One value of the text: lines and columns count from 0, `text` is a scalar as written."""

    line: int
    column: int
    end_line: int
    end_column: int
    value: Value
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
        return self._build(span, code, message, hint, note, severity)

    def within(
        self, at: Where, part: str, nth: int, code: str, message: str, *, hint: str = ""
    ) -> Diagnostic:
        """Return an error at the `nth` (from 0) occurrence of `part` in the text at `at`.

        Where `part` is not in the source as it stands, because of escapes or line
        folding, the whole value is shown.
        """
        node = self._find(at, key=False)
        span = None if node is None else self._part(node, part, nth) or self._span(node)
        return self._build(span, code, message, hint, "", Severity.ERROR)

    def at_node(
        self, node: Node, code: str, message: str, *, hint: str = "", note: str = ""
    ) -> Diagnostic:
        """Return an error at a node, also one that is not (yet) part of the document."""
        return self._build(self._span(node), code, message, hint, note, Severity.ERROR)

    def at_line(
        self, line: int, column: int, code: str, message: str, hint: str = ""
    ) -> Diagnostic:
        """Return an error at one character of the text, counted from 0."""
        node = Node(line, column, line, column + 1, None)
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
        return _LINE_BREAK.split(self._text)

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
        self, span: Span | None, code: str, message: str, hint: str, note: str, severity: Severity
    ) -> Diagnostic:
        source = "" if span is None else self.line(span.line - 1)
        return Diagnostic(code, message, self.path, span, source, hint, note, severity)


def read(data: bytes, path: str) -> tuple[Document, tuple[Diagnostic, ...]]:
    """Return the document in `data`, and every problem of its YAML.

    Refused at once: more than MAX_BYTES, other encodings than UTF-8 (a byte order
    mark is skipped), control characters. Never raises.
    """
    if len(data) > MAX_BYTES:
        return Document(path, ""), (_too_large(data, path),)
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        return Document(path, ""), (_not_utf8(data, path, error),)
    document = Document(path, text)
    if bad := tuple(_control_characters(document, text)):
        return document, bad
    builder = _Builder(document)
    root = builder.build(text)
    return Document(path, text, root), tuple(builder.problems)


# --- bytes → text -------------------------------------------------------------------------


def _too_large(data: bytes, path: str) -> Diagnostic:
    message = f"the file has more than {MAX_BYTES // 2**20} MiB"
    return Diagnostic("file-too-large", message, path, hint="split it into several job files")


def _not_utf8(data: bytes, path: str, error: UnicodeDecodeError) -> Diagnostic:
    for mark, name in _WIDE_ENCODINGS:
        if data.startswith(mark):
            return Diagnostic("not-utf8", f"the file is {name} text", path, hint="save it as UTF-8")
    bad = data[error.start]
    before = data[: error.start].removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    document = Document(path, before + "\N{REPLACEMENT CHARACTER}")
    *lines, last = _LINE_BREAK.split(before)
    return document.at_line(
        len(lines),
        len(last),
        "not-utf8",
        f"byte 0x{bad:02x} is not UTF-8",
        "save the file as UTF-8",
    )


def _control_characters(document: Document, text: str) -> Iterator[Diagnostic]:
    """Yield an error for the first MAX_BAD_CHARACTERS characters that no YAML text may hold."""
    for count, found in enumerate(_NOT_TEXT.finditer(text)):
        if count == MAX_BAD_CHARACTERS:
            return
        *lines, last = _LINE_BREAK.split(text[: found.start()])
        name = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        hint = "remove it; is this a text file?"
        yield document.at_line(
            len(lines), len(last), "control-character", f"{name} in the text", hint
        )


# --- events → nodes -----------------------------------------------------------------------


class _Stop(Exception):
    """The text cannot be read further; the problem is already reported."""


class _Open:
    """A mapping or list whose end has not been reached."""

    __slots__ = ("anchor", "entries", "items", "key", "merges", "start")

    def __init__(self, start: Mark, anchor: str | None, *, mapping: bool) -> None:
        self.start = start
        self.anchor = anchor
        self.entries: dict[str, tuple[Node, Node]] | None = {} if mapping else None
        self.items: list[Node] = []
        self.key: Node | None = None
        self.merges: list[tuple[Node, Node]] = []


class _Builder:
    """Builds nodes from parser events; `problems` collects what is wrong on the way."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Diagnostic] = []
        self._document = document
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._values = 0
        self._expanded = 0
        self._root: Node | None = None

    def build(self, text: str) -> Node | None:
        """Return the root, or None when the text has none or cannot be read."""
        loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
        try:
            while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
                self._handle(event)
        except yaml.YAMLError as error:
            self._syntax_error(error)
            return None
        except _Stop:
            return None
        finally:
            loader.dispose()
        return self._root

    def _handle(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._attach(self._scalar(event), event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case yaml.AliasEvent():
                self._attach(self._alias(event), None)
            case yaml.DocumentStartEvent() if self._root is not None:
                self._several_documents(event)

    def _attach(self, node: Node, anchor: str | None) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            message = f"the file has more than {MAX_VALUES:,} values"
            self._problem(node, "too-many-values", message, "split it into several job files")
            raise _Stop
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if parent.entries is None:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            key, parent.key = parent.key, None
            self._entry(parent, key, node)

    def _entry(self, parent: _Open, key: Node, value: Node) -> None:
        assert parent.entries is not None  # noqa: S101 - only mappings have keys
        if key.plain and key.text == "<<":
            if parent.merges:
                self._duplicate(key, parent.merges[0][0])
            parent.merges.append((key, value))
        elif key.entries is not None or key.items is not None:
            self._problem(key, "key-not-text", "a key must be text", "write a word before the `:`")
        elif key.text == "":
            self._problem(key, "empty-key", "a key is empty", "write a word before the `:`")
        elif key.text in parent.entries:
            self._duplicate(key, parent.entries[key.text][0])
        else:
            parent.entries[key.text] = (key, value)

    def _open(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if len(self._stack) == MAX_DEPTH:
            self._problem(_node(event), *_TOO_DEEP)
            raise _Stop
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            self._bad_tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(event.start_mark, event.anchor, mapping=mapping))

    def _close(self, event: Any) -> None:
        top = self._stack.pop()
        node = _node(event)
        node.line, node.column = top.start.line, top.start.column
        if top.entries is None:
            node.items = tuple(top.items)
            node.value = [item.value for item in top.items]
            node.size += sum(item.size for item in top.items)
        else:
            self._merge(top, top.entries)
            node.entries = top.entries
            node.value = {name: value.value for name, (_, value) in top.entries.items()}
            node.size += sum(value.size + 1 for _, value in top.entries.values())
        self._attach(node, top.anchor)

    def _merge(self, top: _Open, entries: dict[str, tuple[Node, Node]]) -> None:
        """Add the keys of `<<` mappings that the mapping does not set itself."""
        for key, value in top.merges:
            for source in (value,) if value.items is None else value.items:
                if source.entries is None:
                    hint = "write `<<: *name`, where `&name` marks a mapping"
                    self._problem(key, "bad-merge", "`<<` merges mappings only", hint)
                    continue
                self._spend(source.size, source)
                for name, entry in source.entries.items():
                    entries.setdefault(name, entry)

    def _alias(self, event: Any) -> Node:
        here = _node(event)
        if event.anchor not in self._anchors:
            message = f"`*{event.anchor}` has no `&{event.anchor}` before it"
            hint = "quote a text that starts with `*`"
            self._problem(here, "unknown-alias", message, hint)
            return here
        target = self._anchors[event.anchor]
        if target is None:
            message = f"`*{event.anchor}` stands inside the value that it repeats"
            self._problem(here, "alias-cycle", message, "write the value out")
            return here
        self._spend(target.size, here)
        return replace(
            target,
            line=here.line,
            column=here.column,
            end_line=here.end_line,
            end_column=here.end_column,
            plain=False,
        )

    def _spend(self, size: int, node: Node) -> None:
        """Count what aliases repeat, so that a few bytes cannot grow without bound."""
        self._expanded += size
        if self._expanded > MAX_EXPANDED:
            message = f"aliases (`*name`) repeat more than {MAX_EXPANDED:,} values"
            self._problem(node, "alias-bomb", message, "write the values out, or use a range")
            raise _Stop

    def _scalar(self, event: Any) -> Node:
        node = _node(event)
        text = node.text = node.value = event.value
        node.size += len(text) // 64
        node.plain = not event.style
        tag = None if event.tag == "!" else event.tag
        if tag is None and node.plain:
            node.value = self._resolve(node, text)
        elif tag is not None and tag != _CORE + "str":
            self._tagged(node, tag, event)
        return node

    def _tagged(self, node: Node, tag: str, event: Any) -> None:
        wanted = _SCALAR_TYPES.get(tag.removeprefix(_CORE)) if tag.startswith(_CORE) else None
        if wanted is None:
            self._bad_tag(event)
            return
        node.value = self._resolve(node, node.text)
        if type(node.value) not in wanted:
            message = f"`{node.text}` is not a {tag.removeprefix(_CORE)}"
            self._problem(node, "bad-tag", message, "remove the tag")

    def _resolve(self, node: Node, text: str) -> Scalar:
        """Return the value of an unquoted text by the core schema of YAML 1.2."""
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_START:
            return text
        if _NOT_FINITE.fullmatch(text):
            hint = f'write a finite number, or `"{text}"` for the text'
            self._problem(node, "not-finite", f"`{text}` is not a finite number", hint)
            return text
        if not (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
            return text
        return self._number(node, text)

    def _number(self, node: Node, text: str) -> Scalar:
        if _LEADING_ZERO.match(text):
            bare = text.lstrip("+-").lstrip("0") or "0"
            plain = text[0].replace("+", "") + bare if text[0] in "+-" else bare
            hint = f'write `{plain}` for the number, or `"{text}"` for the text'
            self._problem(node, "leading-zero", f"`{text}` has a leading zero", hint)
            return text
        value = _parse_number(text)
        if value is None:
            message = f"`{shortened(text)}` is too large or too small a number"
            hint = (
                f"use 0, integers up to {MAX_INTEGER}, or decimals of {MIN_FLOAT:g} to"
                f" {MAX_FLOAT:g}; quote it for a text"
            )
            self._problem(node, "number-range", message, hint)
            return text
        return value

    def _several_documents(self, event: Any) -> None:
        message = "a second document starts here; a file holds one"
        hint = "remove the `---`, or put each document into a file of its own"
        self._problem(_node(event), "several-documents", message, hint)
        raise _Stop

    def _bad_tag(self, event: Any) -> None:
        tag = event.tag.replace(_CORE, "!!")
        hint = "remove it: only plain text, numbers, true, false, null, lists and mappings are read"
        self._problem(_node(event), "bad-tag", f"the tag `{shortened(tag)}` is not allowed", hint)

    def _duplicate(self, key: Node, first: Node) -> None:
        note = f"first defined at line {first.line + 1}, column {first.column + 1}"
        hint = "remove one of the two"
        self._problem(key, "duplicate-key", f"duplicate key `{shortened(key.text)}`", hint, note)

    def _problem(self, node: Node, code: str, message: str, hint: str, note: str = "") -> None:
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(too_many_problems(self._document.path))
            raise _Stop
        self.problems.append(self._document.at_node(node, code, message, hint=hint, note=note))

    def _syntax_error(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line, mark.column) if mark else (0, 0)
        code, message, hint = self._explained(error, mark)
        start = getattr(error, "context_mark", None)
        # At the end of the file there is nothing to show; what was begun and not ended is.
        if start and not self._document.line(line).strip():
            line, column = start.line, start.column
            if " #" in self._document.line(line)[column:]:
                hint = (
                    "quote the text with ` #` in it: YAML takes the rest of the line as a comment"
                )
        self.problems.append(self._document.at_line(line, column, code, message, hint))

    def _explained(self, error: yaml.YAMLError, mark: Mark | None) -> tuple[str, str, str]:
        """Return code, message and hint of a syntax error."""
        if mark and self._document.line(mark.line)[mark.column : mark.column + 1] == "\t":
            return "tab", "YAML does not allow a tab here", "indent with spaces"
        problem = getattr(error, "problem", None) or "it cannot be read"
        # libyaml reads ahead of its events, and some versions refuse 1,000 levels themselves.
        if "nesting depth" in problem:
            return _TOO_DEEP
        hints = (hint for part, hint in _SYNTAX_HELP if part in problem)
        return "yaml-syntax", f"this is not YAML: {problem}", next(hints, "")


def too_many_problems(path: str, severity: Severity = Severity.ERROR) -> Diagnostic:
    """Return the diagnostic that ends a list of MAX_PROBLEMS."""
    message = f"more than {MAX_PROBLEMS:,} problems; the others are not shown"
    hint = "correct these first"
    return Diagnostic("too-many-problems", message, path, hint=hint, severity=severity)


def _node(event: Any) -> Node:
    start, end = event.start_mark, event.end_mark
    return Node(start.line, start.column, end.line, end.column, None)


def _parse_number(text: str) -> int | float | None:
    """Return the number, or None when it cannot be written in one way only.

    Within these ranges every JSON writer prints the same digits, so a run's id
    does not depend on who computed it.
    """
    if len(text) > 400:
        return None
    if _INTEGER.fullmatch(text):
        integer = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return integer if abs(integer) <= MAX_INTEGER else None
    number = float(text)
    if number == 0:
        return 0.0
    return number if MIN_FLOAT <= abs(number) < MAX_FLOAT else None


def shortened(text: str) -> str:
    """Return `text` for a message: at most 60 characters of it."""
    return text if len(text) <= 60 else f"{text[:57]}..."
