"""The template enhancer: adds what is left out, and says nothing against what is there."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosmos_jobs.enhancers import template
from cosmos_jobs.enhancers.base import Request

WORDS = """
a the of in at with no without pier street car robot night midday sunset rain snow fog indoor
kitchen underwater space drone close-up handheld static walking parked wooden glossy cartoon
watercolor photorealistic dark bright golden hour slow motion time-lapse blurry plain
"""
TEXTS = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=20).map(" ".join)

CONTRADICTIONS = {
    r"night|midnight": r"golden|daylight|sun|interior|\bday\b",
    r"sunset|midday|bright|golden": r"night|diffuse|even",
    r"\bdark": r"bright|even",
    r"rain|snow|fog": r"\bsun|deep",
    r"underwater|space": r"natural|interior|photorealistic",
    r"cartoon|watercolor": r"photorealistic|focus|texture",
    r"close-up|drone|handheld|blurry": r"focus|camera|depth",
    r"static|parked|slow motion|time-lapse|walking": r"movement|smooth",
    r"wooden|glossy": r"texture|material|surface",
    r"plain|street|pier": r"background",
    r"no rain|without rain|no fog": r"diffuse",
}


def additions(text: str) -> str:
    return template.enhanced(text).text.removeprefix(text.rstrip(" ,;:"))


@given(TEXTS)
def test_all_words_stay_in_their_order_in_front(text: str) -> None:
    made = template.enhanced(text).text

    assert made.split()[: len(text.split()) - 1] == text.split()[:-1]
    assert made.startswith(text)


@given(st.text(max_size=300))
def test_whatever_the_text_it_stays_and_an_unchanged_one_has_a_reason(text: str) -> None:
    made = template.enhanced(text)

    assert made.text.startswith(text.rstrip().rstrip(",;:"))
    assert bool(made.reason) == (made.text == text.rstrip())


@given(TEXTS)
def test_the_same_text_gets_the_same_and_nothing_at_a_second_time(text: str) -> None:
    once = template.enhanced(text)

    again = template.enhanced(once.text)

    assert template.enhanced(text) == once
    assert again.text == once.text
    assert again.reason


@given(TEXTS)
@example("a car at night")
@example("a street, no rain")
@example("a robot underwater")
@example("rain no rain")
def test_nothing_is_added_that_contradicts_the_text(text: str) -> None:
    # What is denied is not said: `no night` speaks of no night.
    affirmed = re.sub(r"\b(no|without)( \S+){0,3}", "", text)

    added = additions(text).lower()

    for said, against in CONTRADICTIONS.items():
        if re.search(said, affirmed) or ("no " in said and re.search(said, text)):
            assert not re.search(against, added), f"{said}: {added}"


@given(TEXTS)
def test_it_stays_within_what_the_models_read(text: str) -> None:
    assert len(template.enhanced(text).text.split()) <= template.LONG + 80


def test_a_bare_subject_gets_every_aspect() -> None:
    made = template.enhanced("a robot arm").text

    assert made == (
        "a robot arm. The background is coherent and rich in detail. The lighting is natural and"
        " even, with soft shadows. Surfaces show the fine texture of their materials. The focus is"
        " sharp, with a clear sense of depth and steady exposure. All movement is smooth and"
        " physically plausible from frame to frame. The picture is photorealistic, with natural"
        " colors."
    )


@pytest.mark.parametrize(
    ("text", "light"),
    [
        ("a car at night", "that of the night"),
        ("a car in heavy rain", "soft and diffuse"),
        ("a car in a warehouse", "interior lighting is even"),
        ("a car, no rain", "natural and even"),
        ("a car under neon signs", ""),
        ("a car at golden hour", ""),
    ],
)
def test_the_light_goes_by_what_the_text_says(text: str, light: str) -> None:
    added = additions(text)

    assert light in added if light else "light" not in added


@pytest.mark.parametrize(
    "text",
    [
        "Ein Pier in der Nacht mit einem Boot",
        "Une jetée au coucher du soleil",
        "Un muelle con niebla y lluvia",
        "夕暮れの桟橋",
        "Пирс на закате",
        "",
        "12 + 3",
    ],
)
def test_what_is_not_english_is_left(text: str) -> None:
    made = template.enhanced(text)

    assert made.text == text
    assert "English" in made.reason


@pytest.mark.parametrize(
    "text", ["a café by the sea", "rusty pier", "naïve art", "El Capitan at dawn"]
)
def test_foreign_names_do_not_make_a_text_foreign(text: str) -> None:
    assert "English" not in template.enhanced(text).reason


def test_a_long_text_is_left_and_said_to_be_long() -> None:
    text = "a pier and a boat " * 20

    made = template.enhanced(text)

    assert made.text == text.rstrip()
    assert "100 words" in made.reason


@pytest.mark.parametrize("aspect", template.ASPECTS, ids=lambda each: each.name)
def test_every_phrase_is_a_cue_of_its_own_aspect(aspect: template._Aspect) -> None:
    for phrase in aspect.phrases:
        words = template._WORD.findall(phrase.text.lower())
        assert not words or template._terms(words) & frozenset(aspect.cues), phrase.text


def test_the_enhancer_is_free_and_answers_each_request() -> None:
    one = template.TemplateEnhancer()

    answers = dict(one.enhance([Request(id="a", text="a car"), Request(id="b", text="Пирс")]))

    assert one.is_free
    assert answers["a"].text.startswith("a car. ")
    assert answers["b"].text == "Пирс"
