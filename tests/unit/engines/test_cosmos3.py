"""The adapter of Cosmos 3: exact command lines and specs, and what its files say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.serialize import ASKED, Asked
from cosmos_jobs.engines.cosmos3 import Cosmos3Engine
from cosmos_jobs.engines.preview import recipes, requests
from cosmos_jobs.engines.preview.probes import Video
from cosmos_jobs.jobs.previewed import previewed
from tests.conftest import Golden
from tests.support.examples import PLAIN, PREVIEW, expanded, parsed

ENGINE = Cosmos3Engine()
DEFAULTS = schema.contract("cosmos3").defaults
GOLDEN = Path(__file__).parents[1] / "golden" / "engines" / "cosmos3"
STAND_IN = Path(__file__).parents[2] / "fakes" / "models" / "cosmos-framework"
SETUP = Setup("/venv/bin/python", "/root/cache", "/root/batches/ba_1", "/opt/cosmos-framework")
TEXT = "A pier at golden hour"
EDGE = {"edge": 1.0}
ALL = {"vis": 0.25, "edge": 0.5, "depth": 0.5, "seg": 0.75}
COLOR = "/root/inputs/aa.mp4"
FILES = {role: f"/root/inputs/{role}.mp4" for role in ("color", "vis", "edge", "depth")} | {
    "segmentation": "/root/inputs/segmentation.mp4"
}


def run(number: int = 1, weights: Mapping[str, float] = EDGE, **params: Scalar) -> Run:
    given = {**DEFAULTS, **params}
    return Run(f"rs_{number:016x}", "ps_1", "cosmos3", 1, weights, given)


def task(given: Run, text: str = TEXT, negative: str = "", **inputs: str) -> Task:
    prompt = Prompt("ps_1", text, negative, {"color": "a" * 64})
    return Task(given, prompt, {"color": COLOR, **inputs})


def file(role: str = "color", frames: int = 121, suffix: str = ".mp4") -> InputFile:
    return InputFile(Path(f"pier/{role}{suffix}"), "a" * 64, 1000, frames, 1280, 720, 30.0)


def notes(given: Run, **files: InputFile) -> list[Note]:
    """Return what is said about a run, apart from its guardrails."""
    said = ENGINE.notes(given, {"color": file(), **files})
    return [note for note in said if note.about != "guardrails"]


def sample(given: Task) -> dict[str, Any]:
    """Return the only line of the file for one task."""
    (line,) = ENGINE.command([given], SETUP).files["batch.jsonl"].decode().splitlines()
    return dict(json.loads(line))


# --- commands -----------------------------------------------------------------------------

SINGLE = [task(run(), negative="rain", edge="/root/cache/edge.mp4")]
MANY = [
    task(run(1, ALL, resolution="480", seed=7), **FILES),
    task(run(2, ALL, control_guidance=3.5, max_frames=93), "A pier\nin fog", **FILES),
]
NATIVE = [
    task(
        run(
            3,
            {"vis": 0.4, "edge": 0.6},
            controls="native",
            edge_threshold="none",
            blur_strength="high",
            guardrails=False,
            checkpoint="Cosmos3-Super",
            fps=24,
        )
    )
]


@pytest.mark.parametrize(
    ("name", "tasks", "setup"),
    [
        ("single", SINGLE, SETUP),
        ("many", MANY, SETUP),
        ("native", NATIVE, replace(SETUP, gpus=4)),
    ],
)
def test_commands_and_specs_are_those_of_the_contract(
    name: str, tasks: list[Task], setup: Setup, golden: Golden
) -> None:
    command = ENGINE.command(tasks, setup)

    golden(GOLDEN / f"{name}.jsonl", command.files["batch.jsonl"].decode())
    golden(GOLDEN / f"{name}.argv", "".join(f"{word}\n" for word in (command.cwd, *command.argv)))


def test_names_of_samples_have_no_characters_that_the_model_may_take_for_others() -> None:
    assert sample(task(run(1)))["name"] == "rs-0000000000000001"


def test_text_is_ascii_so_that_the_models_splitlines_cuts_at_line_ends_only() -> None:
    text = "A pier\u2028at\u0085golden\x1ehour"

    data = ENGINE.command([task(run(), text)], SETUP).files["batch.jsonl"]

    assert [json.loads(line)["prompt"] for line in data.decode().splitlines()] == [text]


def test_weights_are_called_weight_and_vis_is_called_blur() -> None:
    made = sample(task(run(weights={"vis": 0.3}), vis="/vis.mp4"))

    assert made["blur"] == {"control_path": "/vis.mp4", "weight": 0.3}
    assert "vis" not in made


@pytest.mark.parametrize(
    ("weights", "given", "expected"),
    [
        ({"seg": 1.0}, None, 2.0),
        ({"edge": 1.0}, None, 1.5),
        ({"edge": 0.5, "seg": 0.5}, None, 1.5),
        ({"seg": 1.0}, 0, 0),
    ],
)
def test_control_guidance_is_always_written_as_several_hints_have_no_default(
    weights: dict[str, float], given: Scalar, expected: float
) -> None:
    made = sample(task(run(weights=weights, control_guidance=given), **FILES))

    assert made["control_guidance"] == expected


def test_an_empty_negative_prompt_leaves_the_models_own() -> None:
    assert "negative_prompt" not in sample(task(run()))


def test_a_preset_is_named_only_where_the_model_computes_the_map() -> None:
    weights = {"vis": 0.5, "edge": 0.5}

    made = sample(task(run(weights=weights, edge_threshold="low"), vis="/vis.mp4"))

    assert made["edge"] == {"weight": 0.5, "preset_edge_threshold": "low"}
    assert made["blur"] == {"control_path": "/vis.mp4", "weight": 0.5}


@pytest.mark.parametrize(
    "other",
    [
        run(weights={"edge": 0.5, "vis": 0.5}),
        run(checkpoint="Cosmos3-Super"),
        run(guardrails=False),
    ],
)
def test_hint_set_checkpoint_and_guardrails_need_a_process_of_their_own(other: Run) -> None:
    prompt = task(run()).prompt

    assert ENGINE.batch_key(run(), prompt) != ENGINE.batch_key(other, prompt)


def test_everything_else_may_differ_within_a_process() -> None:
    prompt, other = task(run()).prompt, task(run(), "Fog").prompt
    given = run(2, {"edge": 0.2}, seed=3, resolution="256", guidance=7)

    assert ENGINE.batch_key(run(), prompt) == ENGINE.batch_key(given, other)


# --- maps ---------------------------------------------------------------------------------


def test_the_maps_asked_for_are_those_that_the_model_would_compute() -> None:
    given = run(weights=ALL, resolution="768", max_frames=93, edge_threshold="low")
    params = {
        "edge_threshold": "low",
        "blur_strength": "medium",
        "resolution": "768",
        "max_frames": 93,
        "model": "cosmos3",
    }

    assert ENGINE.maps(given) == {"vis": params, "edge": params}


def test_what_preview_shows_of_a_job_is_what_the_model_gets() -> None:
    contract = schema.contract("cosmos3")
    body = (
        f"engine: cosmos3\n{PLAIN}params: {{resolution: ['256', '768'], blur_strength: [high]}}\n"
    )
    job, _ = expanded(parsed(body), contract=contract)
    film = Video(Path("color.mp4"), 121, (640, 480), Fraction(30))

    shown = previewed(job, contract, PREVIEW, "x.preview")

    assert {each.run.params["model"] for each in shown.runs} == {"cosmos3"}
    for made, seen in zip(job.runs, shown.runs, strict=True):
        maps = ENGINE.maps(replace(made.run, weights={"vis": 0.5, "edge": 0.5}))
        for kind, params in maps.items():
            assert map_name(kind, params, film) == map_name(kind, seen.run.params, film)


def map_name(kind: str, params: Mapping[str, Scalar], film: Video) -> str:
    """Return what the computed map of a film is cached as."""
    line: Any = {"id": "a", "kind": kind, "path": "/a", "sha256": "a" * 64, "params": dict(params)}
    given = requests.parse_map(line).params
    return recipes.computed(kind, "a" * 64, recipes.clip(film, given), given).name()


def test_other_jobs_are_previewed_as_before() -> None:
    contract = schema.contract("transfer2.5")
    job, _ = expanded(parsed(f"engine: transfer2.5\n{PLAIN}"), contract=contract)

    shown = previewed(job, contract, PREVIEW, "x.preview")

    assert {each.run.params["model"] for each in shown.runs} == {"transfer"}


def test_native_controls_ask_for_no_maps() -> None:
    assert ENGINE.maps(run(weights=ALL, controls="native")) == {}


# --- notes --------------------------------------------------------------------------------


def test_weights_that_sum_to_one_and_a_fitting_video_need_no_note() -> None:
    assert notes(run(weights={"vis": 0.3, "edge": 0.7})) == []


def test_weights_are_always_scaled_and_the_note_says_to_what() -> None:
    (note,) = notes(run(weights={"vis": 1.0, "edge": 1.0}))

    assert note.about == "weights"
    assert not note.is_error
    assert note.message.endswith("to a sum of 1: vis 0.50, edge 0.50")


@pytest.mark.parametrize(("control", "role"), [("depth", "depth"), ("seg", "segmentation")])
def test_depth_and_seg_need_a_file(control: str, role: str) -> None:
    given = run(weights={control: 1.0})

    (note,) = notes(given)

    assert note.is_error
    assert f"{role}.mp4" in note.hint
    assert notes(given, **{role: file(role)}) == []


@pytest.mark.parametrize(("resolution", "limit"), [("256", 400), ("480", 300), ("720", 200)])
def test_frames_beyond_the_documented_limit_are_noted(resolution: str, limit: int) -> None:
    given = run(resolution=resolution)

    (note,) = notes(given, color=file(frames=limit + 1))

    assert str(limit) in note.message
    assert not note.is_error
    assert notes(given, color=file(frames=limit)) == []
    assert notes(run(resolution=resolution, max_frames=limit), color=file(frames=5000)) == []


@pytest.mark.parametrize(
    ("given", "color", "about"),
    [
        (run(max_frames=1), file(), "max_frames"),
        (run(), file(frames=1), "video"),
        (run(), file(suffix=".mov"), "video"),
        (run(num_conditional_frames=93), file(), "num_conditional_frames"),
    ],
)
def test_what_would_end_the_model_is_an_error_before(
    given: Run, color: InputFile, about: str
) -> None:
    (note,) = notes(given, color=color)

    assert (note.about, note.is_error) == (about, True)
    assert note.hint


def test_a_frame_rate_is_noted_as_without_effect() -> None:
    (note,) = notes(run(fps=24))

    assert note.about == "fps"


@pytest.mark.parametrize(
    ("asked", "said"),
    [(True, "not called on the transfer path"), (False, "NVIDIA Open Model License")],
)
def test_the_plan_says_what_guardrails_do(asked: bool, said: str) -> None:
    told = [n for n in ENGINE.notes(run(guardrails=asked), {}) if n.about == "guardrails"]

    assert len(told) == 1
    assert said in told[0].message


# --- outcomes -----------------------------------------------------------------------------

RUNS = tuple(run(number).id for number in range(1, 5))
NAMES = tuple(each.replace("_", "-") for each in RUNS)
BATCH = Batch("ba_1", "cosmos3", "h100", RUNS)
DONE = Status(Life.EXITED, 0)


def made(name: str, prompt: str = TEXT, *files: str) -> dict[str, str]:
    """Return the files of a sample that went well."""
    names = files or ("vision.mp4", "control_edge.mp4")
    args = {"name": name, "prompt": prompt}
    outputs = [{"content": {}, "files": [f"/root/out/{name}/{each}" for each in names]}]
    document = {"args": args, "status": "success", "message": None, "outputs": outputs}
    return begun(name, prompt) | {f"{name}/sample_outputs.json": json.dumps(document)}


def begun(name: str, prompt: str = TEXT) -> dict[str, str]:
    return {f"{name}/sample_args.json": json.dumps({"name": name, "prompt": prompt})}


def ended(name: str, status: str, message: str) -> dict[str, str]:
    document = {"args": {"name": name, "prompt": TEXT}, "status": status, "message": message}
    return begun(name) | {f"{name}/sample_outputs.json": json.dumps(document)}


def outcomes(
    *parts: Mapping[str, str], status: Status = DONE, asked: tuple[str, ...] = RUNS
) -> Mapping[str, Outcome]:
    texts = {ASKED: serialize.asking(Asked(each, TEXT) for each in asked).decode()}
    for part in parts:
        texts |= part
    return ENGINE.outcomes(BATCH, status, texts)


def states(found: Mapping[str, Outcome]) -> list[State | None]:
    return [found[each].state if each in found else None for each in RUNS]


def test_a_sample_is_made_once_its_outputs_are_recorded_and_the_others_are_awaited() -> None:
    found = outcomes(made(NAMES[0]), begun(NAMES[1]), status=Status(Life.RUNNING))

    assert states(found) == [State.SUCCEEDED, None, None, None]


def test_outputs_are_called_as_in_every_engine() -> None:
    names = ("vision.mp4", "control_edge.mp4", "control_blur.mp4", "other.json")

    outcome = outcomes(made(NAMES[0], TEXT, *names))[RUNS[0]]

    assert outcome.files == {
        "output.mp4": f"{NAMES[0]}/vision.mp4",
        "controls/edge.mp4": f"{NAMES[0]}/control_edge.mp4",
        "controls/vis.mp4": f"{NAMES[0]}/control_blur.mp4",
    }


def test_a_sample_of_another_prompt_is_no_success() -> None:
    outcome = outcomes(made(NAMES[0], "A harbour"))[RUNS[0]]

    assert outcome.state is State.FAILED
    assert "A harbour" in outcome.reason


def test_success_without_a_video_is_none() -> None:
    assert outcomes(made(NAMES[0], TEXT, "control_edge.mp4"))[RUNS[0]].state is State.FAILED


def test_a_skipped_sample_failed_for_the_reason_that_the_model_gives() -> None:
    message = f"Skipping sample '{NAMES[0]}': 1 validation error"

    outcome = outcomes(ended(NAMES[0], "skip", message))[RUNS[0]]

    assert (outcome.state, outcome.reason) == (State.FAILED, "1 validation error")


def test_an_error_that_only_the_log_tells_of_is_told_with_its_kind() -> None:
    line = f"[ERROR] Error generating sample '{NAMES[0]}': CUDA out of memory. Tried 2.50 GiB\n"

    found = outcomes(begun(NAMES[0]), made(NAMES[1]), status=Status(Life.EXITED, 0, log=line))

    assert found[RUNS[0]].reason.startswith("out of memory: CUDA out of memory")
    assert not found[RUNS[0]].crashed


@pytest.mark.parametrize(("kind", "word"), [("prompt", "text"), ("video", "video")])
def test_a_guardrail_that_a_later_version_calls_blocks(kind: str, word: str) -> None:
    message = f"Error generating sample '{NAMES[0]}': Guardrail blocked {kind} '/root/out': x"

    outcome = outcomes(ended(NAMES[0], "error", message))[RUNS[0]]

    assert outcome.state is State.BLOCKED
    assert word in outcome.reason


def test_a_crash_is_blamed_on_the_sample_that_was_begun_and_the_rest_never_began() -> None:
    log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB\n"

    found = outcomes(made(NAMES[0]), begun(NAMES[1]), status=Status(Life.EXITED, 1, log=log))

    assert states(found) == [State.SUCCEEDED, State.FAILED, State.PENDING, State.PENDING]
    assert found[RUNS[1]].reason.startswith("out of memory")


def test_a_sample_that_was_passed_over_is_not_blamed_for_a_later_crash() -> None:
    status = Status(Life.EXITED, 137, log="its error is no longer in the end of the log\n")

    found = outcomes(begun(NAMES[0]), begun(NAMES[1]), status=status)

    assert states(found) == [State.FAILED, State.FAILED, State.PENDING, State.PENDING]
    assert [found[each].crashed for each in RUNS] == [False, True, False, False]


def test_a_sample_has_begun_also_if_its_arguments_were_only_listed() -> None:
    status = Status(Life.EXITED, 1, files=(f"{NAMES[1]}/sample_args.json",))

    found = outcomes(made(NAMES[0]), status=status)

    assert states(found) == [State.SUCCEEDED, State.FAILED, State.PENDING, State.PENDING]


def test_runs_that_were_not_asked_for_wait_once_the_batch_has_ended() -> None:
    asked = RUNS[:2]
    parts = [made(name) for name in NAMES[:2]]

    found = outcomes(*parts, asked=asked)
    before = outcomes(*parts, asked=asked, status=Status(Life.RUNNING))

    assert states(found) == [State.SUCCEEDED, State.SUCCEEDED, State.PENDING, State.PENDING]
    assert states(before) == [State.SUCCEEDED, State.SUCCEEDED, None, None]


def test_a_record_of_which_a_part_is_written_is_not_judged_yet() -> None:
    half = {f"{NAMES[0]}/sample_outputs.json": '{"args": {'}

    assert states(outcomes(half, status=Status(Life.RUNNING)))[0] is None
    assert states(outcomes(half))[0] is State.FAILED


def test_the_manifest_says_which_contract_and_what_guardrails_did() -> None:
    log = "[WARNING] No safety models found, returning safe\n"

    outcome = outcomes(made(NAMES[0]), status=Status(Life.EXITED, 0, log=log))[RUNS[0]]

    assert outcome.details["contract"] == "5eee9ed5"
    assert outcome.details["guardrails"] == {
        "effective": "not called on the transfer path of this version",
        "log": "No safety models found, returning safe",
    }


# --- on the stand-in ----------------------------------------------------------------------


def test_the_model_gives_each_run_its_own_weights_and_text(tmp_path: Path) -> None:
    clip = STAND_IN.parent / "clip.mp4"
    files = {"color": str(clip), "edge": str(clip)}
    sweep = [
        task(run(number, {"vis": number / 5, "edge": 1.0}), f"A pier\u2028take {number}", **files)
        for number in range(1, 5)
    ]
    setup = Setup(sys.executable, "", str(tmp_path), str(STAND_IN))
    command = ENGINE.command(sweep, setup)
    for name, data in command.files.items():
        (tmp_path / name).write_bytes(data)
    path = {"PYTHONPATH": os.pathsep.join([str(STAND_IN), str(STAND_IN.parent)])}

    subprocess.run(
        command.argv, cwd=command.cwd, env={**os.environ, **path}, check=True, timeout=60
    )
    names = [name for names in ENGINE.markers(BATCH).values() for name in names]
    texts = {name: (tmp_path / "out" / name).read_text() for name in names}
    asked = [Asked(each.run.id, each.prompt.text) for each in sweep]
    texts[ASKED] = serialize.asking(asked).decode()
    found = ENGINE.outcomes(BATCH, DONE, texts)

    assert states(found) == [State.SUCCEEDED] * 4
    for each in sweep:
        video = (tmp_path / "out" / found[each.run.id].files[SafePath("output.mp4")]).read_bytes()
        mark = json.loads(video[video.rindex(b'{"engine"') :])
        assert mark["weights"] == {"edge": 1.0, "blur": each.run.weights["vis"]}
        assert mark["prompt"] == each.prompt.text
