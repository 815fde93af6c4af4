"""The adapter of Transfer1: exact specs and command lines, and what a batch's files say."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.run import CONTROLS, InputFile, Prompt, Run, Scalar
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.serialize import ASKED, Asked
from cosmos_jobs.engines.transfer1 import Transfer1Engine
from cosmos_jobs.errors import EngineError
from tests.conftest import Golden

ENGINE = Transfer1Engine()
DEFAULTS = schema.contract("transfer1").defaults
GOLDEN = Path(__file__).parents[1] / "golden" / "engines" / "transfer1"
STAND_IN = Path(__file__).parents[2] / "fakes" / "models" / "cosmos-transfer1"
SETUP = Setup("/venv/bin/python", "/root/cache", "/root/batches/ba_1", "/opt/cosmos-transfer1")
TEXT = "A pier at golden hour"
EDGE = {"edge": 1.0}
COLOR = "/root/inputs/aa.mp4"
MAPS = {"vis": "/root/inputs/vis.mp4", "edge": "/root/inputs/edge.mp4"}
BOX = '[{"prompt": "a red car", "box": [0.1, 0.2, 0.5, 0.9]}]'
MASK = '[{"prompt": "a red car", "mask_prompt": "car"}]'


def run(number: int = 0, weights: Mapping[str, float] = EDGE, **params: Scalar) -> Run:
    """Return a run; `__` in a parameter's name is its dot."""
    named = {name.replace("__", "."): value for name, value in params.items()}
    return Run(f"rs_{number:016x}", "ps_1", "transfer1", 1, weights, {**DEFAULTS, **named})


def prompt(text: str = TEXT, negative: str = "", color: str = "a") -> Prompt:
    return Prompt("ps_1", text, negative, {"color": color * 64})


def task(
    given: Run,
    text: str = TEXT,
    negative: str = "",
    inputs: Mapping[str, str] | None = None,
    **files: str,
) -> Task:
    named = {name.replace("__", "."): path for name, path in files.items()}
    return Task(given, prompt(text, negative), {"color": COLOR, **(inputs or {})}, named)


def file(frames: int = 121, fps: float = 24.0) -> InputFile:
    return InputFile(Path("pier/color.mp4"), "a" * 64, 1000, frames, 1280, 720, fps)


def spec(given: Task) -> dict[str, Any]:
    return dict(json.loads(ENGINE.command([given], SETUP).files["spec.json"]))


def line(given: Task) -> dict[str, Any]:
    """Return the only line of the batch of one task."""
    (only,) = ENGINE.command([given], SETUP).files["batch.jsonl"].decode().splitlines()
    return dict(json.loads(only))


def override(given: Task, control: str) -> dict[str, Any]:
    return dict(line(given)["control_overrides"][control])


# --- commands -----------------------------------------------------------------------------

SWEEP = [
    task(run(n, {"vis": 0.25, "edge": weight}, seed=7), f"{TEXT} {n}", "rain", MAPS)
    for n, weight in enumerate((0.5, 0.75, 1))
]
PLACED = [
    task(
        run(
            0,
            {"edge": 0.5, "seg": 0.75},
            weight_map__edge="b" * 64,
            mask_prompt__seg="the road",
            control_prompt__seg="person. car. road",
        ),
        inputs={"edge": MAPS["edge"]},
        weight_map__edge="/root/inputs/bb.pt",
    )
]
CASES: Mapping[str, tuple[Sequence[Task], Setup]] = {
    "sweep": (SWEEP, SETUP),
    "native": (
        [task(run(0, dict.fromkeys(CONTROLS, 0.25), controls="native", blur_strength="high"))],
        SETUP,
    ),
    "placed": (PLACED, SETUP),
    "regions": ([task(run(regions=f"[{BOX[1:-1]}, {MASK[1:-1]}]"), inputs=MAPS)], SETUP),
    "distilled": ([task(run(distilled=True, num_steps=1), inputs=MAPS)], SETUP),
    "upscale": ([task(run(0, {}, upscale=0.5, num_steps=10, fps=30))], SETUP),
    "two-gpus": ([task(run(), inputs=MAPS)], replace(SETUP, gpus=2)),
}


