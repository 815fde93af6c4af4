"""The schemas are complete, and our quick check agrees with jsonschema."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from cosmos_jobs.config import schema, violations, yaml
from cosmos_jobs.config.document import Document
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.errors import EngineError

ENGINES = ("preview", "transfer1", "transfer2.5", "cosmos3")
NAMES = ("job", "project", *(f"engines/{engine}" for engine in ENGINES))
KNOWN_KEYWORDS = frozenset(
    [
        "$schema",
        "$id",
        "title",
        "description",
        "type",
        "properties",
        "additionalProperties",
        "propertyNames",
        "required",
        "items",
        "minItems",
        "maxItems",
        "minProperties",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "enum",
        "const",
        "default",
        "examples",
        "definitions",
        "$ref",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "x-hint",
        "x-problem",
        "x-contract",
        "x-identity",
        "x-internal",
        "x-file",
        "x-images",
    ]
)


def subschemas(one: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield one
    for keyword in ("properties", "definitions"):
        for sub in one.get(keyword, {}).values():
            yield from subschemas(sub)
    for keyword in ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else"):
        if isinstance(one.get(keyword), dict):
            yield from subschemas(one[keyword])
    for sub in one.get("allOf", ()):
        yield from subschemas(sub)


def job(**changes: object) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "x",
        "videos": {"pier": "inputs/pier"},
        "prompts": {"golden": "A pier"},
        **changes,
    }


def problems(text: str, name: str = "job") -> list[Diagnostic]:
    document, found = yaml.read(text.encode(), "f.yaml")
    assert found == ()
    return violations.problems(document.value, schema.load(name), document)


HEAD = "version: 1\nname: x\nvideos: {a: b}\nprompts: {p: q}\n"


# --- the schemas themselves -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_draft_07(name: str) -> None:
    one = schema.load(name)

    Draft7Validator.check_schema(one)
    assert one["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("name", NAMES)
def test_schemas_use_only_keywords_that_the_quick_check_knows(name: str) -> None:
    used = {keyword for one in subschemas(schema.load(name)) for keyword in one}

    assert used <= KNOWN_KEYWORDS


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_explained_with_an_example(name: str) -> None:
    for one in subschemas(schema.load(name)):
        for key, sub in one.get("properties", {}).items():
            if "not" not in sub:
                assert {"description", "examples"} <= sub.keys(), key


@pytest.mark.parametrize("name", NAMES)
def test_defaults_and_examples_are_valid(name: str) -> None:
    root = schema.load(name)
    for one in subschemas(root):
        for key, sub in one.get("properties", {}).items():
            for value in [
                *sub.get("examples", ()),
                *([sub["default"]] if "default" in sub else ()),
            ]:
                assert violations.fits(value, sub, root), (key, value)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_parameter_says_whether_it_is_identity_and_has_a_default(engine: str) -> None:
    one = schema.load(f"engines/{engine}")

    assert one["x-contract"] == 1
    assert one["additionalProperties"] is False
    for name, parameter in one["properties"].items():
        assert isinstance(parameter["x-identity"], bool), name
        assert "default" in parameter, name


def flattened(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the descriptions of all parameters that `params` has, `masks.edge` among them."""
    found: dict[str, str] = {}
    for key, one in params.items():
        parts = {f"{key}.{control}": sub for control, sub in one.get("properties", {}).items()}
        found |= {name: sub["description"] for name, sub in (parts or {key: one}).items()}
    return found


def test_parameters_of_the_job_schema_are_those_of_the_engines() -> None:
    listed = flattened(schema.load("job")["properties"]["params"]["properties"])
    owners: dict[str, list[str]] = {}
    texts: dict[str, set[str]] = {}
    for engine in ENGINES:
        contract = schema.contract(engine)
        for name in schema.settable(contract):
            owners.setdefault(name, []).append(engine)
            texts.setdefault(name, set()).add(contract.schemas[name]["description"])

    assert set(listed) == set(owners)
    for name, description in listed.items():
        text, _, engines = description.rpartition(" Engines: ")
        assert engines == f"{', '.join(owners[name])}."
        assert text in texts[name]


def test_what_controls_have_each_names_its_engines_and_takes_any_axis() -> None:
    listed = schema.load("job")["properties"]["params"]["properties"]

    keys = {key: one for key, one in listed.items() if "properties" in one}
    assert keys.keys() == schema.keys_by_control()
    for key, one in keys.items():
        owners = schema.engines_with(key)
        assert one["description"].endswith(f" Engines: {', '.join(owners)}.")
        for sub in one["properties"].values():
            assert sub["allOf"] == [{"$ref": "#/definitions/axis"}]


