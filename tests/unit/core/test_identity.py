"""Ids depend on what a run makes, and on nothing else."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.run import Scalar
from tests.support.examples import PREVIEW, runs

WEIGHTS = {"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25}
PROMPT = identity.prompt("A pier", "", {"color": "0" * 64})


def run_id(**params: Scalar) -> str:
    return identity.run(PROMPT.id, PREVIEW, WEIGHTS, params).id


def weighted(weights: dict[str, float]) -> str:
    return identity.run(PROMPT.id, PREVIEW, weights, {}).id


# --- canonical JSON -----------------------------------------------------------------------


@given(st.floats() | st.integers())
def test_numbers_are_written_as_rfc_8785_says(value: float) -> None:
    try:
        exact = identity.number(value)
    except ValueError:
        assume(False)

    assert identity.canonical({"n": exact}) == rfc8785.dumps({"n": exact})


@pytest.mark.parametrize("value", [1e-5, 9.999e-5, 123.456e12, 0.1 + 0.2, 1e15 - 0.125, 2**53 - 1])
def test_numbers_at_the_limits_are_written_as_rfc_8785_says(value: float) -> None:
    document = {"n": identity.number(value), "m": identity.number(-value)}

    assert identity.canonical(document) == rfc8785.dumps(document)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_written_as_rfc_8785_says(value: str) -> None:
    document = {"text": value, "list": value[::-1]}

    assert identity.canonical(document) == rfc8785.dumps(document)


@given(st.dictionaries(st.text(st.characters(codec="ascii")), st.booleans() | st.none()))
def test_the_order_of_keys_does_not_matter(document: dict[str, bool | None]) -> None:
    turned = dict(reversed(document.items()))

    assert identity.canonical(turned) == identity.canonical(document) == rfc8785.dumps(document)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e-6, 1.5e-300, 2**53, -(2**53), 1e300, 1e16]
)
def test_numbers_that_writers_disagree_on_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        identity.number(value)
    with pytest.raises(ValueError, match="must be"):
        run_id(guidance=value)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_numbers_are_one_number_however_written(value: int) -> None:
    assume(int(float(value)) == value)

    exact = identity.number(float(value))

    assert exact == value
    assert isinstance(exact, int)


def test_minus_zero_is_zero() -> None:
    assert identity.canonical({"n": identity.number(-0.0)}) == b'{"n":0}'


# --- prompts ------------------------------------------------------------------------------


def test_ids_never_change() -> None:
    """Computed once. Whoever must change one makes every finished run of every user run again."""
    negative = identity.prompt("Ein Käfer 🪲\nin {braces}", "cartoon", {"color": "a", "depth": "b"})
    plain = identity.run(PROMPT.id, PREVIEW, WEIGHTS, {})
    changed = identity.run(
        PROMPT.id, PREVIEW, {"edge": 0.7}, {"seed": 1, "guidance": 7.5, "max_frames": 93}
    )

    assert PROMPT.id == "ps_3126a910e5df9c76"
    assert negative.id == "ps_c6e6604a14c9c872"
    assert plain.id == "rs_92bf692e11f7d208"
    assert changed.id == "rs_2f49acbc35f3f400"
    assert identity.batch_id({plain.id: 0, changed.id: 2}) == "ba_2222c2e50e6352df"


def test_ids_of_what_works_on_outputs_of_runs_never_change() -> None:
    prompt = identity.prompt("A pier", "", {"run": "rs_92bf692e11f7d208"})

    larger = identity.run(prompt.id, PREVIEW, {}, {"upscale": 0.5})

    assert prompt.id == "ps_362967204a0c6dc7"
    assert larger.id == "rs_7144e98fd44fdbf8"
    assert larger.weights == {}


def test_lists_are_written_as_rfc_8785_says() -> None:
    regions: Any = [
        {"prompt": "ä car", "box": (0, 0.25, 1, 1e-5)},
        {"prompt": "a", "mask_prompt": "b"},
    ]

    written = identity.canonical(regions)

    assert written == rfc8785.dumps(regions)


def test_an_id_is_the_start_of_the_sha256_of_a_canonical_document() -> None:
    run = identity.run(PROMPT.id, PREVIEW, {"vis": 0.2, "edge": 1.0}, {"seed": 1, "num_steps": 35})

    document = (
        '{"contract":1,"engine":"preview","identity":1,"params":{"seed":1},'
        f'"prompt":"{PROMPT.id}","weights":{{"edge":1,"vis":0.2}}}}'
    )
    assert run.id == "rs_" + hashlib.sha256(document.encode()).hexdigest()[:16]


def test_prompts_that_look_alike_are_alike() -> None:
    composed, decomposed = (
        identity.prompt(text, "", {}) for text in ("caf\u00e9", "cafe\u0301 \n\t")
    )

    assert composed == decomposed
    assert composed.text == "caf\u00e9"


def test_leading_blanks_and_case_count() -> None:
    texts = ("a pier", " a pier", "A pier", "a  pier")

    assert len({identity.prompt(text, "", {}).id for text in texts}) == 4


def test_each_part_of_a_prompt_counts() -> None:
    made = [
        identity.prompt("a", "", {"color": "1"}),
        identity.prompt("a", "b", {"color": "1"}),
        identity.prompt("a", "", {"color": "2"}),
        identity.prompt("a", "", {"color": "1", "depth": "1"}),
        identity.prompt("a", "", {"color": "1", "edge": "1"}),
        identity.prompt("", "a", {"color": "1"}),
    ]

    assert len({each.id for each in made}) == len(made)


# --- runs ---------------------------------------------------------------------------------


def test_a_parameter_equal_to_its_default_changes_nothing() -> None:
    assert run_id(**PREVIEW.defaults) == run_id()


def test_three_and_three_point_zero_are_the_same_number() -> None:
    assert run_id(guidance=7.0) == run_id(guidance=7)
    assert run_id(guidance=3.0) == run_id()
    assert weighted({"edge": 1.0}) == weighted({"edge": 1})


def test_true_is_not_one() -> None:
    assert len({run_id(seed=value) for value in (True, 1, False, 0, None)}) == 5


def test_true_is_not_a_default_of_one() -> None:
    contract = replace(PREVIEW, defaults={**PREVIEW.defaults, "flag": 1})

    flagged, plain = (
        identity.run(PROMPT.id, contract, WEIGHTS, params) for params in ({"flag": True}, {})
    )

    assert flagged.id != plain.id


def test_text_is_not_a_number() -> None:
    assert run_id(note="3") != run_id(note=3)


def test_weights_of_zero_are_no_weights_and_order_does_not_matter() -> None:
    assert weighted({"vis": 0.2, "edge": 0.7}) == weighted(
        {"seg": 0, "edge": 0.7, "depth": 0.0, "vis": 0.2}
    )


def test_an_engine_that_gains_a_parameter_with_a_default_keeps_all_ids() -> None:
    before = run_id(seed=1)
    grown = replace(
        PREVIEW,
        defaults={"aardvark": 0.5, **PREVIEW.defaults, "zoom": None},
        schemas={"aardvark": {}, **PREVIEW.schemas, "zoom": {}},
    )

    after = identity.run(PROMPT.id, grown, WEIGHTS, {"seed": 1, "aardvark": 0.5})

    assert after.id == before
    assert after.params["aardvark"] == 0.5


def test_another_engine_or_contract_is_another_run() -> None:
    contracts = [PREVIEW, replace(PREVIEW, version=2), replace(PREVIEW, engine="transfer1")]

    ids = {identity.run(PROMPT.id, contract, WEIGHTS, {}).id for contract in contracts}

    assert len(ids) == 3


def test_a_run_keeps_every_parameter_defaults_included() -> None:
    run = identity.run(PROMPT.id, PREVIEW, {"seg": 0.5, "vis": 0.5, "edge": 0}, {"seed": 1})

    assert run.params == {**PREVIEW.defaults, "seed": 1}
    assert list(run.weights) == ["vis", "seg"]


@given(
    st.dictionaries(st.sampled_from(["seed", "num_steps"]), st.integers(0, 2**53 - 1), min_size=1)
)
def test_the_order_in_which_parameters_are_given_does_not_matter(params: dict[str, int]) -> None:
    turned = dict(reversed(params.items()))

    assert run_id(**turned) == run_id(**params)


@pytest.mark.parametrize("engine", schema.engines())
def test_every_parameter_says_whether_it_is_part_of_a_runs_identity(engine: str) -> None:
    properties = schema.load(f"engines/{engine}")["properties"]

    assert properties
    assert all(one["x-identity"] in (True, False) for one in properties.values())


def test_a_parameter_that_is_no_part_of_identity_changes_no_id() -> None:
    schemas = {**PREVIEW.schemas, "log_level": {"x-identity": False}}
    contract = replace(PREVIEW, defaults={**PREVIEW.defaults, "log_level": 0}, schemas=schemas)

    run = identity.run(PROMPT.id, contract, WEIGHTS, {"log_level": 3})

    assert run.id == run_id()
    assert run.params["log_level"] == 3


# --- what is no part of identity ----------------------------------------------------------

FILE = """\
prompts:
  golden: A pier at golden hour
  storm: {text: 'A pier in {weather}', negative: cartoon}
