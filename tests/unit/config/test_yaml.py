"""YAML by its 1.2 core rules, with places, and bounded in time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import yaml

from cosmos_jobs.config import yaml as yamltext
from cosmos_jobs.config.document import MAX_PROBLEMS
from cosmos_jobs.core.diagnostics import Diagnostic, Span


def value(text: str) -> object:
    document, problems = yamltext.read(text.encode(), "f.yaml")
    assert problems == ()
    return document.value


def only(data: bytes) -> Diagnostic:
    (problem,) = yamltext.read(data, "f.yaml")[1]
    return problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.0", 0.0),
        ("+7", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ('"12"', "12"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    document = value(f"a: {text}\n")

    assert document == {"a": expected}
    assert isinstance(document, dict)
    assert type(document["a"]) is type(expected)


def test_keys_are_the_text_that_is_written() -> None:
    document = value("no: 1\n1.5: 2\ntrue: 3\n")

    assert document == {"no": 1, "1.5": 2, "true": 3}


def test_merged_keys_give_way_to_those_of_the_mapping_itself() -> None:
    document = value("base: &b {x: 1, y: 2}\nother: {y: 3, <<: *b}\n")

    assert document == {"base": {"x": 1, "y": 2}, "other": {"y": 3, "x": 1}}


def test_a_list_of_merges_prefers_the_first() -> None:
    document = value("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\n")

    assert isinstance(document, dict)
    assert document["c"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_ends_do_not_move_places(newline: str) -> None:
    data = ("\ufeff" + newline.join(["a: 1", "ß😀: 010", ""])).encode()

    problem = only(data)

    assert problem.span == Span(2, 5, 8)
    assert problem.source == "ß😀: 010"


@pytest.mark.parametrize(
    ("data", "code", "span"),
    [
        (b"a: 1\nb: 2\na: 3\n", "duplicate-key", Span(3, 1, 2)),
        (b"a: {<<: {x: 1}, <<: {y: 2}}\n", "duplicate-key", Span(1, 17, 19)),
        (b"a:\n\t- b\n", "tab", Span(2, 1, 2)),
        (b"a: 010\n", "leading-zero", Span(1, 4, 7)),
        (b"a: -007.5\n", "leading-zero", Span(1, 4, 10)),
        (b"a: .inf\n", "not-finite", Span(1, 4, 8)),
        (b"a: -.INF\n", "not-finite", Span(1, 4, 9)),
        (b"a: .nan\n", "not-finite", Span(1, 4, 8)),
        (b"a: 1e400\n", "number-range", Span(1, 4, 9)),
        (b"a: 1e-6\n", "number-range", Span(1, 4, 8)),
        (b"a: 9007199254740992\n", "number-range", Span(1, 4, 20)),
        (b"a: " + b"9" * 10_000, "number-range", Span(1, 4, 10_004)),
        (b"a: b: c\n", "yaml-syntax", Span(1, 5, 6)),
        (b"a: [1\n", "yaml-syntax", Span(1, 4, 5)),
        (b"a: 'x\n", "yaml-syntax", Span(1, 4, 5)),
        (b"a: !!python/object/apply:os.system [ls]\n", "bad-tag", Span(1, 4, 37)),
        (b"a: !mine x\n", "bad-tag", Span(1, 4, 11)),
        (b"a: !!binary aGk=\n", "bad-tag", Span(1, 4, 17)),
        (b"a: !!int x\n", "bad-tag", Span(1, 4, 11)),
        (b"a: &a [*a]\n", "alias-cycle", Span(1, 8, 10)),
        (b"a: *b\n", "unknown-alias", Span(1, 4, 6)),
        (b"a: {<<: 1}\n", "bad-merge", Span(1, 5, 7)),
        (b"? [x]\n: 1\n", "key-not-text", Span(1, 3, 6)),
        (b"'': 1\n", "empty-key", Span(1, 1, 3)),
        (b"a: 1\n---\nb: 2\n", "several-documents", Span(2, 1, 4)),
        (b"a: \x00\n", "control-character", Span(1, 4, 5)),
        (b"a: \x1b[31m\n", "control-character", Span(1, 4, 5)),
        (b"a: 1\nb: \xff\n", "not-utf8", Span(2, 4, 5)),
        ("a: 1".encode("utf-16"), "not-utf8", None),
        ("a: 1".encode("utf-32"), "not-utf8", None),
    ],
)
def test_what_is_wrong_has_a_code_and_a_place(data: bytes, code: str, span: Span | None) -> None:
    problem = only(data)

    assert (problem.code, problem.span) == (code, span)


def test_a_duplicate_key_names_both_places() -> None:
    problem = only(b"a: 1\nb:\n  c: 1\n  c: 2\n")

    assert problem.span == Span(4, 3, 4)
    assert "line 3, column 3" in problem.note


def test_utf_16_is_named() -> None:
    problem = only("a: 1".encode("utf-16"))

    assert "UTF-16" in problem.message
    assert "UTF-8" in problem.hint


@pytest.mark.parametrize("opening", [b"[", b"- ", b"{a: ", b"? ", b"[{a: ", b"!!seq ["])
def test_endless_nesting_is_refused_at_once(opening: bytes) -> None:
    started = time.process_time()

    problem = only(opening * 20_000)

    assert problem.code == "too-deep"
    assert time.process_time() - started < 2


def test_closed_brackets_in_texts_do_not_hide_nesting() -> None:
    problem = only(b'["]", ' * 200)

    assert problem.code == "too-deep"


def test_a_hundred_levels_are_read() -> None:
    document, problems = yamltext.read(b"[" * 100 + b"]" * 100, "f.yaml")

    assert problems == ()
    assert isinstance(document.value, list)


def test_an_alias_bomb_takes_no_time_and_no_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    tracemalloc.start()
    started = time.process_time()

    problem = only("\n".join(lines).encode())

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem.code == "alias-bomb"
    assert time.process_time() - started < 2
    assert peak < 20_000_000


def test_repeating_a_long_text_by_aliases_is_bounded_too() -> None:
    data = b"a: &a " + b"x" * 1_000_000 + b"\nb: [" + b"*a, " * 1000 + b"]\n"

    problem = only(data)

    assert problem.code == "alias-bomb"


def test_files_over_8_mib_are_refused_unread() -> None:
    problem = only(b"a" * (8 * 2**20 + 1))

    assert problem.code == "file-too-large"


def test_a_file_of_tiny_values_is_bounded() -> None:
    problem = only(b"[" + b"1," * 600_000 + b"1]")

    assert problem.code == "too-many-values"


def test_a_thousand_problems_are_enough() -> None:
    problems = yamltext.read(b"- 010\n" * 5_000, "f.yaml")[1]

    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].code == "too-many-problems"


def test_values_know_their_places() -> None:
    document, _ = yamltext.read(b"a:\n  b: [x, yy]\n  'c d': 1\n", "f.yaml")

    second = document.diagnostic(("a", "b", 1), "c", "m")
    key = document.diagnostic(("a", "c d"), "c", "m", key=True)
    missing = document.diagnostic(("a", "nothing", 3), "c", "m")

    assert (second.span, second.source) == (Span(2, 10, 12), "  b: [x, yy]")
    assert key.span == Span(3, 3, 8)
    assert missing.span == Span(2, 3, 13)


def test_a_value_given_by_an_alias_stands_where_the_alias_does() -> None:
    document, _ = yamltext.read(b"a: &x {k: 1}\nb: *x\n", "f.yaml")

    assert document.diagnostic(("b",), "c", "m").span == Span(2, 4, 6)
    assert document.diagnostic(("b", "k"), "c", "m").span == Span(1, 11, 12)


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("a: pier #5 at dusk", "#5 at dusk"),
        ("a: pier # five", "# five"),
        ("a: pier  # a comment", ""),
        ("a: pier#5", ""),
        ("a: 'pier' # a comment", ""),
        ("a: pier", ""),
    ],
)
def test_a_text_cut_by_a_comment_is_noticed(line: str, cut: str) -> None:
    document, _ = yamltext.read(line.encode(), "f.yaml")

    assert document.cut_at(("a",)) == cut


def test_reads_the_same_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a: &x [1, 0o7, 'b c', {d: e}]\nf: *x\ng: |\n  h\n"
    fast = yamltext.read(text, "f.yaml")[0]

    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    slow = yamltext.read(text, "f.yaml")[0]

    assert slow.value == fast.value
    for at in [("a", 1), ("a", 3, "d"), ("f",)]:
        assert slow.diagnostic(at, "c", "m") == fast.diagnostic(at, "c", "m")
