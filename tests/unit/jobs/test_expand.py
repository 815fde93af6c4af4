"""Job files become exactly the runs that they ask for."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.diagnostics import Severity
from cosmos_jobs.core.job import Contract, Desired, Expansion, JobInputs
from cosmos_jobs.jobs import expand
from cosmos_jobs.jobs.previewed import previewed
from tests.support.examples import (
    PLAIN,
    PREVIEW,
    TRANSFER1,
    TRANSFER25,
    expanded,
    file,
    inputs,
    parsed,
    problems,
    runs,
)

STORM = "prompts: {storm: 'A {weather} pier, {light}', golden: A pier}\n"
SKY = "variables: {weather: [rain, snow], light: [dawn, dusk]}\n"
WEIGHTS = "weights: {even: [0.25, 0.25, 0.25, 0.25], edges: {edge: 0.7, vis: 0.2}}\n"


def places(body: str) -> list[str]:
    return [each.place for each in runs(body)]


def warnings(body: str) -> list[str]:
    return [each.code for each in expanded(parsed(body))[1]]


def params(runs: tuple[Desired, ...], *names: str) -> list[tuple[object, ...]]:
    return [tuple(each.run.params[name] for name in names) for each in runs]


# --- product ------------------------------------------------------------------------------


def test_a_job_is_the_product_of_its_axes_the_last_one_fastest() -> None:
    assert places(PLAIN + WEIGHTS + "params: {seed: [2, 1]}\n") == [
        "golden/pier-even-seed2",
        "golden/pier-even-seed1",
        "golden/pier-edges-seed2",
        "golden/pier-edges-seed1",
        "golden/street-even-seed2",
        "golden/street-even-seed1",
        "golden/street-edges-seed2",
        "golden/street-edges-seed1",
    ]


def test_a_variable_multiplies_only_the_prompts_that_use_it() -> None:
    made = runs(STORM + SKY)

    prompts = [each.prompt for each in made]
    assert prompts.count("storm") == 2 * 2 * 2
    assert prompts.count("golden") == 2


def test_a_prompt_takes_only_its_videos() -> None:
    body = "prompts: {golden: {text: A pier, videos: [street]}, storm: A storm}\n"

    assert places(body) == ["golden/street-default", "storm/pier-default", "storm/street-default"]


def test_prompts_hold_the_filled_text_and_the_content_of_their_video() -> None:
    job = parsed("prompts: {a: '{{{w}}} sky'}\nvariables: {w: [grey, blue]}\n")

    expansion, _ = expanded(job)

    sources = list(expansion.prompts.values())
    assert [(each.prompt.text, each.video) for each in sources] == [
        ("{grey} sky", "pier"),
        ("{blue} sky", "pier"),
        ("{grey} sky", "street"),
        ("{blue} sky", "street"),
    ]
    assert all(each.prompt.inputs == {"color": each.files["color"].sha256} for each in sources)


def test_without_weights_every_control_counts_the_same() -> None:
    (first, _) = runs(PLAIN)

    assert first.run.weights == {"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25}


# --- zip ----------------------------------------------------------------------------------


def test_zipped_axes_advance_together() -> None:
    assert places(PLAIN + "params: {seed: [1, 2]}\nzip: [[video, seed]]\n") == [
        "golden/pier-default-seed1",
        "golden/street-default-seed2",
    ]


def test_two_zips_are_multiplied() -> None:
    body = PLAIN + WEIGHTS + "params: {seed: [1, 2], num_steps: [10, 20]}\n"

    made = runs(body + "zip: [[video, seed], [weights, num_steps]]\n")

    assert params(made, "seed", "num_steps") == [(1, 10), (1, 20), (2, 10), (2, 20)]
    assert [each.label.split("-")[:2] for each in made[:2]] == [["pier", "even"], ["pier", "edges"]]


def test_a_zipped_variable_that_a_prompt_does_not_use_leaves_the_rest_of_the_zip() -> None:
    body = "prompts: {storm: 'A {weather} pier', golden: A pier}\n"
    body += "variables: {weather: [rain, snow]}\nparams: {seed: [1, 2]}\nzip: [[weather, seed]]\n"

    made = [each.place for each in runs(body) if "pier" in each.label]

    assert made == [
        "storm/pier-rain-default-seed1",
        "storm/pier-snow-default-seed2",
        "golden/pier-default-seed1",
        "golden/pier-default-seed2",
    ]


def test_an_unused_variable_does_not_repeat_the_values_that_it_is_zipped_with() -> None:
    body = "prompts: {storm: 'A {weather} pier', golden: A pier}\n"
    body += "variables: {weather: [rain, snow, fog]}\nparams: {seed: [1, 2, 1]}\n"

    made, found = expanded(parsed(body + "zip: [[weather, seed]]\n"))

    golden = tuple(each for each in made.runs if each.prompt == "golden" and "pier" in each.label)
    assert params(golden, "seed") == [(1,), (2,)]
    assert found == ()


def test_variables_zipped_with_each_other_vanish_where_no_one_uses_them() -> None:
    assert len(runs(STORM + SKY + "zip: [[weather, light]]\n")) == (2 + 1) * 2


def test_a_zipped_video_is_still_restricted_to_the_videos_of_the_prompt() -> None:
    body = "prompts: {golden: {text: A pier, videos: [street]}}\nparams: {seed: [1, 2]}\n"

    made = runs(body + "zip: [[video, seed]]\n")

    assert params(made, "seed") == [(2,)]


def test_prompts_can_be_zipped() -> None:
    body = "prompts: {golden: A pier, storm: A storm}\nparams: {seed: [1, 2]}\n"

    made = runs(body + "zip: [[prompt, video, seed]]\n")

    assert [each.place for each in made] == ["golden/default", "storm/default"]
    assert params(made, "seed") == [(1,), (2,)]


def test_zipped_axes_of_unequal_length_are_one_error_that_names_both() -> None:
    body = "prompts: {golden: A pier, storm: A storm}\nparams: {seed: [1, 2, 3]}\n"
    body += "zip: [[video, seed]]\n"

    found = problems(body, videos="videos: {glob: 'inputs/*'}\n")

    assert [each.code for each in found] == ["zip-length"]
    assert "`video` has 2" in found[0].message
    assert "`seed` has 3" in found[0].message


# --- exclude ------------------------------------------------------------------------------


def test_an_exclude_matches_partially() -> None:
    body = PLAIN + WEIGHTS + "exclude: [{video: pier, weights: edges}]\n"

    assert places(body) == ["golden/pier-even", "golden/street-even", "golden/street-edges"]


def test_an_exclude_takes_lists_and_each_entry_counts() -> None:
    body = PLAIN + "params: {seed: [1, 2, 3, 4]}\n"
    body += "exclude: [{seed: [1, 2], video: [pier, street]}, {video: street, seed: 4.0}]\n"

    assert places(body) == [
        "golden/pier-default-seed3",
        "golden/pier-default-seed4",
        "golden/street-default-seed3",
    ]


def test_an_exclude_by_a_variable_leaves_prompts_without_it() -> None:
    made = runs(STORM + SKY + "exclude: [{weather: rain}, {weather: snow, light: dusk}]\n")

    assert [each.place for each in made if "pier" in each.label] == [
        "storm/pier-snow-dawn-default",
        "golden/pier-default",
    ]


def test_an_exclude_that_matches_nothing_is_a_warning_at_its_place() -> None:
    body = PLAIN + "params: {seed: [1, 2]}\nexclude:\n- {seed: 1}\n- {seed: 1, video: pier}\n"
    body += "- {seed: 3}\n"

    _, found = expanded(parsed(body))

    assert [each.code for each in found] == ["exclude-nothing"]
    assert found[0].severity is Severity.WARNING
    assert found[0].source.strip() == "- {seed: 3}"


def test_a_job_that_excludes_everything_is_an_error() -> None:
    assert [each.code for each in problems(PLAIN + "exclude: [{prompt: golden}]\n")] == ["no-runs"]


# --- include ------------------------------------------------------------------------------


def test_an_include_adds_one_combination_after_the_product() -> None:
    body = PLAIN + WEIGHTS + "params: {seed: [1, 2]}\nexclude: [{seed: 2}]\n"

    made = runs(body + "include: [{prompt: golden, video: pier, weights: edges, seed: 2}]\n")

    assert len(made) == 5
    assert made[-1].place == "golden/pier-edges-seed2"


def test_an_include_with_weights_of_its_own_gets_a_label_of_its_own() -> None:
    made = runs(
        PLAIN + "include: [{prompt: golden, video: pier, weights: {edge: 1.0, vis: 0.5}}]\n"
    )

    assert made[-1].label == "pier-vis0.5_edge1"
    assert made[-1].run.weights == {"vis": 0.5, "edge": 1}


def test_an_include_takes_single_values_of_the_file_and_defaults_of_the_engine() -> None:
    body = "prompts: {storm: 'A {weather} pier'}\nvariables: {weather: [rain]}\n"
    body += "params: {guidance: 7, seed: [1, 2]}\n"

    made = runs(body + "include: [{prompt: storm, video: pier, num_steps: 50}]\n")

    assert made[-1].run.weights == made[0].run.weights
    assert params(made[-1:], "guidance", "seed", "num_steps") == [(7, 2025, 50)]
    assert made[-1].label == "pier-default-num_steps50"


def test_an_include_may_take_a_video_that_its_prompt_does_not() -> None:
    body = "prompts: {golden: {text: A pier, videos: [pier]}}\n"

    made = runs(body + "include: [{prompt: golden, video: street}]\n")

    assert [each.label for each in made] == ["pier-default", "street-default"]


def test_an_incomplete_include_is_an_error_that_names_what_is_missing() -> None:
    body = STORM + SKY + WEIGHTS

    found = problems(body + "include: [{prompt: storm, light: dawn}, {prompt: golden}]\n")

    assert [each.code for each in found] == ["incomplete-include"] * 2
    assert "`video`, `weather`, `weights`" in found[0].message
    assert "`video`, `weights`" in found[1].message


def test_an_include_of_an_unknown_video_is_an_error() -> None:
    found = problems(
        PLAIN + "include: [{prompt: golden, video: peer}]\n", videos="videos: {glob: 'inputs/*'}\n"
    )

    assert [each.message for each in found] == ["unknown video `peer`"]
    assert "pier, street" in found[0].hint


def test_an_include_may_give_a_variable_that_is_an_empty_text() -> None:
    made = runs(STORM + SKY + "include: [{prompt: storm, video: pier, weather: '', light: noon}]\n")

    assert made[-1].label == "pier-_-noon-default"


# --- sample -------------------------------------------------------------------------------

MANY = PLAIN + "params: {seed: {start: 1, stop: 50, step: 1}}\n"


def test_a_sample_is_reproducible_and_keeps_the_order() -> None:
    every = places(MANY)

    first, again = (places(MANY + "sample: {count: 10, seed: 7}\n") for _ in range(2))

    assert first == again
    assert len(first) == 10
    assert first == [place for place in every if place in first]
    assert first != places(MANY + "sample: {count: 10, seed: 8}\n")


def test_a_sample_as_large_as_the_job_is_the_job() -> None:
    assert places(MANY + "sample: {count: 100}\n") == places(MANY)


def test_a_sample_is_drawn_last() -> None:
    body = MANY + "exclude: [{video: pier}]\nsample: {count: 50}\n"
    body += "include: [{prompt: golden, video: pier, seed: 99}]\n"

    made = runs(body)

    assert len(made) == 50
    assert {each.run.params["seed"] for each in made} <= {*range(1, 51), 99}


# --- doubles ------------------------------------------------------------------------------


def test_combinations_that_make_the_same_run_are_one_run_with_a_warning() -> None:
    body = PLAIN + "weights: {a: {edge: 0.5}, b: {edge: 0.50, vis: 0}, c: {edge: 0.6}}\n"

    expansion, found = expanded(parsed(body))

    assert [each.label for each in expansion.runs] == ["pier-a", "pier-c", "street-a", "street-c"]
    assert [each.code for each in found] == ["same-run"]
    assert found[0].message.startswith("2 combinations make the same run as another")


def test_prompts_of_the_same_text_are_one_prompt() -> None:
    assert warnings("prompts: {a: A pier, b: 'A pier '}\n") == ["same-run"]


def test_zipped_rows_that_repeat_are_told() -> None:
    body = PLAIN + "params: {seed: [1, 1], num_steps: [9, 9]}\nzip: [[seed, num_steps]]\n"

    assert warnings(body) == ["same-run"]


def test_two_jobs_that_ask_for_the_same_run_agree_on_its_id() -> None:
    one, other = (runs(PLAIN, name=name) for name in ("one", "other"))

    assert [each.run for each in one] == [each.run for each in other]
    assert {each.job for each in (*one, *other)} == {"one", "other"}


# --- size ---------------------------------------------------------------------------------


def test_too_many_runs_are_counted_and_never_made() -> None:
    axis = "[" + ", ".join(f"w{n}" for n in range(1000)) + "]"
    names = [f"v{n}" for n in range(10)]
    body = f"prompts: {{p: '{' '.join(f'{{{name}}}' for name in names)}'}}\n"
    body += "variables:\n" + "".join(f"  {name}: {axis}\n" for name in names)
    job = parsed(body, videos="videos: {pier: a}\n")
    began = time.process_time()

    expansion, found = expand.expand(job, inputs(["pier"]), PREVIEW)

    assert time.process_time() - began < 2
    assert expansion is None
    assert [each.code for each in found] == ["too-many-runs"]
    assert f"{1000**10:,} combinations" in found[0].message
    assert "1000 v0 × 1000 v1" in found[0].hint


def test_ten_thousand_prompts_take_seconds_not_minutes() -> None:
    body = "prompts:\n" + "".join(f"  p{n}: A pier, {n}\n" for n in range(10_000))
    job = parsed(body, videos="videos: {pier: a}\n")
    began = time.process_time()

    expansion, _ = expanded(job, inputs(["pier"]))

    assert time.process_time() - began < 10
    assert len(expansion.runs) == 10_000


# --- what only the files tell -------------------------------------------------------------


def test_names_are_checked_against_the_files_of_a_glob() -> None:
    body = "prompts: {golden: {text: A pier, videos: [pier, peer]}}\nexclude: [{video: road}]\n"

    found = problems(body, videos="videos: {glob: 'inputs/*'}\n")

    assert [each.message for each in found] == ["unknown video `peer`", "unknown video `road`"]


def test_the_variables_of_a_prompt_file_are_checked() -> None:
    files = inputs(texts={"a.txt": "A {wether} pier", "b.txt": "A {pier"})

    found = problems("prompts: {a: {file: a.txt}, b: {file: b.txt}}\n", files)

    assert [each.code for each in found] == ["unknown-variable", "bad-placeholder"]


def test_a_prompt_file_multiplies_by_its_variables() -> None:
    job = parsed("prompts: {a: {file: a.txt}}\nvariables: {w: [rain, snow]}\n")

    expansion, _ = expanded(job, inputs(["pier"], {"a.txt": "A {w} pier"}))

    assert [each.prompt.text for each in expansion.prompts.values()] == [
        "A rain pier",
        "A snow pier",
    ]


def test_a_prompt_that_its_variables_leave_empty_is_an_error() -> None:
    found = problems("prompts: {a: '{w}'}\nvariables: {w: ['', x]}\n", inputs(["pier"]))

    assert [each.code for each in found] == ["empty-prompt"]


# --- labels -------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_labels_are_unique_and_usable_as_file_names(words: list[str]) -> None:
    job = replace(
        parsed("prompts: {p: 'A {w}'}\nvariables: {w: [x]}\n"), variables={"w": tuple(words)}
    )

    expansion, _ = expanded(job)

    labels = [each.label for each in expansion.runs]
    assert len({label.casefold() for label in labels}) == len(labels)
    for label in labels:
        assert len(f"{label}.mp4".encode()) <= 255
        assert label[0] not in ".-"
        assert all(char.isalnum() or char in "._-" for char in label)


def test_labels_show_what_varies_only() -> None:
    assert places(PLAIN + "params: {seed: 1, num_steps: [10, 20]}\nexclude: [{video: pier}]\n") == [
        "golden/street-default-num_steps10",
        "golden/street-default-num_steps20",
    ]


# --- what controls have each, and files -----------------------------------------------------

MASKS = {
    "masks/pier.mp4": file("pier mask", "masks/pier.mp4"),
    "masks/street.mp4": file("street mask", "masks/street.mp4"),
    "copy/pier.mp4": file("pier mask", "copy/pier.mp4"),
    "masks/short.mp4": file("short mask", "masks/short.mp4", frames=60),
}
BY_VIDEO = (
    "params: {masks: {edge: [masks/pier.mp4, masks/street.mp4]}}\nzip: [[video, masks.edge]]\n"
)


def transfer(
    body: str, files: JobInputs | None = None, contract: Contract = TRANSFER25
) -> Expansion:
    job = parsed(f"engine: {contract.engine}\n" + PLAIN + body)
    return expanded(job, files or inputs(files=MASKS), contract)[0]


def test_zipped_masks_go_with_their_video_by_content() -> None:
    made = transfer(BY_VIDEO).runs

    assert params(made, "masks.edge", "masks.vis") == [
        (MASKS["masks/pier.mp4"].sha256, None),
        (MASKS["masks/street.mp4"].sha256, None),
    ]
    assert [each.files for each in made] == [
        {"masks.edge": MASKS["masks/pier.mp4"]},
        {"masks.edge": MASKS["masks/street.mp4"]},
    ]


def test_a_file_is_known_by_its_content_wherever_it_is() -> None:
    here, there = (
        transfer(f"params: {{masks: {{edge: {path}}}}}\n").runs
        for path in ("masks/pier.mp4", "copy/pier.mp4")
    )

    assert [each.run for each in here] == [each.run for each in there]


def test_labels_show_files_by_their_stem() -> None:
    made = transfer("params: {masks: {edge: [null, masks/pier.mp4]}}\n").runs

    assert [each.label for each in made[:2]] == [
        "pier-default-masks.edgeNone",
        "pier-default-masks.edgepier",
    ]


def test_parameters_of_controls_are_excluded_and_included_by_their_dotted_name() -> None:
    body = (
        "params: {masks: {edge: [masks/pier.mp4, masks/street.mp4]}, mask_prompt: {seg: [a, b]}}\n"
    )
    body += "exclude: [{masks.edge: masks/street.mp4}, {mask_prompt.seg: b, video: pier}]\n"
    body += "include: [{prompt: golden, video: pier, masks.edge: copy/pier.mp4}]\n"

    made = transfer(body).runs

    pier, street = MASKS["masks/pier.mp4"].sha256, [each.label for each in made[1:3]]
    assert params(made, "masks.edge", "mask_prompt.seg") == [
        (pier, "a"),
        (pier, "a"),
        (pier, "b"),
        (pier, None),
    ]
    assert all(label.startswith("street") for label in street)


def masks_compared(mask: str, more: str = "") -> list[tuple[str, str]]:
    body = f"engine: transfer2.5\n{PLAIN}params:\n  masks: {{edge: [{mask}]}}\n{more}"
    _, found = expanded(parsed(body), inputs(files=MASKS), TRANSFER25)
    return [(each.code, each.message) for each in found]


def test_a_mask_with_other_frames_than_its_video_is_a_warning_for_each_video() -> None:
    found = masks_compared("masks/pier.mp4, masks/short.mp4", "  seed: [1, 2]\n")

    assert found == [
        ("mask-frames", "`short.mp4` has 60 frames, but the video `pier` has 121 frames"),
        ("mask-frames", "`short.mp4` has 60 frames, but the video `street` has 121 frames"),
    ]


def test_a_mask_needs_the_frames_that_are_used_only() -> None:
    assert masks_compared("masks/short.mp4", "  max_frames: 60\n") == []


# --- images -------------------------------------------------------------------------------

MOTH = file("moth", "moths/1.PNG", frames=1, fps=25)
MOTHS = JobInputs({"moth": {"color": MOTH}, "pier": {"color": file("pier")}}, {})


@pytest.mark.parametrize("contract", [PREVIEW, TRANSFER25], ids=lambda one: one.engine)
def test_images_are_inputs_of_some_engines(contract: Contract) -> None:
    assert len(transfer("", MOTHS, contract).runs) == 2


@pytest.mark.parametrize("engine", ["transfer1", "cosmos3"])
def test_images_are_refused_for_engines_that_take_none(engine: str) -> None:
    body, videos = f"engine: {engine}\n" + PLAIN, "videos:\n  moth: m\n  pier: p\n"

    (found,) = problems(body, MOTHS, videos, schema.contract(engine))

    assert found.code == "image-input"
    assert found.source == "  moth: m"
    assert found.message == f"engine {engine} takes no images, and the video `moth` is one"
    assert "`preview` and `transfer2.5`" in found.hint


def test_images_of_a_glob_are_refused_once() -> None:
    moths = JobInputs({name: {"color": MOTH} for name in ("a", "b", "c")}, {})
    body = "engine: transfer1\n" + PLAIN

    (found,) = problems(body, moths, "videos: {glob: 'moths/*'}\n", TRANSFER1)

    assert found.message.endswith("the video `a` is one, and 2 more of the glob")


# --- regions ------------------------------------------------------------------------------


def test_regions_are_one_parameter_in_canonical_json_for_all_runs() -> None:
    body = "regions:\n- {prompt: a car, box: [0, 0.250, 1.0, 1]}\n- {prompt: b, mask_prompt: c}\n"

    made = transfer(body + "params: {seed: [1, 2]}\n", contract=TRANSFER1).runs

    (regions,) = {each.run.params["regions"] for each in made}
    assert regions == ('[{"box":[0,0.25,1,1],"prompt":"a car"},{"mask_prompt":"c","prompt":"b"}]')
    assert len({each.run.id for each in made}) == 4


# --- upscale ------------------------------------------------------------------------------


def test_every_run_is_followed_by_one_that_upscales_its_output() -> None:
    made = transfer("params: {seed: [1, 2]}\nupscale: {weight: 0.7}\n")

    first, larger = made.runs[:2]
    source = made.prompts[larger.run.prompt_id]
    assert [each.after for each in made.runs[::2]] == [""] * 4
    assert [each.after for each in made.runs[1::2]] == [each.run.id for each in made.runs[::2]]
    assert larger.place == f"{first.place}-4k"
    assert larger.run == identity.run(
        identity.prompt("A pier at golden hour", "", {"run": first.run.id}).id,
        TRANSFER1,
        {},
        {"upscale": 0.7, "num_steps": 10, "fps": 30},
    )
    assert source.prompt.inputs == {"run": first.run.id}
    assert source.files == made.prompts[first.run.prompt_id].files


def test_what_an_upscaler_works_on_has_the_frames_and_fps_of_the_output() -> None:
    files = JobInputs({"pier": {"color": file("pier", fps=29.97)}}, {})

    made = transfer("params: {max_frames: 93}\nupscale: true\n", files)

    color = made.prompts[made.runs[1].run.prompt_id].files["color"]
    assert (color.frames, color.fps) == (93, 29.0)


def test_an_upscaler_has_a_prompt_of_its_own_where_one_is_given() -> None:
    made = transfer("upscale: {prompt: fine detail}\n")

    assert made.prompts[made.runs[1].run.prompt_id].prompt.text == "fine detail"


@pytest.mark.parametrize(
    ("engine", "params", "fps"),
    [
        ("transfer1", "", 24),
        ("transfer1", "params: {fps: 30}\n", 30),
        ("cosmos3", "", 30),
        ("cosmos3", "params: {fps: 12}\n", 30),
        ("transfer2.5", "", 29),  # it cuts
    ],
)
def test_an_upscaler_keeps_the_frame_rate_of_its_source(engine: str, params: str, fps: int) -> None:
    files = JobInputs({"pier": {"color": file("pier", fps=29.97)}}, {})

    made = transfer(params + "upscale: true\n", files, schema.contract(engine)).runs

    assert made[1].run.engine == "transfer1"
    assert made[1].run.params["fps"] == fps


def test_a_preview_job_is_upscaled_by_preview() -> None:
    made = runs(PLAIN + "upscale: true\n")

    assert [each.label for each in made[:2]] == ["pier-default", "pier-default-4k"]
    assert made[1].run.engine == "preview"
    assert (made[1].run.params["upscale"], made[1].run.weights) == (0.5, {})


def test_labels_of_upscaled_runs_are_unique() -> None:
    made = runs(PLAIN + "weights: {a: {vis: 1}, a-4k: {edge: 1}}\nupscale: true\n")

    labels = [each.label for each in made]
    assert len(set(labels)) == len(labels) == 8


@pytest.mark.parametrize(
    ("body", "files"),
    [("", MOTHS), ("params: {max_frames: [10, 1]}\n", None)],
    ids=["input", "first frame"],
)
def test_images_are_not_upscaled(body: str, files: JobInputs | None) -> None:
    (found,) = problems(PLAIN + body + "upscale: true\n", files)

    assert found.code == "image-upscale"
    assert found.source == "upscale: true"


# --- preview ------------------------------------------------------------------------------

TRANSFER = "engine: transfer2.5\n" + PLAIN


def test_any_job_can_be_previewed() -> None:
    job = parsed(TRANSFER + "params: {seed: [1, 2]}\n")
    expansion, _ = expanded(job, contract=schema.contract("transfer2.5"))

    shown = previewed(expansion, schema.contract("transfer2.5"), PREVIEW, "x.preview")

    assert [each.place for each in shown.runs] == [each.place for each in expansion.runs]
    assert {each.run.engine for each in shown.runs} == {"preview"}
    assert {each.job for each in shown.runs} == {"x.preview"}
    assert params(shown.runs, "seed") == [(1,), (2,), (1,), (2,)]
    assert {each.run.params["note"] for each in shown.runs} == {"transfer2.5"}


def test_a_preview_notes_what_differs_from_the_engines_defaults() -> None:
    original = schema.contract("transfer2.5")
    expansion, _ = expanded(parsed(TRANSFER + "params: {sigma_max: 80}\n"), contract=original)

    shown = previewed(expansion, original, PREVIEW, "x.preview")

    assert {each.run.params["note"] for each in shown.runs} == {"transfer2.5: sigma_max 80"}


def test_a_preview_notes_files_by_their_names_and_counts_regions() -> None:
    masked = transfer("params: {masks: {edge: masks/pier.mp4}}\n")
    parts = transfer("regions: [{prompt: a, mask_prompt: b}]\n", contract=TRANSFER1)

    shown = (
        previewed(masked, TRANSFER25, PREVIEW, "x.preview"),
        previewed(parts, TRANSFER1, PREVIEW, "x.preview"),
    )

    notes = [{each.run.params["note"] for each in one.runs} for one in shown]
    assert notes == [{"transfer2.5: masks.edge pier.mp4"}, {"transfer1: regions 1"}]
    assert all(not each.files for one in shown for each in one.runs)


def test_a_preview_of_an_upscaled_job_upscales_its_previews() -> None:
    expansion = transfer("upscale: {weight: 0.7}\nparams: {sigma_max: [80, 90]}\n")

    shown = previewed(expansion, TRANSFER25, PREVIEW, "x.preview")

    first, larger = shown.runs[:2]
    assert [each.place for each in shown.runs] == [each.place for each in expansion.runs]
    assert (larger.run.engine, larger.run.params["upscale"]) == ("preview", 0.7)
    assert larger.after == first.run.id
    assert shown.prompts[larger.run.prompt_id].prompt.inputs == {"run": first.run.id}
    assert {each.run.prompt_id for each in shown.runs} == set(shown.prompts)
    assert larger.run.params["note"] == "transfer1: fps 30"


def test_nothing_is_made_of_a_job_without_videos() -> None:
    expansion, found = expand.expand(parsed(PLAIN), JobInputs({}, {}), PREVIEW)

    assert expansion is None
    assert [each.severity for each in found] == [Severity.ERROR]


@pytest.mark.parametrize("value", ["true", "'1'"])
def test_texts_that_look_like_values_are_texts(value: str) -> None:
    (first, _) = runs(f"prompts: {{p: 'A {{w}}'}}\nvariables: {{w: {value}}}\n")

    assert first.label == "pier-default"