variables: {weather: [rain, snow]}
weights: {balanced: [0.25, 0.25, 0.25, 0.25], edges: {edge: 0.7, vis: 0.2}}
params: {seed: [1, 2], guidance: 7}
"""

SAME_RUNS = """\
# The same job, as a colleague would write it.
target: h100
params: {guidance: 7.0, seed: [2, 1], num_steps: 35}
weights:
  lines: {vis: 0.2, edge: 0.70, seg: 0}   # renamed
  even: {seg: 0.25, depth: 0.25, edge: 0.25, vis: 0.25}
variables:
  wetness: [snow, rain]
prompts:
  night: {negative: "cartoon  ", text: "A pier in {wetness}"}
  day: "A pier at golden hour  "
"""


def test_order_comments_names_and_target_change_no_id() -> None:
    ids = {each.run.id for each in runs(FILE, name="sunsets")}

    again = {
        each.run.id
        for each in runs(SAME_RUNS, name="other", videos="videos: {street: z/y, pier: x}\n")
    }

    assert len(ids) == 2 * 3 * 2 * 2
    assert again == ids


def test_editing_one_prompt_touches_only_its_runs() -> None:
    before = {each.run.id: each.prompt for each in runs(FILE)}

    after = {each.run.id for each in runs(FILE.replace("golden hour", "noon"))}

    gone = {prompt for run, prompt in before.items() if run not in after}
    assert gone == {"golden"}
    assert len(after - before.keys()) == 8
