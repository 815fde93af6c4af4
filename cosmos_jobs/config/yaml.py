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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from cosmos_jobs.config import scalars
from cosmos_jobs.config.document import (
    LINE_BREAK,
    MAX_PROBLEMS,
    Document,
    Node,
    shortened,
    too_many_problems,
)
from cosmos_jobs.core.diagnostics import Diagnostic
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
MAX_BAD_CHARACTERS = 20
_NOT_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_WIDE_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)

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
    *lines, last = LINE_BREAK.split(before)
    return document.at_line(
        len(lines),
        len(last),
        "not-utf8",
        f"byte 0x{bad:02x} is not UTF-8",
        hint="save the file as UTF-8",
    )


def _control_characters(document: Document, text: str) -> Iterator[Diagnostic]:
    """Yield an error for the first MAX_BAD_CHARACTERS characters that no YAML text may hold."""
    for count, found in enumerate(_NOT_TEXT.finditer(text)):
        if count == MAX_BAD_CHARACTERS:
            return
        *lines, last = LINE_BREAK.split(text[: found.start()])
        name = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        hint = "remove it; is this a text file?"
        yield document.at_line(
            len(lines), len(last), "control-character", f"{name} in the text", hint=hint
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
        """Return what an unquoted text means; the text itself where that is a mistake."""
        try:
            return scalars.meaning(text)
        except scalars.Mistake as mistake:
            self._problem(node, mistake.code, mistake.message, mistake.hint)
            return text

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
        self._problem(
            key, "duplicate-key", f"duplicate key `{shortened(key.text)}`", hint, note=note
        )

    def _problem(self, node: Node, code: str, message: str, hint: str, *, note: str = "") -> None:
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
        self.problems.append(self._document.at_line(line, column, code, message, hint=hint))

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


def _node(event: Any) -> Node:
    start, end = event.start_mark, event.end_mark
    return Node(start.line, start.column, end.line, end.column)
