"""What a job file means, and that each mistake in it is reported once, at its place."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_jobs.config import mapping
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import (
    FileValue,
    Include,
    JobSpec,
    Limits,
    PromptSpec,
    Sample,
    Upscale,
    VideoSource,
)
from cosmos_jobs.jobs.parse import parse

FULL = """\
# yaml-language-server: $schema=../schemas/job.schema.json
version: 1
name: sunsets
description: Which control keeps the pier readable at dusk?
engine: preview                       # preview | transfer1 | transfer2.5 | cosmos3
target: local
videos:
  pier: inputs/videos/pier            # a folder
  street: {color: clips/street.mp4, depth: clips/street_depth.mp4}
prompts:
  golden: A pier at golden hour       # short form
  storm:
    text: A pier in {weather}, {light}, photorealistic   # or file: prompts/storm.txt
    negative: cartoon, low quality
    videos: [pier]                    # default: all videos
variables:
  weather: [heavy rain, fresh snow]
  light: [dawn, dusk]
weights:
  balanced: [0.25, 0.25, 0.25, 0.25]
  edges: {edge: 0.7, vis: 0.2}
params:
  seed: [1, 2]
  num_steps: 35
zip: [[video, seed]]
exclude: [{prompt: storm, weights: [edges], seed: 3}]
include: [{prompt: golden, video: pier, weights: {edge: 1.0}, num_steps: 50}]
sample: {count: 10, seed: 7}
limits: {max_runs: 200, max_gpu_hours: 24}
"""

HEAD = "version: 1\nname: x\nvideos: {pier: a, street: b}\n"
PLAIN = HEAD + "prompts: {golden: A pier}\n"
RAINY = HEAD + "prompts: {storm: 'A {weather} pier', golden: A pier}\n"


def read(text: str, **changes: Any) -> tuple[JobSpec | None, tuple[Diagnostic, ...]]:
    known: dict[str, Any] = {"engine": "preview", "target": "local", "targets": ["local", "h100"]}
    return parse(text.encode(), "jobs/x.yaml", **{**known, **changes})


def job(text: str, **changes: Any) -> JobSpec:
    spec, found = read(text, **changes)
    assert [one.message for one in found if one.severity is Severity.ERROR] == []
    assert spec is not None
    return spec


def only(text: str, **changes: Any) -> Diagnostic:
    _, found = read(text, **changes)
    assert len(found) == 1, [one.message for one in found]
    return found[0]


def marked(problem: Diagnostic) -> str:
    """Return what the caret stands under."""
    assert problem.span is not None
    return problem.source[problem.span.column - 1 : problem.span.end_column - 1]


# --- what a file means ------------------------------------------------------------------------


def test_every_key_of_a_job_file_is_read() -> None:
    spec, found = read(FULL)

    assert found == ()
    assert spec is not None
    assert replace(spec, source=spec.source) == JobSpec(
        path="jobs/x.yaml",
        name="sunsets",
        engine="preview",
        target="local",
        videos={
            "pier": VideoSource(folder="inputs/videos/pier"),
            "street": VideoSource(
                files={"color": "clips/street.mp4", "depth": "clips/street_depth.mp4"}
            ),
        },
        video_glob=None,
        prompts=(
            PromptSpec("golden", text="A pier at golden hour"),
            PromptSpec(
                "storm",
                text="A pier in {weather}, {light}, photorealistic",
                negative="cartoon, low quality",
                videos=("pier",),
            ),
        ),
        variables={"weather": ("heavy rain", "fresh snow"), "light": ("dawn", "dusk")},
        weights={
            "balanced": {"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25},
            "edges": {"vis": 0.2, "edge": 0.7},
        },
        params={"seed": (1, 2), "num_steps": (35,)},
        zip=(("video", "seed"),),
        exclude=({"prompt": ("storm",), "weights": ("edges",), "seed": (3,)},),
        include=(Include("golden", "pier", {"edge": 1.0}, {}, {"num_steps": 50}),),
        sample=Sample(10, 7),
        limits=Limits(200, 24),
        description="Which control keeps the pier readable at dusk?",
        source=spec.source,
    )


def test_what_is_left_out_has_defaults() -> None:
    spec = job(PLAIN, engine="transfer1", target="h100")

    assert (spec.engine, spec.target) == ("transfer1", "h100")
    assert spec.weights == {"default": dict.fromkeys(("vis", "edge", "depth", "seg"), 0.25)}
    assert (spec.params, spec.zip, spec.exclude, spec.include) == ({}, (), (), ())
    assert (spec.sample, spec.limits, spec.description) == (None, Limits(), "")


def test_videos_can_be_found_by_a_pattern() -> None:
    spec = job("version: 1\nname: x\nvideos: {glob: 'in/*'}\nprompts: {p: {text: q, videos: [z]}}")

    assert (spec.video_glob, dict(spec.videos)) == ("in/*", {})


def test_a_grid_makes_labelled_sets_the_first_control_slowest() -> None:
    spec = job(
        PLAIN
        + "weights: {grid: {edge: {start: 0.1, stop: 0.9, step: 0.4}, vis: [0.1, 0], depth: 0.2}}"
    )

    assert list(spec.weights) == [
        "edge0.1_vis0.1_depth0.2",
        "edge0.1_vis0_depth0.2",
        "edge0.5_vis0.1_depth0.2",
        "edge0.5_vis0_depth0.2",
        "edge0.9_vis0.1_depth0.2",
        "edge0.9_vis0_depth0.2",
    ]
    assert list(spec.weights["edge0.1_vis0.1_depth0.2"].items()) == [
        ("vis", 0.1),
        ("edge", 0.1),
        ("depth", 0.2),
    ]
    assert spec.weights["edge0.9_vis0_depth0.2"] == {"edge": 0.9, "depth": 0.2}


def test_ranges_of_parameters_are_exact_and_typed() -> None:
    spec = job(
        PLAIN + "params: {seed: {start: 1, stop: 3, step: 1}, guidance:"
        " {start: 3, stop: 4, step: 0.5}, resolution: [720, 480p], max_frames: [null, 9.0]}"
    )

    assert spec.params == {
        "seed": (1, 2, 3),
        "guidance": (3, 3.5, 4),
        "resolution": ("720", "480p"),
        "max_frames": (None, 9),
    }
    assert [type(value) for value in spec.params["guidance"]] == [int, float, int]


def test_variables_are_taken_as_they_are_written() -> None:
    spec = job(RAINY + "variables: {weather: [2024-01-01, 1e3, no, 'b ', true]}")

    assert spec.variables == {"weather": ("2024-01-01", "1e3", "no", "b", "true")}


def test_prompts_are_composed_and_lose_white_space_at_the_end() -> None:
    spec = job(HEAD + "prompts:\n  p:\n    text: |\n      cafe\u0301  \n\n    negative: 'x '\n")

    assert (spec.prompts[0].text, spec.prompts[0].negative) == ("caf\u00e9", "x")


def test_values_of_references_have_the_form_of_their_axis() -> None:
    spec = job(
        RAINY + "variables: {weather: [2, 3]}\nparams: {resolution: [720, 480]}\n"
        "exclude: [{resolution: 720, weather: [2]}]\n"
        "include: [{prompt: storm, weather: 5, resolution: 256}]"
    )

    assert spec.exclude == ({"resolution": ("720",), "weather": ("2",)},)
    assert spec.include == (Include("storm", None, None, {"weather": "5"}, {"resolution": "256"}),)


def test_repeated_values_stay_where_axes_advance_together() -> None:
    spec, found = read(PLAIN + "params: {seed: [1, 1]}\nzip: [[video, seed]]")

    assert found == ()
    assert spec is not None
    assert spec.params == {"seed": (1, 1)}


# --- parameters that each control has -----------------------------------------------------------

REAL = PLAIN + "engine: transfer2.5\n"
FIRST = PLAIN + "engine: transfer1\n"


def test_parameters_of_a_control_are_axes_named_with_a_dot() -> None:
    spec = job(
        REAL + "params:\n  masks: {edge: [a.mp4, b.mp4], vis: c.mp4}\n"
        "  mask_prompt: {seg: the road}\n  seed: 1\n"
        "zip: [[video, masks.edge]]\nexclude: [{masks.edge: a.mp4, seed: 1}]\n"
        "include: [{prompt: golden, masks.edge: d.mp4, mask_prompt.vis: a car}]\n"
    )

    assert spec.params == {
        "masks.edge": ("a.mp4", "b.mp4"),
        "masks.vis": ("c.mp4",),
        "mask_prompt.seg": ("the road",),
        "seed": (1,),
    }
    assert spec.zip == (("video", "masks.edge"),)
    assert spec.exclude == ({"masks.edge": ("a.mp4",), "seed": (1,)},)
    assert spec.include[0].params == {"masks.edge": "d.mp4", "mask_prompt.vis": "a car"}


def test_files_are_known_with_their_places_those_of_excludes_are_not() -> None:
    spec, found = read(
        REAL + "params:\n  masks: {edge: [a.mp4, a.mp4, b.mp4], vis: c.mp4}\n"
        "  image_context: [null, d.png]\n"
        "exclude: [{masks.edge: e.mp4}]\ninclude: [{prompt: golden, masks.edge: f.mp4}]\n"
    )

    assert [one.code for one in found] == ["duplicate-value"]
    assert spec is not None
    assert spec.files == (
        FileValue("masks.edge", "video", "a.mp4", ("params", "masks", "edge", 0)),
        FileValue("masks.edge", "video", "a.mp4", ("params", "masks", "edge", 1)),
        FileValue("masks.edge", "video", "b.mp4", ("params", "masks", "edge", 2)),
        FileValue("masks.vis", "video", "c.mp4", ("params", "masks", "vis")),
        FileValue("image_context", "image", "d.png", ("params", "image_context", 1)),
        FileValue("masks.edge", "video", "f.mp4", ("include", 0, "masks.edge")),
    )


def test_texts_of_parameters_are_composed_as_prompts_are() -> None:
    spec = job(REAL + "params: {mask_prompt: {seg: 'cafe\u0301  '}}")

    assert spec.params == {"mask_prompt.seg": ("caf\u00e9",)}


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        (
            REAL + "params: {masks.edge: a.mp4}",
            "dotted-parameter",
            "masks.edge",
            "write `masks: {edge: …}`",
        ),
        (
            PLAIN + "engine: cosmos3\nparams: {masks: {edge: a.mp4}}",
            "unknown-parameter",
            "masks",
            "engine cosmos3 has no parameter `masks`\n`transfer2.5` has it",
        ),
        (
            FIRST + "params: {mask_prompt: {seg: a, edge: b}}",
            "unknown-control",
            "edge",
            "engine transfer1 has `mask_prompt` for `seg` only\n`transfer2.5` has it",
        ),
        (
            REAL + "params: {control_prompt: {edge: b}}",
            "unknown-control",
            "edge",
            "engine transfer2.5 has `control_prompt` for `seg` only",
        ),
        (
            REAL + "params: {masks: {canny: b}}",
            "unknown-control",
            "canny",
            "`canny` is not a control\ndid you mean `edge`?",
        ),
        (REAL + "params: {mask: {edge: b}}", "unknown-parameter", "mask", "did you mean `masks`?"),
        (REAL + "params: {masks: b}", "wrong-type", "b", "`params.masks` must be a mapping"),
        (REAL + "params: {masks: {}}", "empty", "{}", "`params.masks` is empty"),
        (REAL + "params: {masks: {edge: [a, 5]}}", "wrong-type", "5", "`masks.edge` must be text"),
        (REAL + "params: {masks: {edge: ''}}", "empty", "''", "`masks.edge` is empty"),
        (REAL + "params: {mask_prompt: {seg: ' '}}", "empty", "' '", "`mask_prompt.seg` is empty"),
        (
            REAL + "params: {masks: {edge: {start: 1, stop: 2, step: 1}}}",
            "wrong-type",
            "{start: 1, stop: 2, step: 1}",
            "`masks.edge` must be text or null",
        ),
        (
            REAL + "params: {masks: {edge: a}}\nzip: [[video, masks]]",
            "unknown-axis",
            "masks",
            "write `masks.edge`",
        ),
        (
            REAL + "params: {masks: {edge: [a, b, c]}}\nzip: [[video, masks.edge]]",
            "zip-length",
            "[video, masks.edge]",
            "`video` has 2, `masks.edge` has 3",
        ),
        (
            REAL + "exclude: [{masks.edge: a}]",
            "unknown-axis",
            "masks.edge",
            "add `masks: {edge: …}` to `params`",
        ),
        (
            FIRST + "include: [{prompt: golden, masks.edge: a}]",
            "unknown-axis",
            "masks.edge",
            "unknown axis `masks.edge`",
        ),
        (
            HEAD + "engine: transfer2.5\nprompts: {p: 'a {masks}'}\nvariables: {masks: [a]}",
            "name-clash",
            "masks",
            "a parameter of engine transfer2.5",
        ),
        (
            FIRST + "params: {regions: a}",
            "unknown-parameter",
            "regions",
            "a section of its own, beside `params`",
        ),
        (
            REAL + "regions: [{prompt: a, box: [0, 0, 1, 1]}]",
            "unknown-section",
            "regions",
            "engine transfer2.5 has no `regions`\nengine `transfer1` has",
        ),
        (
            FIRST + "regions: [{prompt: a, box: [0.5, 0, 0.5, 1]}]",
            "empty-box",
            "[0.5, 0, 0.5, 1]",
            "[left, top, right, bottom]",
        ),
        (
            FIRST + "regions: [{prompt: a, box: [0, 0.9, 1, 0.2]}]",
            "empty-box",
            "[0, 0.9, 1, 0.2]",
            "nothing inside",
        ),
        (FIRST + "regions: [{prompt: ' ', mask_prompt: a}]", "empty-prompt", "' '", "is empty"),
        (FIRST + "upscale: {prompt: ' '}", "empty-prompt", "' '", "is empty"),
        (
            RAINY + "variables: {weather: [a]}\nupscale: {prompt: 'A {weather} pier'}",
            "variable-here",
            "'A {weather} pier'",
            "`{weather}` is not filled in here",
        ),
    ],
)
def test_a_mistake_about_controls_regions_or_upscale_is_reported_once(
    text: str, code: str, place: str, words: str
) -> None:
    problem = only(text)

    assert (problem.code, problem.severity) == (code, Severity.ERROR)
    assert marked(problem) == place
    assert words in f"{problem.message}\n{problem.hint}"


def test_mistakes_of_all_controls_come_at_once() -> None:
    found = read(
        FIRST + "params: {masks: {edge: a}, mask_prompt: {edge: b, sg: c, seg: 5}, masks.vis: d}"
    )[1]

    assert [(one.code, marked(one)) for one in found] == [
        ("unknown-parameter", "masks"),
        ("unknown-control", "edge"),
        ("unknown-control", "sg"),
        ("wrong-type", "5"),
        ("unknown-parameter", "masks.vis"),
    ]


def test_what_refers_to_a_faulty_control_is_no_second_mistake() -> None:
    problem = only(REAL + "params: {masks: {edg: [a, b]}}\nzip: [[video, masks.edg]]")

    assert (problem.code, problem.hint) == ("unknown-control", "did you mean `edge`?")


def test_a_text_of_a_parameter_that_yaml_cuts_is_a_warning() -> None:
    problem = only(REAL + "params:\n  mask_prompt:\n    seg: road #1")

    assert (problem.code, problem.severity) == ("prompt-cut", Severity.WARNING)


# --- regions and upscale ------------------------------------------------------------------------


def test_regions_have_a_box_or_a_text_that_finds_them() -> None:
    spec = job(
        FIRST + "regions:\n- {prompt: 'a car ', box: [0.0, 0.25, 1.0, 1]}\n"
        "- {prompt: a road, mask_prompt: road}\n"
    )

    assert spec.regions == (
        {"prompt": "a car", "box": (0, 0.25, 1, 1)},
        {"prompt": "a road", "mask_prompt": "road"},
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("true", Upscale(0.5)),
        ("false", None),
        ("{}", Upscale(0.5)),
        ("{weight: 0.7}", Upscale(0.7)),
        ("{prompt: 'A pier '}", Upscale(0.5, "A pier")),
    ],
)
def test_upscale_has_a_weight_and_maybe_a_prompt(given: str, expected: Upscale | None) -> None:
    spec = job(PLAIN + f"upscale: {given}")

    assert spec.upscale == expected


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        (HEAD + "prompts: {p: ' '}", "empty-prompt", "' '", "the prompt is empty"),
        (HEAD + "prompts: {p: {text: ''}}", "empty-prompt", "''", "the prompt is empty"),
        (HEAD + "prompts: {p: 'a { b'}", "bad-placeholder", "{", "a single `{`"),
        (HEAD + "prompts: {p: 'a {b c} d'}", "bad-placeholder", "{b c}", "`{b c}`"),
        (HEAD + "prompts:\n  p: |\n    a\n    b } c", "bad-placeholder", "}", "a single `}`"),
        (HEAD + "prompts: {p: 'a {sky}'}", "unknown-variable", "{sky}", "add `sky: [...]`"),
        (
            RAINY.replace("weather", "wether") + "variables: {weather: [a]}",
            "unknown-variable",
            "{wether}",
            "did you mean `weather`?",
        ),
        (
            HEAD + "prompts: {p: {text: a, videos: [peir]}}",
            "unknown-video",
            "peir",
            "did you mean `pier`?",
        ),
        (PLAIN + "target: h10", "unknown-target", "h10", "did you mean `h100`?"),
        (RAINY.replace("weather", "seed") + "variables: {seed: [a]}", "name-clash", "seed", "seed"),
        (
            RAINY.replace("weather", "prompt") + "variables: {prompt: [a]}",
            "name-clash",
            "prompt",
            "an axis",
        ),
        (PLAIN + "weights: {a: [0, 0, 0, 0]}", "all-zero-weights", "[0, 0, 0, 0]", "all weights"),
        (PLAIN + "weights: {a: {edge: 0}}", "all-zero-weights", "{edge: 0}", "all weights"),
        (
            PLAIN + "weights: {grid: {edge: [0, 1], vis: 0}}",
            "all-zero-weights",
            "grid",
            "only zeros",
        ),
        (
            PLAIN + "weights: {edge0.5: {vis: 1}, grid: {edge: 0.5}}",
            "duplicate-label",
            "grid",
            "edge0.5",
        ),
        (
            PLAIN + "params: {seed: {start: 5, stop: 1, step: 1}}",
            "empty-range",
            "{start: 5, stop: 1, step: 1}",
            "swap `start` and `stop`",
        ),
        (
            PLAIN + "params: {seed: {start: 0, stop: 1e6, step: 1}}",
            "range-too-long",
            "{start: 0, stop: 1e6, step: 1}",
            "1,000,001 values",
        ),
        (
            PLAIN + "params: {guidance: {start: -1, stop: 1, step: 0.5}}",
            "out-of-range",
            "{start: -1, stop: 1, step: 0.5}",
            "at least 0, not -1",
        ),
        (PLAIN + "params: {seed: [1, -1]}", "out-of-range", "-1", "`seed` must be at least 0"),
        (PLAIN + "params: {seed: 1.5}", "wrong-type", "1.5", "a whole number"),
        (PLAIN + "params: {seed: true}", "wrong-type", "true", "a whole number"),
        (PLAIN + "params: {num_steps: 1_000}", "wrong-type", "1_000", "write `1000`"),
        (PLAIN + "params: {resolution: 721}", "wrong-value", "721", "did you mean `720`?"),
        (PLAIN + "params: {note: a}", "unknown-parameter", "note", "has no parameter `note`"),
        (PLAIN + "params: {steps: 3}", "unknown-parameter", "steps", "did you mean `num_steps`?"),
        (
            PLAIN + "params: {sigma_max: 3}",
            "unknown-parameter",
            "sigma_max",
            "engine preview has no parameter",
        ),
        (
            PLAIN + "params: {seed: [1, 2, 3]}\nzip: [[video, seed]]",
            "zip-length",
            "[video, seed]",
            "`video` has 2, `seed` has 3",
        ),
        (
            PLAIN + "weights: {a: {vis: 1}, b: {vis: 1}}\nzip: [[weights, prompt]]",
            "zip-length",
            "[weights, prompt]",
            "`weights` has 2, `prompt` has 1",
        ),
        (PLAIN + "zip: [[video, sede]]", "unknown-axis", "sede", "unknown axis `sede`"),
        (
            PLAIN + "params: {seed: [1, 2], num_steps: [1, 2]}\n"
            "zip: [[video, seed], [seed, num_steps]]",
            "zip-twice",
            "seed",
            "zipped twice",
        ),
        (PLAIN + "exclude: [{promt: a}]", "unknown-axis", "promt", "did you mean `prompt`?"),
        (PLAIN + "exclude: [{prompt: golde}]", "unknown-prompt", "golde", "did you mean `golden`?"),
        (PLAIN + "exclude: [{video: [pier, x]}]", "unknown-video", "x", "`pier` and `street`"),
        (PLAIN + "exclude: [{weights: defualt}]", "unknown-label", "defualt", "`default`?"),
        (PLAIN + "exclude: [{seed: 3}]", "unknown-axis", "seed", "`seed` is not in `params`"),
        (
            PLAIN + "params: {seed: [1, 2]}\nexclude: [{seed: x}]",
            "wrong-type",
            "x",
            "a whole number",
        ),
        (PLAIN + "include: [{prompt: x}]", "unknown-prompt", "x", "unknown prompt `x`"),
        (PLAIN + "include: [{prompt: golden, fps: 3}]", "unknown-axis", "fps", "unknown axis"),
        (
            PLAIN + "include: [{prompt: golden, num_steps: 0}]",
            "out-of-range",
            "0",
            "at least 1, not 0",
        ),
        (
            PLAIN + "include: [{prompt: golden, weights: {vis: 0}}]",
            "all-zero-weights",
            "{vis: 0}",
            "all weights",
        ),
        ("version: 2\nname: x\nfoo: bar", "unsupported-version", "2", "reads version 1"),
        ("- a", "not-a-mapping", "- a", "must be a mapping"),
        ("just text", "not-a-mapping", "just text", "must be a mapping"),
    ],
)
def test_a_mistake_is_reported_once_at_its_place(
    text: str, code: str, place: str, words: str
) -> None:
    problem = only(text)

    assert (problem.code, problem.severity) == (code, Severity.ERROR)
    assert marked(problem) == place
    assert words in f"{problem.message}\n{problem.hint}"


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (HEAD + "prompts:\n  p: camera #5 at dusk", "prompt-cut", "camera"),
        (HEAD + "prompts:\n  p:\n    text: a\n    negative: b #c", "prompt-cut", "b"),
        (PLAIN + "variables: {weather: [a]}", "unused-variable", "weather"),
        (PLAIN + "params: {seed: [1, 2, 1.0]}", "duplicate-value", "1.0"),
        (RAINY + "variables: {weather: [a, b, a]}", "duplicate-value", "a"),
        (PLAIN + "weights: {a: {vis: 0.333}}", "weight-rounded", "0.333"),
        (PLAIN + "weights: {a: [0.25, 0, 0.125, 0]}", "weight-rounded", "0.125"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(text: str, code: str, place: str) -> None:
    spec, (problem,) = read(text)

    assert spec is not None
    assert (problem.code, problem.severity) == (code, Severity.WARNING)
    assert marked(problem) == place


def test_a_variable_may_be_used_by_a_prompt_file() -> None:
    found = read(HEAD + "prompts: {p: {file: p.txt}}\nvariables: {weather: [a]}")[1]

    assert found == ()


def test_an_empty_file_says_how_to_start() -> None:
    for text in ("", "\n", "# only a comment\n", "---\n", "null\n"):
        problem = only(text)

        assert (problem.code, problem.hint) == ("empty-file", "start with `version: 1`")


def test_what_refers_to_a_faulty_value_is_no_second_mistake() -> None:
    text = HEAD + "prompts: {p: 5}\nweights: {a: {depht: 1}}\nparams: {seed: []}\n"
    refers = "zip: [[prompt, seed]]\nexclude: [{prompt: p, weights: a, seed: 1}]\n"

    found = read(text + refers)[1]

    assert [(one.code, marked(one)) for one in found] == [
        ("wrong-type", "5"),
        ("unknown-key", "depht"),
        ("empty", "[]"),
    ]


def test_all_problems_come_at_once_by_position() -> None:
    text = (
        "version: 1\nname: X\nvideos: {pier: a}\nprompts: {p: 'a {b}', p: c}\n"
        "weights: {a: [0, 0, 0, 0]}\nparams: {seed: -1, sed: 1}\nzip: [[a, b]]\nextra: 1\n"
    )

    found = read(text)[1]

    assert [one.code for one in found] == [
        "bad-name",
        "unknown-variable",
        "duplicate-key",
        "all-zero-weights",
        "out-of-range",
        "unknown-parameter",
        "unknown-axis",
        "unknown-axis",
        "unknown-key",
    ]


def test_a_wrong_engine_does_not_judge_parameters() -> None:
    problem = only(PLAIN + "engine: cosmos\nparams: {anything: 1}")

    assert problem.code == "wrong-value"


# --- bounds -------------------------------------------------------------------------------------


def test_a_huge_grid_is_counted_and_not_made() -> None:
    fine = "{start: 0, stop: 1, step: 0.01}"
    started = time.process_time()

    problem = only(PLAIN + f"weights: {{grid: {{vis: {fine}, edge: {fine}, depth: {fine}}}}}\n")

    assert problem.code == "grid-too-large"
    assert "101 × 101 × 101 = 1,030,301" in problem.message
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "prompts: {p: '" + " ".join(f"{{v{i}}}" for i in range(100_000)) + "'}",
        HEAD + "prompts: {p: '" + "{" * 1_000_001 + "'}",
        PLAIN + "exclude: [" + ", ".join(f"{{prompt: p{i}}}" for i in range(50_000)) + "]",
        PLAIN + "".join(f"k{i}: 1\n" for i in range(50_000)),
        PLAIN + "params: {seed: {start: -1000000, stop: -1, step: 1}}",
    ],
)
def test_many_mistakes_take_bounded_time(text: str) -> None:
    started = time.process_time()

    spec, found = read(text)

    assert spec is None
    assert len(found) <= 1001
    assert time.process_time() - started < 20


def test_errors_behind_a_thousand_warnings_still_refuse_the_file() -> None:
    weights = "".join(f"  w{i}: {{vis: 0.333}}\n" for i in range(1_200))

    spec, found = read(PLAIN + f"weights:\n{weights}exclude: [{{prompt: a}}]")

    assert spec is None
    assert found[-1].code == "too-many-problems"
    assert found[-1].severity is Severity.ERROR


# --- never a crash ------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    spec, found = parse(data, "f", engine="preview", target="local", targets=("local",))

    assert (spec is None) == any(one.severity is Severity.ERROR for one in found)


PIECES = [
    *(FULL[start : start + 7] for start in range(0, len(FULL), 7)),
    *"[]{}:,-#&*!|>'\"%@`?\n\t\0",
    "<<: *a",
    "&a ",
    "null",
    "1e-3",
    "{start: 1, stop: 3, step: 1}",
]


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(FULL)), st.integers(0, 30), st.sampled_from(PIECES))
def test_damaged_job_files_are_read_or_refused(at: int, length: int, piece: str) -> None:
    damaged = (FULL[:at] + piece + FULL[at + length :]).encode()

    spec, found = parse(damaged, "f", engine="preview", target="local", targets=("local",))

    assert (spec is None) == any(one.severity is Severity.ERROR for one in found)
    assert list(found) == sorted(
        found, key=lambda one: (one.span.line, one.span.column) if one.span else (0, 0)
    )


SECTIONS = st.sampled_from(
    [
        "videos",
        "prompts",
        "variables",
        "weights",
        "params",
        "regions",
        "upscale",
        "zip",
        "exclude",
        "include",
        "sample",
    ]
)
NAMES = st.sampled_from(
    [
        "prompt",
        "video",
        "weights",
        "seed",
        "x",
        "grid",
        "text",
        "edge",
        "glob",
        "masks",
        "mask_prompt",
        "masks.edge",
        "seg",
        "box",
        "weight",
    ]
)
VALUES = st.recursive(
    st.sampled_from(["null", "true", "-1", "0.5", "1", "'{x}'", "x", "golden", "seed"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(NAMES, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {one}" for key, one in items.items()) + "}"
        )
    ),
    max_leaves=10,
)


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(SECTIONS, VALUES, max_size=9),
    st.sampled_from(["preview", "transfer1", "transfer2.5", "cosmos3"]),
)
def test_sections_of_any_shape_are_read_or_refused(sections: dict[str, str], engine: str) -> None:
    parts = {"videos": "{a: b}", "prompts": "{golden: q}", **sections}
    text = "version: 1\nname: x\n" + "".join(f"{key}: {one}\n" for key, one in parts.items())

    spec, found = read(text, engine=engine)

    assert (spec is None) == any(one.severity is Severity.ERROR for one in found)


# --- the project file ---------------------------------------------------------------------------


def test_a_project_file_is_read_by_its_schema() -> None:
    text = b"version: 1\ntarget: local\ntargets: {local: {max_batch: 4}}\n"

    values, source, found = mapping.read(text, "cosmos-jobs.yaml", "project")

    assert found == ()
    assert values == {"version": 1, "target": "local", "targets": {"local": {"max_batch": 4}}}
    span = source.diagnostic(("targets", "local", "max_batch"), "c", "m").span
    assert span is not None
    assert (span.line, span.column) == (3, 30)


def test_of_a_project_file_with_mistakes_the_values_that_hold_are_left() -> None:
    values, _, found = mapping.read(b"version: 1\ntarget: []\nengin: x\n", "p.yaml", "project")

    assert values == {"version": 1}
    assert [one.code for one in found] == ["wrong-type", "unknown-key"]
