"""Diagnostics as people, programs and GitHub read them."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.cli.views import diagnostics
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Span
from cosmos_jobs.jobs.parse import parse
from tests.conftest import Golden

GOLDEN = Path(__file__).parents[2] / "golden" / "diagnostics"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


def found(case: str) -> tuple[Diagnostic, ...]:
    data = (GOLDEN / f"{case}.yaml").read_bytes()
    targets = ("local", "h100")
    return parse(data, f"jobs/{case}.yaml", engine="preview", target="local", targets=targets)[1]


@pytest.mark.parametrize("case", CASES)
def test_diagnostics_read_as_agreed(case: str, golden: Golden) -> None:
    problems = found(case)

    text = diagnostics.text(problems, color=False)

    golden(GOLDEN / f"{case}.txt", f"{text}\n{diagnostics.counted(problems)}\n")


def test_colour_is_the_same_text(golden: Golden) -> None:
    problems = found("mistakes")

    golden(GOLDEN / "mistakes.ansi", diagnostics.text(problems, color=True))


def test_json_is_as_agreed(golden: Golden) -> None:
    golden(
        GOLDEN / "mistakes.json",
        json.dumps(diagnostics.as_json(found("mistakes")), indent=2) + "\n",
    )


def test_workflow_annotations_are_as_agreed(golden: Golden) -> None:
    golden(GOLDEN / "mistakes.github", diagnostics.github(found("mistakes")))


def problem(source: str, column: int, end_column: int, **changes: str) -> Diagnostic:
    text = {"code": "some-code", "message": "message", "path": "jobs/x.yaml", **changes}
    span = Span(7, column, end_column)
    return Diagnostic(text["code"], text["message"], text["path"], span, source)


def shown(one: Diagnostic) -> tuple[str, str]:
    """Return the source line and the caret line, without their margins."""
    lines = diagnostics.text([one], color=False).splitlines()
    return lines[3].removeprefix("7 | "), lines[4].removeprefix("  | ")


@pytest.mark.parametrize(
    ("before", "marked", "indent", "length"),
    [
        ("abc ", "def", 4, 3),
        ("日本 ", "def", 5, 3),
        ("cafe\u0301 ", "def", 5, 3),
        ("a ", "日本", 2, 4),
        ("\t", "def", 4, 3),
        ("😀", "x", 2, 1),
        ("\x1b[31m", "x", 8, 1),
    ],
)
def test_the_caret_stands_under_its_word_as_displayed(
    before: str, marked: str, indent: int, length: int
) -> None:
    start = len(before) + 1

    _, caret = shown(problem(f"{before}{marked} rest", start, start + len(marked)))

    assert caret == " " * indent + "^" * length


def test_a_long_line_is_cut_around_its_caret() -> None:
    source = "x" * 5_000 + "HERE" + "y" * 5_000

    line, caret = shown(problem(source, 5_001, 5_005))

    assert len(line) <= diagnostics.MAX_WIDTH + 2
    assert line.startswith("…x")
    assert line.endswith("y…")
    assert line[caret.index("^") : caret.index("^") + 4] == "HERE"


def test_a_line_of_megabytes_costs_nothing() -> None:
    one = problem("日" * 4_000_000, 3_000_000, 4_000_000)
    started = time.process_time()

    diagnostics.text([one] * 100, color=False)

    assert time.process_time() - started < 2


def test_a_caret_at_the_end_of_a_line_is_shown() -> None:
    assert shown(problem("abc", 4, 5)) == ("abc", "   ^")


@given(st.text(), st.text(), st.text(), st.integers(1, 50), st.integers(1, 50))
def test_nothing_from_a_file_controls_the_terminal(
    source: str, message: str, path: str, column: int, length: int
) -> None:
    one = problem(source, column, column + length, message=message, path=path)

    text = diagnostics.text([one], color=False)

    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    found = {one for one in text if unicodedata.category(one) in unsafe}
    assert found <= {"\n", "\u200c", "\u200d"}
    assert len(text.split("\n")) <= 6


@given(st.text(), st.text())
def test_a_workflow_command_is_one_line(message: str, path: str) -> None:
    one = problem("", 1, 2, message=message, path=path)

    text = diagnostics.github([one])

    assert text.count("\n") == 1
    assert "\r" not in text
    assert len(text.split("::", 2)) == 3


def test_workflow_commands_escape_what_github_reads() -> None:
    one = Diagnostic("c", "50 %: a", "a:b,c%.yaml", severity=Severity.WARNING, hint="do\nit")

    text = diagnostics.github([one])

    assert text == "::warning file=a%3Ab%2Cc%25.yaml,title=c::50 %25: a%0Ahelp: do\\nit\n"


def test_json_survives_a_strict_encoder() -> None:
    (one,) = diagnostics.as_json([Diagnostic("c", "m", "p")])

    assert json.loads(json.dumps(one, allow_nan=False)) == {
        "path": "p",
        "line": None,
        "column": None,
        "end_column": None,
        "severity": "error",
        "code": "c",
        "message": "m",
        "hint": "",
        "note": "",
        "source": "",
    }


def test_problems_are_counted_in_words() -> None:
    error, warning = (Diagnostic("c", "m", "p", severity=severity) for severity in Severity)

    assert diagnostics.counted([]) == "no problems"
    assert diagnostics.counted([error]) == "1 error"
    assert diagnostics.counted([error, error, warning]) == "2 errors, 1 warning"