@pytest.mark.parametrize("name", CASES)
def test_specs_batches_and_command_lines_are_exact(name: str, golden: Golden) -> None:
    tasks, setup = CASES[name]

    made = ENGINE.command(tasks, setup)

    words = [*(f"{key}={value}" for key, value in made.env.items()), *made.argv]
    golden(GOLDEN / f"{name}.sh", f"cd {shlex.quote(made.cwd)}\n{shlex.join(words)}\n")
    assert made.files.keys() == {"spec.json", "batch.jsonl"}
    for file_name, content in made.files.items():
        golden(GOLDEN / f"{name}.{file_name}", content.decode())


def test_a_weight_goes_to_the_line_of_its_run() -> None:
    lines = ENGINE.command(SWEEP, SETUP).files["batch.jsonl"].decode().splitlines()

    overrides = [json.loads(each)["control_overrides"]["edge"] for each in lines]
    assert [each["control_weight"] for each in overrides] == [0.5, 0.75, 1.0]


def test_no_line_of_a_batch_is_blank_and_a_prompt_of_many_lines_is_one() -> None:
    texts = ["one\ntwo", "three\r\nfour", "five\u2028six\x85seven", "acht—neun 海"]
    content = ENGINE.command([task(run(), text) for text in texts], SETUP).files[
        SafePath("batch.jsonl")
    ]

    lines = content.decode("ascii").split("\n")
    assert lines.pop() == ""
    assert [json.loads(each)["prompt"] for each in lines] == texts


def test_fact_4_a_map_that_we_computed_is_given_to_the_model() -> None:
    assert override(task(run(), inputs=MAPS), "edge")["input_control"] == MAPS["edge"]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_without_a_file_is_left_to_the_model(control: str) -> None:
    assert override(task(run(0, {control: 0.5})), control)["input_control"] is None


def test_seg_takes_the_file_of_the_segmentation() -> None:
    with_file = task(run(0, {"seg": 1}), inputs={"segmentation": "/root/inputs/s.mp4"})

    assert override(with_file, "seg")["input_control"] == "/root/inputs/s.mp4"


def test_fact_5_weights_by_a_prompt_are_asked_for_seg_alone() -> None:
    everything = PLACED[0]

    assert override(everything, "seg")["control_weight_prompt"] == "the road"
    assert override(everything, "seg")["input_control_prompt"] == "person. car. road"
    assert "control_weight_prompt" not in override(everything, "edge")


def test_a_prompt_that_is_not_given_is_not_null_either() -> None:
    # The model splits what stands there into words, null too.
    assert override(task(run(0, {"seg": 1})), "seg").keys() == {"control_weight", "input_control"}


def test_a_map_of_weights_takes_the_place_of_the_weight() -> None:
    assert override(PLACED[0], "edge")["control_weight"] == "/root/inputs/bb.pt"


def test_without_negative_text_the_model_has_its_own() -> None:
    assert "negative_prompt" not in spec(task(run()))
    assert spec(task(run(), negative="--no rain"))["negative_prompt"] == "--no rain"


def test_fact_13_the_spec_has_a_video_though_each_line_has_its_own() -> None:
    assert spec(task(run()))["input_video_path"]
    assert line(task(run()))["visual_input"] == COLOR


def test_the_upscaler_works_alone_on_the_video() -> None:
    upscaled = task(run(0, {}, upscale=0.5, num_steps=10))

    assert spec(upscaled)["upscale"] == {"control_weight": 0.5}
    assert not spec(upscaled).keys() & set(CONTROLS)
    assert override(upscaled, "upscale") == {"control_weight": 0.5, "input_control": None}


