"""Weights and parameters of a command line are judged as those of a job file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import arguments
from cosmos_jobs.jobs.sections import DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("num_steps", "50", 50),
        ("num_steps", "50.0", 50.0),
        ("num_steps", "fifty", "fifty"),
        ("sigma_max", "7e1", 70.0),
        ("sigma_max", "null", None),
        ("sigma_max", "nan", "nan"),
        ("resolution", "480", "480"),
        ("show_input", "True", True),
        ("show_input", "yes", "yes"),
        ("mask_prompt.edge", "12", "12"),
        ("no_such", "12", "12"),
    ],
)
def test_text_is_read_as_the_type_that_the_engine_wants(
    name: str, written: str, value: object
) -> None:
    found = arguments.value(written, name, schema.contract("transfer2.5"))

    assert (type(found), found) == (type(value), value)


def test_what_is_left_out_is_as_in_a_job_file() -> None:
    given = arguments.read("preview", None, {})

    assert given.weights == DEFAULT_WEIGHTS["default"]
    assert not given.params
    assert not given.warnings


def test_parameters_of_controls_are_given_with_a_dot_or_as_in_a_job_file() -> None:
    dotted = arguments.read(
        "transfer2.5", None, {"masks.edge": Path("a.mp4"), "mask_prompt.vis": "x"}
    )
    nested = arguments.read(
        "transfer2.5", None, {"masks": {"edge": "a.mp4"}, "mask_prompt": {"vis": "x"}}
    )

    assert dotted.params == nested.params == {"masks.edge": "a.mp4", "mask_prompt.vis": "x"}
    assert [(each.parameter, each.path) for each in dotted.files] == [("masks.edge", "a.mp4")]


@pytest.mark.parametrize("text", ['"', "\\", "a: b # c", "{x}", "\x7f\u2028x", "😀", "- ~", "null"])
def test_text_means_what_it_says_whatever_is_in_it(text: str) -> None:
    given = arguments.read("transfer2.5", None, {"mask_prompt.edge": text})

    assert given.params == {"mask_prompt.edge": text}
    assert not given.warnings


def test_weights_are_four_numbers_or_named() -> None:
    listed = arguments.read("preview", [0.5, 0, 0.2, 0], {})
    named = arguments.read("preview", {"depth": 0.2, "vis": 0.5}, {})

    assert listed.weights == named.weights == {"vis": 0.5, "depth": 0.2}
    assert [*named.weights] == ["vis", "depth"]


def test_a_weight_that_is_rounded_is_told() -> None:
    given = arguments.read("preview", {"edge": 0.333}, {})

    assert given.weights == {"edge": 0.33}
    (warning,) = given.warnings
    assert warning.message == "the weight 0.333 is rounded to 0.33"
    assert (warning.span, warning.path) == (None, "command line")


@pytest.mark.parametrize(
    ("weights", "said", "hint"),
    [
        ([0.5, 0.5], "weights are 4 numbers, not 2", "vis, edge, depth, seg"),
        ("0.5", "weights are 4 numbers", "vis"),
        ({"edges": 0.5}, "there is no control `edges`", "did you mean `edge`?"),
        ({"edge": 1.5}, "the weight of edge must be a number from 0 to 1, not 1.5", ""),
        ({"edge": float("nan")}, "from 0 to 1, not nan", ""),
        ({"edge": True}, "from 0 to 1, not True", ""),
        ([0, 0, 0, 0], "all weights are 0", "above 0"),
        ({}, "all weights are 0", "above 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights: object, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.read("preview", weights, {})  # type: ignore[arg-type]

    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("engine", "params", "said", "hint"),
    [
        ("preview", {"num_step": 4}, "no parameter `num_step`", "did you mean `num_steps`?"),
        ("preview", {"fps": 4}, "no parameter `fps`", "`transfer1` and `cosmos3` have it"),
        ("preview", {"steps": 4}, "no parameter `steps`", "did you mean `num_steps`?"),
        ("preview", {"seed": -1}, "`seed` must be at least 0", "use 0 or more"),
        ("preview", {"seed": "x"}, "whole number, not the text `x`", ""),
        ("preview", {"guidance": float("inf")}, "must be a number", ""),
        ("preview", {"seed": [1, 2]}, "takes one value", "job file"),
        ("preview", {"seed": object()}, "takes one value", "give a text"),
        ("preview", {"masks.edge": "a"}, "`masks`", "transfer2.5"),
        ("transfer2.5", {"masks.edges": "a"}, "`edges` is not a control", "`edge`"),
        ("transfer2.5", {"masks": "a.mp4"}, "masks", ""),
        ("transfer2.5", {"mask_prompt.edge": "\udcff"}, "not UTF-8", ""),
        ("transfer2", {}, "no engine `transfer2`", "did you mean `transfer"),
    ],
)
def test_parameters_that_are_none_are_refused_with_the_hints_of_job_files(
    engine: str, params: dict[str, object], said: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.read(engine, None, params)

    assert said in caught.value.message
    assert hint in caught.value.hint


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        arguments.read("preview", None, {"seed": -1, "num_step": 4})

    assert "`seed`" in caught.value.message
    assert "`num_step`" in caught.value.message


def test_what_is_wrong_is_said_in_the_order_in_which_it_was_given() -> None:
    params = {"num_step": 1e-7, "seed": 2**60, "resolution": "x"}

    with pytest.raises(UsageError) as caught:
        arguments.read("preview", {"edge": 1e-7}, params)

    said = caught.value.message.split("; ")
    starts = ("engine preview has no parameter `num_step`", "`1e-07` is", "`11529", "`resolution`")
    assert len(said) == len(starts)
    for each, start in zip(said, starts, strict=True):
        assert each.startswith(start)


def test_parameters_of_several_controls_that_the_engine_lacks_are_one_mistake() -> None:
    with pytest.raises(UsageError) as caught:
        arguments.read("preview", None, {"masks": {"edge": "a", "vis": "b"}})

    assert caught.value.message == "engine preview has no parameter `masks`"