def test_a_key_of_params_is_either_a_mapping_by_control_or_a_value_in_all_engines() -> None:
    for engine in ENGINES:
        contract = schema.contract(engine)
        by_control = {key for key in schema.keys(contract) if schema.controls(key, contract)}

        assert by_control == schema.keys_by_control() & set(schema.keys(contract))
        assert not any(key in contract.schemas for key in by_control)


def test_files_are_of_a_known_kind_and_images_are_for_some_engines() -> None:
    kinds = {
        one["x-file"]
        for engine in ENGINES
        for one in schema.contract(engine).schemas.values()
        if "x-file" in one
    }

    assert kinds == {"image", "video", "tensor"}
    assert [e for e in ENGINES if schema.contract(e).images] == ["preview", "transfer2.5"]


def test_a_contract_holds_the_defaults_of_an_engine() -> None:
    contract = schema.contract("preview")

    assert contract.version == 1
    assert contract.defaults == {
        "edge_threshold": "medium",
        "blur_strength": "medium",
        "resolution": "720",
        "max_frames": None,
        "seed": 2025,
        "num_steps": 35,
        "guidance": 3,
        "note": "",
        "model": "transfer",
        "upscale": None,
    }
    assert "note" not in schema.settable(contract)


def test_an_unknown_engine_is_answered_with_a_close_one() -> None:
    with pytest.raises(EngineError) as caught:
        schema.contract("transfer25")

    assert caught.value.hint == "did you mean `transfer2.5`?"


def test_engines_are_listed() -> None:
    assert schema.engines() == ENGINES


# --- the quick check ------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "version",
        "name",
        "videos",
        "prompts",
        "variables",
        "weights",
        "params",
        "zip",
        "exclude",
        "include",
        "sample",
        "limits",
        "regions",
        "upscale",
        "masks",
        "mask_prompt",
        "prompt",
        "box",
        "weight",
        "glob",
        "grid",
        "vis",
        "edge",
        "depth",
        "seg",
        "start",
        "stop",
        "step",
        "text",
        "file",
        "negative",
        "count",
        "seed",
        "color",
        "A-1",
        "é",
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([0.25, 1.0, 1.5, 1e300]), WORDS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(WORDS | st.just(""), inner, max_size=4)
    ),
    max_leaves=12,
)
SECTIONS = st.sampled_from(
    [
        "name",
        "videos",
        "prompts",
        "variables",
        "weights",
        "params",
        "zip",
        "exclude",
        "include",
        "sample",
        "limits",
        "regions",
        "upscale",
        "engine",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(SECTIONS, VALUES, max_size=3))
def test_the_quick_check_agrees_with_jsonschema(sections: dict[str, Any]) -> None:
    root = schema.load("job")
    value = job(**sections)

    assert violations.fits(value, root, root) == Draft7Validator(root).is_valid(value)


TARGET_KEYS = tuple(schema.load("project")["definitions"]["target"]["properties"])
TARGET_VALUES = st.recursive(
    LEAVES
    | st.sampled_from(["/data", "a b", "-x", "u@h:22", "u@-h", "${A}", "i:1", "/a:/b", "x\n", "A"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["image", "env", "args", "A", "a-b", ""]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
INSTALLATIONS = st.fixed_dictionaries(
    {},
    optional={
        "venv": TARGET_VALUES,
        "path": TARGET_VALUES,
        "env": st.dictionaries(
            st.sampled_from(["A", "_b1", "1a", "a-b"]), TARGET_VALUES, max_size=2
        )
        | TARGET_VALUES,
        "docker": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(("image", "volumes", "env", "args", "unknown"), TARGET_VALUES),
        ),
    },
)
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            schema.load("project")["definitions"]["target"]["properties"], TARGET_VALUES
        ),
        "hosts": st.lists(TARGET_VALUES, max_size=2) | TARGET_VALUES,
        "gpus": st.lists(TARGET_VALUES, max_size=2) | TARGET_VALUES,
        "engines": st.dictionaries(
            st.sampled_from(["preview", "transfer2.5", "transfer3"]),
            INSTALLATIONS | TARGET_VALUES,
            max_size=2,
        ),
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["local", "h100", "a b", ""]), TARGETS | TARGET_VALUES, max_size=2
    )
    | TARGET_VALUES
)
def test_the_quick_check_of_targets_agrees_with_jsonschema(targets: object) -> None:
    root = schema.load("project")
    value = {"version": 1, "targets": targets}

    assert violations.fits(value, root, root) == Draft7Validator(root).is_valid(value)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ENGINES),
    st.data(),
    LEAVES | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
)
def test_the_check_of_one_parameter_agrees_with_jsonschema(
    engine: str, data: st.DataObject, value: Scalar
) -> None:
    contract = schema.contract(engine)
    name = data.draw(st.sampled_from(sorted(contract.schemas)))
    document = Document("f.yaml", "")

    problem = violations.parameter_problem(
        value, name, contract, at=("params", name), locator=document
    )

    assert (problem is None) == Draft7Validator(contract.schemas[name]).is_valid(value)


