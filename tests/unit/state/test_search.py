"""Search: plain text, whatever its case, script or line ends."""

from __future__ import annotations

import pytest

from cosmos_jobs.core.record import PromptRecord
from cosmos_jobs.core.run import Prompt
from cosmos_jobs.state import search


def prompt(text: str, name: str = "p") -> PromptRecord:
    return PromptRecord(
        prompt=Prompt(f"ps_{text}", text, "", {}), name=name, video="pier", files={}, frames=121
    )


def found(query: str, *texts: str) -> list[str]:
    return [each.prompt.text for each in search.matching(map(prompt, texts), query)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("GOLDEN", "A pier at golden hour"),
        ("strasse", "Eine Straße bei Nacht"),
        ("cafe\u0301", "CAFÉ am Hafen"),
        ("golden hour", "A golden\n   hour"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
def test_case_script_and_line_ends_do_not_matter(query: str, text: str) -> None:
    assert found(query, text, "A street in rain") == [text]


@pytest.mark.parametrize("query", ["%", "_", "*", ".", "100 %", "a_b", "["])
def test_no_character_has_a_meaning_of_its_own(query: str) -> None:
    assert found(query, f"with {query} in it", "100 and axb") == [f"with {query} in it"]


def test_names_are_searched_and_negative_texts_are_not() -> None:
    named = prompt("A pier", "Storm-2")
    other = PromptRecord(
        prompt=Prompt("ps_2", "A street", "storm", {}), name="x", video="pier", files={}, frames=1
    )

    assert search.matching([named, other], "storm-2") == (named,)
    assert search.matching([named, other], "storm") == (named,)


def test_several_words_are_one_text() -> None:
    assert found("hour golden", "golden hour") == []
