"""Braces in prompts: variables, literal braces, and mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.placeholders import fill, malformed, normalised, placeholders


def test_variables_are_named_once_and_in_order() -> None:
    assert placeholders("{b} and {a}, {b}; {{c}}") == ("b", "a")


def test_variables_are_replaced_and_doubled_braces_made_single() -> None:
    assert fill("{{a}} {a} {{{a}}}", {"a": "x"}) == "{a} x {x}"


def test_braces_in_a_value_mean_nothing() -> None:
    assert fill("{a}", {"a": "{b} {{", "b": "y"}) == "{b} {{"


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill("{a}", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a} {{b}}", []),
        ("a { b", [("{", 0)]),
        ("a } b", [("}", 0)]),
        ("{} {a b} {}", [("{}", 0), ("{a b}", 0), ("{}", 1)]),
        ("{{ { {a", [("{", 2), ("{", 3)]),
        ("}} a} b", [("}", 2)]),
    ],
)
def test_malformed_braces_are_found(text: str, expected: list[tuple[str, int]]) -> None:
    assert list(malformed(text)) == expected


@given(st.text())
def test_text_with_all_braces_doubled_is_itself(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")

    assert fill(doubled, {}) == text
    assert list(malformed(doubled)) == []


def test_composed_and_decomposed_letters_are_the_same_text() -> None:
    assert normalised("cafe\u0301 \n") == "caf\u00e9"