def test_checking_changes_nothing() -> None:
    value = job(params={"seed": [1, "x"]}, unknown=1)
    before = copy.deepcopy(value)

    violations.problems(value, schema.load("job"), Document("f.yaml", ""))

    assert value == before


# --- violations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "message", "hint"),
    [
        ("promts: {a: b}", "unknown-key", "unknown key `promts`", "did you mean `prompts`?"),
        ("weight: {}", "unknown-key", "unknown key `weight`", "did you mean `weights`?"),
        ("Params: {}", "unknown-key", "unknown key `Params`", "did you mean `params`?"),
        (
            "weights: {a: {depht: 0.5}}",
            "unknown-key",
            "unknown key `depht`",
            "did you mean `depth`?",
        ),
        (
            "weights: {a: {canny: 0.5}}",
            "unknown-key",
            "unknown key `canny`",
            "did you mean `edge`?",
        ),
        (
            "weights: {a: {edge: 1.5}}",
            "out-of-range",
            "`weights.a.edge` must be at most 1, not 1.5",
            "use 1 or less",
        ),
        (
            "weights: {a: {edge: '0.5'}}",
            "wrong-type",
            "`weights.a.edge` must be a number, not the text `0.5`",
            "remove the quotes",
        ),
        (
            "weights: {a: {edge: 1_000}}",
            "wrong-type",
            "`weights.a.edge` must be a number, not the text `1_000`",
            "numbers have no separators: write `1000`",
        ),
        (
            "weights: {a: {edge: yes}}",
            "wrong-type",
            "`weights.a.edge` must be a number, not the text `yes`",
            "`yes` is text; write a number",
        ),
        (
            "weights: {a: [1, 1, 1]}",
            "wrong-length",
            "`weights.a` must have 4 values, not 3",
            "write `weights: {label: {edge: 0.7, vis: 0.2}}`, or a list of four:"
            " vis, edge, depth, seg",
        ),
        (
            "engine: transfer25",
            "wrong-value",
            "`engine` must be one of `preview`, `transfer1`, `transfer2.5` or `cosmos3`,"
            " not the text `transfer25`",
            "did you mean `transfer2.5`?",
        ),
        (
            "description: 5",
            "wrong-type",
            "`description` must be text, not 5",
            'quote it for a text: "5"',
        ),
        ("sample:", "wrong-type", "`sample` has no value; expected a mapping", None),
        (
            "sample: {seed: 1}",
            "missing-key",
            "the key `count` is missing in `sample`",
            "for example `count: 10`",
        ),
        (
            "params: {seed: {start: 1, stop: 2}}",
            "missing-key",
            "the key `step` is missing in `params.seed`",
            "give one value, a list, or {start: 1, stop: 10, step: 1}",
        ),
        (
            "params: {seed: {start: 1, stop: 2, step: 0}}",
            "out-of-range",
            "`params.seed.step` must be above 0, not 0",
            "`step` must be above 0; a range goes up from `start` to `stop`",
        ),
        ("params: {seed: []}", "empty", "`params.seed` is empty", None),
        (
            "params: {masks: masks/a.mp4}",
            "wrong-type",
            "`params.masks` must be a mapping, not the text `masks/a.mp4`",
            "give it by control: `masks: {edge: masks/pier.mp4}`",
        ),
        (
            "include: [{prompt: p, masks: {edge: a.mp4}}]",
            "wrong-type",
            "`include[0].masks` must be text or a number or true or false or null, not a mapping",
            "give one value; what each control has is named like `masks.edge`",
        ),
        (
            "regions: [{prompt: a}]",
            "missing-key",
            "the key `mask_prompt` is missing in `regions[0]`",
            "write `box: [0.1, 0.2, 0.5, 0.9]`, or `mask_prompt: the car`",
        ),
        (
            "regions: [{prompt: a, box: [0, 0, 1]}]",
            "wrong-length",
            "`regions[0].box` must have 4 values, not 3",
            "write [left, top, right, bottom], each from 0 to 1",
        ),
        (
            "regions: [{prompt: a, box: [0, 0, 1, 1], mask_prompt: b}]",
            "wrong-value",
            "`box` and `mask_prompt` exclude each other",
            "remove one of the two",
        ),
        (
            "regional_prompts: []",
            "unknown-key",
            "unknown key `regional_prompts`",
            "did you mean `regions`?",
        ),
        (
            "upscale: yes",
            "wrong-type",
            "`upscale` must be true or false or a mapping, not the text `yes`",
            "YAML 1.2 reads `yes` as text: write `true`",
        ),
        (
            "upscale: {weight: 2}",
            "out-of-range",
            "`upscale.weight` must be at most 1, not 2",
            "use 1 or less",
        ),
        (
            "zip: [prompt, seed]",
            "wrong-type",
            "`zip[0]` must be a list, not the text `prompt`",
            "a group is a list of axes: `zip: [[video, seed]]`",
        ),
    ],
)
def test_violations_say_what_to_do(line: str, code: str, message: str, hint: str | None) -> None:
    first = problems(HEAD + line)[0]

    assert (first.code, first.message) == (code, message)
    if hint is not None:
        assert first.hint == hint