def test_presets_are_told_to_the_model_only_where_it_makes_the_maps() -> None:
    both = {"vis": 0.5, "edge": 0.5}
    native = spec(task(run(0, both, controls="native", blur_strength="low")))

    assert native["blur_strength"] == "low"
    assert native["canny_threshold"] == "medium"
    assert not {"blur_strength", "canny_threshold"} & spec(task(run(0, both))).keys()


def test_without_a_checkout_nothing_can_be_run() -> None:
    with pytest.raises(EngineError, match="where cosmos-transfer1 is") as caught:
        ENGINE.command([task(run())], replace(SETUP, path=""))

    assert "cosmos-jobs.yaml" in caught.value.hint


def read(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line as the model does; SystemExit where it would not understand it."""
    parser = argparse.ArgumentParser()
    for name in ("controlnet_specs", "batch_input_path", "video_save_folder", "checkpoint_dir"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("batch_size", "num_gpus"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--use_distilled", action="store_true")
    return parser.parse_args(argv)


some_text = st.text(min_size=1, max_size=20)
some_runs = st.builds(
    lambda weights, native, seed, sigma_max, regions: run(
        0, weights, controls=native, seed=seed, sigma_max=sigma_max, regions=regions
    ),
    st.dictionaries(st.sampled_from(CONTROLS), st.sampled_from([0.01, 0.5, 1, 1.0]), min_size=1),
    st.sampled_from(["computed", "native"]),
    st.sampled_from([0, 1, 2**32 - 1]),
    st.sampled_from([70, 80.5]),
    st.sampled_from(["", BOX, MASK]),
)


@settings(max_examples=50)
@given(some_runs, some_text, st.text(max_size=20), st.integers(1, 8))
def test_fact_12_nothing_of_the_spec_is_on_the_command_line(
    drawn: Run, text: str, negative: str, gpus: int
) -> None:
    made = ENGINE.command([task(drawn, text, negative)], replace(SETUP, gpus=gpus))

    start = made.argv.index("cosmos_transfer1/diffusion/inference/transfer.py") + 1
    words = made.argv[start:]
    shared = json.loads(made.files["spec.json"])
    assert not {f"--{key}" for key in shared} & set(words)
    assert not [word for word in words if "=" in word]
    assert read(words).batch_size == 1
    assert read(words).num_gpus == gpus
    scalars = {key for key, value in shared.items() if not isinstance(value, dict)}
    assert shared.keys() - scalars == drawn.weights.keys()


KNOWN = {
    *("input_video_path", "negative_prompt", "seed", "num_steps", "guidance", "sigma_max", "fps"),
    *("blur_strength", "canny_threshold", "regional_prompts"),
}
"""What `transfer.py` reads of a spec beside its hints; it takes any other key without a word."""


@settings(max_examples=50)
@given(some_runs)
def test_fact_6_the_model_knows_every_key_that_we_give(drawn: Run) -> None:
    given_task = task(drawn, negative="rain")

    assert spec(given_task).keys() - set(CONTROLS) <= KNOWN
    hint = {"control_weight", "input_control", "input_control_prompt", "control_weight_prompt"}
    assert all(each.keys() <= hint for each in line(given_task)["control_overrides"].values())


def test_facts_19_and_20_guardrails_stay_on_and_no_prompt_is_rewritten() -> None:
    made = ENGINE.command([task(run())], SETUP)

    said = " ".join(made.argv) + made.files["spec.json"].decode()
    assert "guardrail" not in said
    assert "upsample" not in said
    guardrails = {"effective": "on: Transfer1 cannot run without them"}
    assert outcomes([0])[RUNS[0]].details["guardrails"] == guardrails


# --- batches ------------------------------------------------------------------------------


def key(given: Run, **said: str) -> str:
    return ENGINE.batch_key(given, prompt(**said))


@pytest.mark.parametrize(
    "other",
    [
        run(seed=2),
        run(num_steps=10),
        run(guidance=7),
        run(sigma_max=80),
        run(fps=30),
        run(distilled=True),
        run(regions=BOX),
        run(0, {}, upscale=0.5),
        run(0, {"vis": 1}),
        run(0, {"vis": 0.5, "edge": 0.5}),
    ],
)
def test_fact_14_what_lines_would_share_keeps_runs_apart(other: Run) -> None:
    assert key(other) != key(run())


def test_weights_prompts_and_videos_may_differ_within_a_batch() -> None:
    one = run(0, {"edge": 0.5}, weight_map__edge="b" * 64)
    other = run(1, {"edge": 1.0}, edge_threshold="low")

    assert key(one, text="a", color="a") == key(other, text="b", color="b")


def test_negative_texts_keep_runs_apart() -> None:
    assert key(run(), negative="rain") != key(run())


@pytest.mark.parametrize(
    ("weights", "preset"), [({"edge": 1}, "edge_threshold"), ({"vis": 1}, "blur_strength")]
)
def test_presets_keep_runs_apart_only_where_the_model_makes_the_maps(
    weights: Mapping[str, float], preset: str
) -> None:
    params: list[dict[str, Any]] = [{preset: each} for each in ("low", "high")]
    computed = {key(run(0, weights, **each)) for each in params}
    native = {key(run(0, weights, controls="native", **each)) for each in params}

    assert len(computed) == 1
    assert len(native) == 2


def test_masks_of_regions_are_never_taken_from_another_video() -> None:
    masked, boxed = run(regions=MASK), run(regions=BOX)

    assert key(masked, color="a") != key(masked, color="b")
    assert key(boxed, color="a") == key(boxed, color="b")


@settings(max_examples=50)
@given(some_runs, some_runs)
def test_runs_with_one_key_have_one_spec(one: Run, other: Run) -> None:
    assert (key(one) == key(other)) == (spec(task(one)) == spec(task(other)))


def test_maps_are_computed_for_edge_and_vis_with_a_weight() -> None:
    params = {"edge_threshold": "low", "blur_strength": "medium", "resolution": "720"}
    wanted = run(0, dict.fromkeys(CONTROLS, 0.25), edge_threshold="low")

    assert ENGINE.maps(wanted) == {"vis": params, "edge": params}
    assert ENGINE.maps(run(0, {"depth": 1})) == {}


@pytest.mark.parametrize("other", [run(controls="native"), run(0, {}, upscale=0.5)])
def test_no_maps_are_computed_for_a_model_that_needs_none(other: Run) -> None:
    assert ENGINE.maps(other) == {}


# --- notes --------------------------------------------------------------------------------


def notes(given: Run, color: InputFile | None = None, **files: InputFile) -> list[Note]:
    return list(ENGINE.notes(given, {"color": color or file(), **files}))


def note(given: Run, color: InputFile | None = None, **files: InputFile) -> Note:
    (only,) = notes(given, color, **files)
    return only


def test_an_ordinary_run_needs_no_note() -> None:
    assert notes(run(0, {"vis": 0.5, "edge": 0.5})) == []


def test_fact_8_weights_above_a_sum_of_1_are_shown_as_the_model_takes_them() -> None:
    said = note(run(0, {"vis": 0.8, "edge": 1, "depth": 0.2}))

    assert said.about == "weights"
    assert not said.is_error
    assert "vis 0.8 of 2 counts as 0.4, edge 1 as 0.5, depth 0.2 as 0.1" in said.message


def test_a_sum_of_1_is_not_above_it() -> None:
    assert notes(run(0, {"vis": 0.7, "edge": 0.1, "depth": 0.2})) == []


def test_weights_that_differ_by_place_are_scaled_by_place() -> None:
    said = note(run(0, {"edge": 0.1, "depth": 0.1}, weight_map__edge="b" * 64))

    assert "where they sum to more than 1" in said.message


def test_no_control_at_all_is_an_error() -> None:
    assert note(run(0, {})).is_error
    assert notes(run(0, {}, upscale=0.5)) == []


@pytest.mark.parametrize(
    "name", ["weight_map.vis", "weight_map.seg", "mask_prompt.seg", "control_prompt.seg"]
)
def test_what_is_said_of_a_control_without_a_weight_is_an_error(name: str) -> None:
    params: dict[str, Any] = {name: "x"}

    said = note(run(**params))

    assert said.is_error
    assert said.about == name
    assert name in said.hint


def test_seg_has_weights_from_one_place() -> None:
    said = note(run(0, {"seg": 1}, weight_map__seg="b" * 64, mask_prompt__seg="the road"))

    assert said.is_error
    assert said.about == "mask_prompt.seg"


def test_a_control_prompt_is_idle_where_the_video_has_its_segmentation() -> None:
    prompted = run(0, {"seg": 1}, control_prompt__seg="road")

    assert "does nothing" in note(prompted, segmentation=file()).message
    assert notes(prompted) == []


def test_facts_4_and_8_maps_of_the_model_are_random() -> None:
    native = run(0, {"vis": 0.5, "edge": 0.5}, controls="native")

    said = note(native)
    assert said.about == "controls"
    assert "vis and edge with thresholds that it draws at random" in said.message
    assert "edge_threshold does nothing" in said.message
    assert notes(native, edge=file(), vis=file()) == []
    assert "vis with" in note(native, edge=file()).message


@pytest.mark.parametrize(
    "other",
    [run(0, {"vis": 1}, distilled=True), run(0, {"edge": 0.5, "vis": 0.5}, distilled=True)],
)
def test_the_distilled_model_takes_edge_alone(other: Run) -> None:
    assert note(other).is_error
    assert note(other).about == "distilled"
    assert notes(run(distilled=True)) == []


def test_the_distilled_model_knows_no_regions() -> None:
    assert note(run(distilled=True, regions=BOX)).is_error


def test_a_region_that_is_not_found_would_give_its_prompt_to_the_next() -> None:
    two = run(regions=f"[{BOX[1:-1]}, {MASK[1:-1]}]")

    assert "goes to the next region" in note(two).message
    assert notes(run(regions=MASK)) == []
    assert notes(run(regions=BOX), file(frames=500)) == []


def test_masks_of_regions_are_made_for_one_clip() -> None:
    assert "fit videos of 121 frames" in note(run(regions=MASK), file(frames=122)).message


@pytest.mark.parametrize(
    ("fps", "told"), [(30, "1.25 times slower"), (12, "2 times faster"), (0.4, "60 times faster")]
)
def test_fact_18_another_frame_rate_than_the_inputs_is_told(fps: float, told: str) -> None:
    said = note(run(), file(fps=fps))

    assert said.about == "fps"
    assert told in said.message


@pytest.mark.parametrize("color", [file(fps=23.976), file(fps=0), file(frames=1, fps=25)])
def test_a_frame_rate_that_is_the_inputs_or_none_is_no_matter(color: InputFile) -> None:
    assert notes(run(), color) == []


def test_a_video_that_is_too_long_is_an_error() -> None:
    assert note(run(), file(frames=5001)).is_error
    assert notes(run(), file(frames=5000)) == []


def test_from_a_sigma_max_of_80_the_input_is_ignored() -> None:
    assert note(run(sigma_max=80)).about == "sigma_max"
    assert notes(run(sigma_max=79.9)) == []


def test_notes_can_be_had_without_a_video() -> None:
    assert list(ENGINE.notes(run(), {})) == []


# --- outcomes -----------------------------------------------------------------------------

RUNS = [run(n).id for n in range(4)]
PROMPTS = {each: f"{TEXT} {each}" for each in RUNS}
BATCH = Batch("ba_1", "transfer1", "h100", tuple(RUNS))
REFUSED = "[CRITICAL] Guardrail blocked generation for entire batch.\n"
TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "transfer.py", line 401, in demo\n'
    "    videos, final_prompts = batch_outputs\n"
    "    ^^^^^^^^^^^^^^^^^^^^^\n"
    "TypeError: cannot unpack non-iterable NoneType object\n"
)


def outcomes(
    made: Sequence[int] = (),
    life: Life = Life.EXITED,
    code: int | None = 1,
    log: str = "",
    side: Sequence[str] = (),
    asked: Sequence[str] = RUNS,
    said: Mapping[int, str] | None = None,
    fault: str = "",
) -> Mapping[str, Outcome]:
    """Return the outcomes of a batch that made the lines `made`; `said` are other prompt.txt."""
    prompts = {number: PROMPTS[asked[number]] for number in made} | dict(said or {})
    texts = {f"video_{number}/prompt.txt": text for number, text in prompts.items()}
    videos = [f"video_{number}/output.mp4" for number in prompts]
    texts[ASKED] = serialize.asking(Asked(each, PROMPTS[each]) for each in asked).decode()
    files = (*texts, *videos, *side)
    status = Status(life, code, files=files, log=log, fault=fault)
    return ENGINE.outcomes(BATCH, status, texts)


def states(found: Mapping[str, Outcome]) -> list[str]:
    return [str(found[each].state) if each in found else "" for each in RUNS]


def test_each_line_has_a_marker_of_its_own() -> None:
    assert ENGINE.markers(BATCH)[RUNS[2]] == ("video_2/prompt.txt",)


def test_a_run_is_made_when_its_prompt_stands_beside_its_video() -> None:
    found = outcomes([0], Life.RUNNING, None, side=("video_1/output.mp4",))

    assert states(found) == ["succeeded", "", "", ""]
    assert found[RUNS[0]].files == {"output.mp4": "video_0/output.mp4"}
    assert found[RUNS[0]].details["contract"] == "5005e823"


def test_maps_that_the_model_made_come_with_the_video() -> None:
    side = [f"video_1/{name}_input_control_{gpu}.mp4" for name in ("edge", "vis") for gpu in (1, 0)]

    made = outcomes([0, 1], side=[*side, "video_1/seg_control_weight_0.mp4"])[RUNS[1]]
    assert made.files == {
        "output.mp4": "video_1/output.mp4",
        "controls/edge.mp4": "video_1/edge_input_control_0.mp4",
        "controls/vis.mp4": "video_1/vis_input_control_0.mp4",
    }


def test_lines_are_those_that_were_asked_for_not_those_of_the_batch() -> None:
    found = outcomes([0, 1], code=0, asked=[RUNS[1], RUNS[3]])

    assert states(found) == ["pending", "succeeded", "pending", "succeeded"]
    assert found[RUNS[3]].files[SafePath("output.mp4")] == "video_1/output.mp4"


def test_fact_3_a_shifted_video_is_never_taken_for_the_runs() -> None:
    found = outcomes([0], code=0, said={1: PROMPTS[RUNS[2]], 2: PROMPTS[RUNS[3]]})

    assert states(found) == ["succeeded", "failed", "failed", "failed"]
    assert "another prompt" in found[RUNS[1]].reason
    assert not found[RUNS[1]].files


@pytest.mark.parametrize("text", ["", TEXT])
def test_a_prompt_that_is_being_written_is_waited_for(text: str) -> None:
    assert states(outcomes([0], Life.RUNNING, None, said={1: text})) == ["succeeded", "", "", ""]


def test_a_prompt_without_its_video_is_no_success() -> None:
    texts = {
        "video_0/prompt.txt": PROMPTS[RUNS[0]],
        ASKED: serialize.asking(Asked(each, PROMPTS[each]) for each in RUNS).decode(),
    }

    found = ENGINE.outcomes(BATCH, Status(Life.EXITED, 0, files=tuple(texts)), texts)
    assert states(found) == ["failed"] * 4


@pytest.mark.parametrize("log", [REFUSED, REFUSED + TRACEBACK, f"[rank7]: {TRACEBACK}"])
def test_fact_3_a_refusal_is_that_of_the_first_line_that_was_not_made(log: str) -> None:
    found = outcomes([0], log=log, side=("video_1/edge_input_control_0.mp4",))

    assert states(found) == ["succeeded", "blocked", "pending", "pending"]
    assert found[RUNS[1]].reason.startswith("a guardrail refused")


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("[CRITICAL] Input text prompt 1 is not safe\n", "the text guardrail refused the prompt"),
        ("All prompts failed safety checks\n", "the text guardrail refused the prompt"),
        ("Generated video 1 is not safe\n", "the video guardrail refused what the model made"),
    ],
)
def test_the_log_says_which_guardrail_refused(log: str, told: str) -> None:
    assert outcomes(log=log + REFUSED)[RUNS[0]].reason.startswith(told)


def test_a_refusal_says_why_where_the_model_does() -> None:
    log = f"GUARDRAIL BLOCKED: Blocklist: gore\nInput text prompt 1 is not safe\n{REFUSED}"

    reason, hint = outcomes(log=log)[RUNS[0]].reason.splitlines()
    assert reason == "the text guardrail refused the prompt: Blocklist: gore"
    assert hint == "change the prompt"


def test_a_none_that_cannot_be_unpacked_elsewhere_is_a_crash() -> None:
    log = "    a, b = pair\nTypeError: cannot unpack non-iterable NoneType object\n"

    assert states(outcomes([0], log=log)) == ["succeeded", "failed", "pending", "pending"]


def test_a_crash_is_the_fault_of_the_line_that_was_at_work() -> None:
    log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    found = outcomes([0, 1], log=log)

    assert states(found) == ["succeeded", "succeeded", "failed", "pending"]
    assert found[RUNS[2]].reason.startswith("out of memory")


@pytest.mark.parametrize(
    ("log", "side"),
    [
        ("[INFO] running preprocessor\nRuntimeError: x\n", ()),
        ("[INFO] Starting diffusion sampling\nRuntimeError: x\n", ()),
        ("RuntimeError: x\n", ("video_0/edge_input_control_0.mp4",)),
    ],
)
def test_the_first_line_shows_that_it_began_by_the_log_or_its_files(
    log: str, side: Sequence[str]
) -> None:
    assert states(outcomes(log=log, side=side)) == ["failed", "pending", "pending", "pending"]


def test_a_death_without_a_word_is_a_crash_of_the_line_at_work() -> None:
    found = outcomes([0], code=137, log="running preprocessor\n 40%|####  | 14/35\n")

    assert states(found) == ["succeeded", "failed", "pending", "pending"]
    assert found[RUNS[1]].crashed


def test_a_model_that_never_loaded_failed_for_all_and_none_is_to_blame() -> None:
    found = outcomes(log="FileNotFoundError: no checkpoints/base.pt\n")

    assert states(found) == ["failed"] * 4
    assert not any(each.crashed for each in found.values())


def test_what_the_machine_lacks_is_no_lines_fault() -> None:
    found = outcomes([0], fault="disk-full", log="running preprocessor\n")

    assert states(found) == ["succeeded", "failed", "failed", "failed"]


@pytest.mark.parametrize("life", [Life.CANCELLED, Life.GONE, Life.REFUSED, Life.ABSENT])
def test_of_a_batch_that_did_not_exit_only_files_tell(life: Life) -> None:
    assert states(outcomes([0], life, None, REFUSED)) == ["succeeded", "", "", ""]


def test_without_word_of_what_was_asked_nothing_is_taken_for_made() -> None:
    text = {"video_0/prompt.txt": TEXT}
    status = Status(Life.EXITED, 127, files=(*text, "video_0/output.mp4"))

    assert states(ENGINE.outcomes(BATCH, status, text)) == ["failed"] * 4
    assert ENGINE.outcomes(BATCH, replace(status, life=Life.RUNNING), text) == {}


@settings(max_examples=50)
@given(
    st.integers(0, 4),
    st.sampled_from([REFUSED, TRACEBACK, "running preprocessor\nRuntimeError: x\n", ""]),
    st.sampled_from([0, 1, 137]),
)
def test_every_run_of_a_batch_that_exited_has_an_outcome(made: int, log: str, code: int) -> None:
    found = outcomes(range(made), code=code, log=log)

    assert found.keys() == set(RUNS)
    assert states(found)[:made] == ["succeeded"] * made
    assert "succeeded" not in states(found)[made:]


def test_the_log_says_nothing_of_frames() -> None:
    assert ENGINE.progress("100%|###| 35/35") == 0


# --- the stand-in -------------------------------------------------------------------------


def played(folder: Path, texts: Sequence[str], **params: Scalar) -> Mapping[str, Outcome]:
    """Run a batch of edge runs on the stand-in; run n has a weight of n + 1 tenths."""
    clip = str(STAND_IN.parent / "clip.mp4")
    tasks = [
        task(run(n, {"edge": (n + 1) / 10}, **params), text, inputs={"color": clip, "edge": clip})
        for n, text in enumerate(texts)
    ]
    (folder / "out").mkdir()
    setup = Setup(sys.executable, str(folder), str(folder), str(STAND_IN))
    made = ENGINE.command(tasks, setup)
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    # The stand-ins share a module beside them.
    paths = os.pathsep.join([made.env["PYTHONPATH"], str(STAND_IN.parent)])
    ended = subprocess.run(
        made.argv,
        cwd=made.cwd,
        env={**os.environ, **made.env, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    out = folder / "out"
    files = tuple(str(each.relative_to(out)) for each in out.rglob("*") if each.is_file())
    batch = Batch("ba_1", "transfer1", "h100", tuple(each.run.id for each in tasks))
    read = {name: (out / name).read_text() for name in files if name.endswith(".txt")}
    read[ASKED] = serialize.asking(Asked(each.run.id, each.prompt.text) for each in tasks).decode()
    log = (ended.stdout + ended.stderr)[-8192:]
    return ENGINE.outcomes(batch, Status(Life.EXITED, ended.returncode, files=files, log=log), read)


def mark(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """Return what the stand-in understood, from the end of its video."""
    data = (folder / "out" / outcome.files[SafePath("output.mp4")]).read_bytes()
    return dict(json.loads(data[data.rindex(b'free{"') + 4 :]))


def test_a_sweep_on_the_stand_in_uses_the_weights_of_each_run(tmp_path: Path) -> None:
    found = played(tmp_path, [f"-{n} pier" for n in range(3)], seed=7, sigma_max=75.5)

    assert states(found)[:3] == ["succeeded"] * 3
    marks = [mark(tmp_path, each) for each in found.values()]
    assert [each["weights"] for each in marks] == [{"edge": 0.1}, {"edge": 0.2}, {"edge": 0.3}]
    assert [each["prompt"] for each in marks] == ["-0 pier", "-1 pier", "-2 pier"]
    assert {each["params"]["seed"] for each in marks} == {7}
    assert {each["params"]["sigma_max"] for each in marks} == {75.5}


@pytest.mark.parametrize("kind", ["text", "video"])
def test_a_refusal_of_the_stand_in_is_the_lines_own(tmp_path: Path, kind: str) -> None:
    found = played(tmp_path, ["a pier", f"a GUARD-{kind.upper()} pier", "a street"])

    assert states(found)[:3] == ["succeeded", "blocked", "pending"]
    assert found[RUNS[1]].reason.startswith(f"the {kind} guardrail refused")


def test_a_crash_of_the_stand_in_is_the_lines_own(tmp_path: Path) -> None:
    found = played(tmp_path, ["an OOM pier", "a street"])

    assert states(found)[:2] == ["failed", "pending"]
    assert "out of memory" in found[RUNS[0]].reason
