"""Names for people: readable, the same everywhere, never those of others."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, naming
from cosmos_jobs.core.run import InputFile, Scalar

ID = "ps_3d5eaae0fa7d739b"
NAME = schema.load("job")["properties"]["prompts"]["propertyNames"]["pattern"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A pier at golden hour", "pier_golden_hour"),
        ("A PIER, at golden hour!", "pier_golden_hour"),
        ("The painter's café in Łódź; straße", "painters_cafe_lodz_strasse"),
        ("of the", "of_the"),
        ("一个码头", "prompt-3d5e"),
        ("…", "prompt-3d5e"),
        ("x" * 60, "x" * 40),
        ("pier " * 20, "_".join(["pier"] * 8)),
    ],
)
def test_a_prompt_is_named_for_the_words_that_tell_something(text: str, name: str) -> None:
    assert naming.prompt_name(text, ID, ()) == name


def test_no_two_prompts_get_the_same_name() -> None:
    taken: list[str] = []
    for number in range(5):
        prompt_id = f"ps_3d5eaae0{number:08x}" if number < 3 else f"ps_{number:016x}"
        taken.append(naming.prompt_name("A pier", prompt_id, taken))

    assert taken == ["pier", "pier-3d5e", "pier-3d5eaae0", "pier-0000", "pier-00000000"]


def test_where_capitals_are_not_told_apart_names_are_not_either() -> None:
    assert naming.prompt_name("A pier", ID, ["PIER"]) == "pier-3d5e"


@given(st.text(), st.lists(st.text(max_size=5), max_size=3))
@example("a" * 39 + " b", ["a" * 39 + "_b"])
def test_every_text_gives_a_name_that_can_name_a_prompt(text: str, taken: list[str]) -> None:
    first = naming.prompt_name(text, ID, taken)
    second = naming.prompt_name(text, ID, [*taken, first])

    for name in (first, second):
        assert re.search(NAME, name)
        assert len(name) <= naming.MAX_SLUG
        assert name not in taken
    assert first != second


def label(params: dict[str, Scalar], engine: str = "preview", **weights: float) -> str:
    """Return the label of a run with these weights and parameters."""
    contract = schema.contract(engine)
    return naming.label(identity.run(ID, contract, weights, params), contract, {})


def test_a_video_is_named_for_its_weights_and_what_is_not_the_default() -> None:
    assert label({}, vis=0.3, edge=0.7, depth=0) == "vis0.3_edge0.7"
    assert label({"num_steps": 35}, edge=1) == "edge1", "35 is the default"
    assert label({"seed": 7, "resolution": "256"}, edge=1) == "edge1-resolution256-seed7"
    assert label({"guidance": 3.5}, edge=1) == "edge1-guidance3.5"
    assert label({"show_input": True}, "transfer2.5", seg=1) == "seg1-show_inputTrue"


def test_a_file_among_the_parameters_is_named_and_not_its_digest() -> None:
    from pathlib import Path

    contract = schema.contract("transfer2.5")
    run = identity.run(ID, contract, {"edge": 1}, {"masks.edge": "a" * 64})
    mask = InputFile(Path("masks/the pier.mp4"), "a" * 64, 1, 3, 64, 48, 24)

    named = naming.label(run, contract, {"masks.edge": mask})

    assert named == "edge1-masks.edgethe_pier"


def test_a_label_fits_a_file_name_whatever_it_shows() -> None:
    contract = schema.contract("transfer2.5")
    texts = {f"mask_prompt.{each}": "ä" * 300 for each in ("vis", "edge", "depth", "seg")}
    run = identity.run(ID, contract, {"edge": 1, "vis": 1}, texts)

    named = naming.label(replace(run, params=dict(run.params)), contract, {})

    assert len(named.encode()) <= naming.MAX_LABEL_BYTES
    assert "/" not in named