def test_a_bad_name_is_shown_at_its_key() -> None:
    (problem,) = problems("version: 1\nname: x\nvideos: {a/b: c}\nprompts: {p: q}\n")

    assert problem.code == "bad-name"
    assert problem.span is not None
    assert (problem.span.column, problem.span.end_column) == (10, 13)


def test_a_name_cannot_end_in_a_line_break() -> None:
    value = job(prompts={"a\n": "x"})

    assert not violations.fits(value, schema.load("job"), schema.load("job"))


def test_a_prompt_needs_exactly_one_of_text_and_file() -> None:
    head = "version: 1\nname: x\nvideos: {a: b}\n"

    both = problems(head + "prompts: {p: {text: a, file: b}}")
    neither = problems(head + "prompts: {p: {negative: a}}")

    assert [one.message for one in both] == ["`text` and `file` exclude each other"]
    assert [one.message for one in neither] == ["the key `text` is missing in `prompts.p`"]


def test_all_violations_are_reported_each_once_by_position() -> None:
    found = problems("zip: 5\nnam: x\nvideos: {}\nsample: {count: 0, sed: 1}\n")

    assert [(one.span.line if one.span else 0, one.code) for one in found] == [
        (1, "missing-key"),
        (1, "missing-key"),
        (1, "wrong-type"),
        (2, "unknown-key"),
        (3, "empty"),
        (4, "out-of-range"),
        (4, "unknown-key"),
    ]


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("resolution", 720, "720"),
        ("resolution", 720.0, "720"),
        ("resolution", "480p", "480p"),
        ("seed", 3.0, 3),
        ("guidance", 3.0, 3),
        ("guidance", 3.5, 3.5),
        ("max_frames", None, None),
        ("seed", True, True),
        ("mask_prompt.seg", "cafe\u0301 \n", "caf\u00e9"),
        ("masks.edge", "masks/cafe\u0301 ", "masks/cafe\u0301 "),
    ],
)
def test_parameters_have_one_form(name: str, given: Scalar, expected: Scalar) -> None:
    normal = schema.normalise(given, schema.contract("transfer2.5").schemas[name])

    assert normal == expected
    assert type(normal) is type(expected)


def test_an_unknown_parameter_names_the_engine_and_a_close_one() -> None:
    document, _ = yaml.read(b"params: {guidance_scale: 3}", "f.yaml")
    at = ("params", "guidance_scale")

    problem = schema.unknown_parameter("guidance_scale", schema.contract("preview"), at, document)

    assert problem is not None
    assert problem.message == "engine preview has no parameter `guidance_scale`"
    assert problem.hint == "did you mean `guidance`?"
    assert problem.span is not None
    assert problem.span.column == 10


def test_many_names_are_cut_short() -> None:
    assert schema.listed("abc") == "`a`, `b` and `c`"
    assert schema.listed([str(i) for i in range(12)]).endswith("`9` and 2 more")
