"""Transfer2.5: exact spec files and command lines, and outcomes told from what a batch leaves."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.batch import Batch, Command, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.serialize import ASKED, Asked, asking
from cosmos_jobs.engines.transfer2_5 import MULTICONTROL, STATUS, Transfer25Engine, sample_name
from tests.conftest import Golden

GOLDEN = Path(__file__).parents[1] / "golden" / "engines" / "transfer2_5"
CONTRACT = schema.contract("transfer2.5")
ENGINE = Transfer25Engine()
PROMPT = Prompt("ps_0123456789abcdef", "A robot arm at dusk", "", {"color": "c" * 64})
SETUP = Setup("/venv/bin/python", "/cache", "/root dir/batches/ba_1", "/models/t2.5")
EDGE = {"edge": 1.0}


def run(weights: Mapping[str, float] = EDGE, **params: Scalar) -> Run:
    given = {name.replace("__", "."): value for name, value in params.items()}
    return identity.run(PROMPT.id, CONTRACT, weights, given)


def task(
    made: Run,
    inputs: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    prompt: Prompt = PROMPT,
) -> Task:
    return Task(made, prompt, {"color": "/inputs/c.mp4", **(inputs or {})}, files or {})


def lines(command: Command) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command.files["batch.jsonl"].decode().splitlines()]


def line(given: Task) -> dict[str, Any]:
    return lines(ENGINE.command([given], SETUP))[0]


def video(frames: int = 121, name: str = "color.mp4") -> InputFile:
    return InputFile(Path(name), "c" * 64, 1000, frames, 1280, 720, 30.0)


def notes(made: Run, **files: InputFile) -> list[Note]:
    return list(ENGINE.notes(made, {"color": video(), **files}))


def about(found: Sequence[Note]) -> list[tuple[str, bool]]:
    return [(note.about, note.is_error) for note in found]


# --- spec files and command lines ---------------------------------------------------------


def shown(command: Command) -> str:
    """Return a command as its golden file has it; the driver's source is not repeated there."""
    server = command.server
    document = {
        "argv": command.argv,
        "cwd": command.cwd,
        "env": command.env,
        "server": server and {"argv": server.argv, "idle_s": server.idle_s},
        "files": sorted(command.files),
        "batch.jsonl": lines(command),
    }
    return json.dumps(document, indent=2) + "\n"


def test_the_spec_and_command_line_of_every_parameter(golden: Golden) -> None:
    weights = {"vis": 0.25, "edge": 0.5, "depth": 0.75, "seg": 1}
    every = run(
        weights,
        seed=7,
        num_steps=50,
        guidance=5,
        sigma_max=80,
        resolution="480",
        keep_input_resolution=False,
        max_frames=93,
        num_video_frames_per_chunk=61,
        num_conditional_frames=2,
        context_frame=4,
        edge_threshold="low",
        blur_strength="high",
        show_control_condition=True,
        show_input=True,
        masks__depth="d" * 64,
        mask_prompt__vis="the road",
        control_prompt__seg="person. car",
    )
    prompt = replace(PROMPT, text="A café\u2028at dusk", negative="blurry")
    files = {"masks.depth": "/inputs/d.mp4"}
    command = ENGINE.command([task(every, files=files, prompt=prompt)], SETUP)

    golden(GOLDEN / "every.json", shown(command))


def test_the_spec_of_shipped_maps_and_an_image_context(golden: Golden) -> None:
    made = run({"edge": 0.5, "seg": 0.5}, image_context="i" * 64, masks__edge="m" * 64)
    inputs = {"edge": "/inputs/e.mkv", "segmentation": "/inputs/s.mp4", "depth": "/inputs/d.mp4"}
    files = {"image_context": "/inputs/i.jpg", "masks.edge": "/inputs/m.mp4"}
    command = ENGINE.command([task(made, inputs, files), task(run(EDGE))], SETUP)

    golden(GOLDEN / "shipped.json", shown(command))


def test_the_command_lines_of_distilled_several_gpus_and_no_guardrails(golden: Golden) -> None:
    distilled = ENGINE.command([task(run(distilled=True))], SETUP)
    several = ENGINE.command([task(run())], replace(SETUP, gpus=4, idle_s=60))
    unguarded = ENGINE.command([task(run({"vis": 1}, guardrails=False))], SETUP)

    golden(GOLDEN / "distilled.json", shown(distilled))
    golden(GOLDEN / "several_gpus.json", shown(several))
    golden(GOLDEN / "no_guardrails.json", shown(unguarded))


def test_the_command_line_of_the_warm_driver(golden: Golden) -> None:
    command = ENGINE.command([task(run())], replace(SETUP, idle_s=900))

    golden(GOLDEN / "warm.json", shown(command))


def test_batches_share_a_warm_server_only_with_the_same_controls_model_and_guardrails() -> None:
    warm = replace(SETUP, idle_s=900)
    kinds = (
        run(),
        run(seed=1, sigma_max=80),
        run({"edge": 0.5}),
        run({"vis": 1}),
        run({"vis": 0.5, "edge": 0.5}),
        run(guardrails=False),
        run(distilled=True),
    )
    servers = [ENGINE.command([task(each)], warm).server for each in kinds]
    keys = [server.key for server in servers if server]

    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 5


def test_fact_1_runs_with_other_controls_never_share_a_batch() -> None:
    same = [run({"edge": weight}, seed=seed) for weight in (0.2, 1) for seed in (1, 2)]
    others = [run({"vis": 1}), run({"vis": 0.2, "edge": 0.2}), run({"edge": 1, "depth": 1})]
    keys = [ENGINE.batch_key(each, PROMPT) for each in (*same, *others)]

    assert len(set(keys[:4])) == 1
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("given", "text"),
    [(80, "80"), (80.0, "80"), (0.5, "0.5"), (3.0, "3"), (123.456789, "123.456789")],
)
def test_fact_7_sigma_max_is_a_text_that_loses_no_digit(given: float, text: str) -> None:
    assert line(task(run(sigma_max=given)))["sigma_max"] == text


def test_fact_9_and_10_no_value_is_null_and_names_have_no_slash() -> None:
    spec = line(task(run()))

    assert "context_frame_index" not in spec
    assert None not in spec.values()
    assert spec["name"].startswith("rs-")
    assert spec["name"].replace("-", "").isalnum()


def test_fact_11_every_line_is_one_line_for_the_loader_whatever_the_prompt() -> None:
    texts = ("a\nb", "a\u2028b", "a\u0085b", "a\x0cb", "a\x1eb", "日本語")
    tasks = [task(run(seed=n), prompt=replace(PROMPT, text=t)) for n, t in enumerate(texts)]
    spec = ENGINE.command(tasks, SETUP).files["batch.jsonl"].decode("ascii")

    assert [json.loads(each)["prompt"] for each in spec.splitlines()] == list(texts)


def test_a_map_that_is_shipped_has_no_preset_beside_it() -> None:
    native, shipped = task(run(edge_threshold="low")), task(run(), {"edge": "/inputs/e.mkv"})

    assert line(native)["edge"] == {"control_weight": 1, "preset_edge_threshold": "low"}
    assert line(shipped)["edge"] == {"control_weight": 1, "control_path": "/inputs/e.mkv"}


@pytest.mark.parametrize("path", ["/inputs/c.jpg", "/inputs/c.PNG", "/inputs/c.jpeg"])
def test_an_image_is_a_job_of_one_frame(path: str) -> None:
    spec = line(Task(run(), PROMPT, {"color": path}))

    assert (spec["max_frames"], spec["num_video_frames_per_chunk"]) == (1, 1)


def test_a_video_of_which_one_frame_is_wanted_is_not_made_in_chunks_of_93() -> None:
    assert line(task(run(max_frames=1)))["num_video_frames_per_chunk"] == 1
    assert line(task(run(max_frames=2)))["num_video_frames_per_chunk"] == 93


def test_computed_maps_are_asked_for_with_what_preview_needs() -> None:
    weights = {"vis": 0.5, "edge": 0.5, "depth": 1}
    asked = ENGINE.maps(run(weights, edge_threshold="low", max_frames=93, resolution="480"))

    assert asked == {
        "vis": {"blur_strength": "medium", "resolution": "480", "max_frames": 93},
        "edge": {"edge_threshold": "low", "resolution": "480", "max_frames": 93},
    }
    assert set(asked["vis"]) | set(asked["edge"]) <= set(schema.contract("preview").schemas)
    assert ENGINE.maps(run(weights, controls="native")) == {}


# --- notes --------------------------------------------------------------------------------


def test_an_ordinary_run_has_no_notes() -> None:
    assert notes(run({"vis": 0.5, "edge": 0.5})) == []


def test_fact_8_weights_above_1_are_told_not_to_be_normalised() -> None:
    (note,) = notes(run({"vis": 0.6, "edge": 1}))

    assert not note.is_error
    assert "sum 1.6" in note.message
    assert "does not normalise" in note.message


@pytest.mark.parametrize(
    ("made", "errors"),
    [
        (run({"vis": 1}, image_context="i" * 64), ["image_context"]),
        (run(masks__vis="m" * 64), ["masks.vis"]),
        (run(mask_prompt__depth="cars"), ["mask_prompt.depth"]),
        (run(control_prompt__seg="cars"), ["control_prompt.seg"]),
        (run({"vis": 1}, distilled=True), ["distilled"]),
        (run({"vis": 0.5, "edge": 0.5}, distilled=True), ["distilled"]),
        (run(distilled=True, num_steps=20), ["num_steps"]),
        (run(context_frame=121), ["context_frame"]),
        (run(num_video_frames_per_chunk=1), ["num_video_frames_per_chunk"]),
        (run({}), ["weights"]),
    ],
)
def test_what_the_model_refuses_or_would_ignore_is_an_error(made: Run, errors: list[str]) -> None:
    found = notes(made)

    assert [note.about for note in found if note.is_error] == errors


@pytest.mark.parametrize(
    ("made", "files", "remarks"),
    [
        (run(guardrails=False), {}, ["guardrails"]),
        (run(distilled=True, max_frames=93, guidance=7), {}, ["guidance"]),
        (run(distilled=True), {}, ["distilled"]),
        (run(distilled=True, num_steps=4, max_frames=93), {}, []),
        (run(), {"color": video(6000)}, ["max_frames"]),
        (run(max_frames=5000), {"color": video(6000)}, []),
        (run(context_frame=120), {}, []),
        (run(image_context="i" * 64, context_frame=1), {}, ["image_context"]),
        (run(masks__edge="m" * 64, mask_prompt__edge="cars"), {}, ["mask_prompt.edge"]),
        (
            run({"seg": 1}, control_prompt__seg="cars"),
            {"segmentation": video()},
            ["control_prompt.seg"],
        ),
    ],
)
def test_what_is_odd_is_told_but_keeps_nothing_from_starting(
    made: Run, files: dict[str, InputFile], remarks: list[str]
) -> None:
    assert about(notes(made, **files)) == [(remark, False) for remark in remarks]


@pytest.mark.parametrize("name", ["color.MP4", "color.webp", "color.JPG", "color.gif"])
def test_files_that_the_model_does_not_read_are_told_before_it_is_loaded(name: str) -> None:
    assert about(notes(run(max_frames=1), color=video(name=name))) == [("video", True)]


# --- outcomes -----------------------------------------------------------------------------

RUNS = tuple(run(seed=seed).id for seed in range(4))
NAMES = tuple(map(sample_name, RUNS))
BATCH = Batch("ba_1", "transfer2.5", "h100", RUNS)
ASKED_TEXTS = {ASKED: asking([Asked(each, f"prompt {each}") for each in RUNS]).decode()}
TEXT_BLOCK = "Guardrail blocked generation. Prompt: prompt"
NEGATIVE_BLOCK = "Guardrail blocked generation. Negative prompt: a"


def processing(number: int, *said: str) -> str:
    lines = (f"[{number + 1}/4] Processing sample {NAMES[number]}", *said)
    return "".join(f"[INFO] {line}\n" for line in lines)


class Folder:
    """What a batch leaves, sample by sample, as NVIDIA's program or our driver writes it."""

    def __init__(self) -> None:
        self.files: list[str] = [ASKED, "config.yaml"]
        self.texts = dict(ASKED_TEXTS)
        self.status: list[dict[str, object]] = []

    def begun(self, *numbers: int) -> Folder:
        self.files += [f"{NAMES[number]}.json" for number in numbers]
        return self

    def mapped(self, number: int, suffix: str = ".mp4") -> Folder:
        self.begun(number)
        self.files.append(f"{NAMES[number]}_control_edge{suffix}")
        return self

    def made(self, number: int, text: str | None = None, suffix: str = ".mp4") -> Folder:
        self.mapped(number, suffix)
        self.files += [f"{NAMES[number]}{suffix}", f"{NAMES[number]}.txt"]
        self.texts[f"{NAMES[number]}.txt"] = text or f"prompt {RUNS[number]}"
        return self

    def said(self, number: int, status: str, **more: object) -> Folder:
        self.status.append({"name": NAMES[number], "status": status, "seconds": 1.5, **more})
        return self

    def loaded(self, **more: object) -> Folder:
        self.status.append({"loaded_s": 61.5, "model": "edge", "guardrails": True, **more})
        return self

    def told(
        self, life: Life, code: int | None = None, *, log: str = "", fault: str = ""
    ) -> Mapping[str, Outcome]:
        texts = self.texts
        if self.status:
            self.files.append(STATUS)
            texts[STATUS] = "".join(json.dumps(line) + "\n" for line in self.status)
        status = Status(life, code, files=tuple(self.files), log=log, fault=fault)
        return ENGINE.outcomes(BATCH, status, texts)


def states(told: Mapping[str, Outcome]) -> list[State | None]:
    return [told[each].state if each in told else None for each in RUNS]


S, F, B, P = State.SUCCEEDED, State.FAILED, State.BLOCKED, State.PENDING


def test_a_run_is_made_when_its_text_is_there_and_its_own() -> None:
    told = Folder().made(0).begun(1).told(Life.RUNNING)

    assert states(told) == [S, None, None, None]
    assert told[RUNS[0]].files == {
        "output.mp4": f"{NAMES[0]}.mp4",
        "controls/edge.mp4": f"{NAMES[0]}_control_edge.mp4",
    }


def test_an_image_job_leaves_an_image() -> None:
    told = Folder().made(0, suffix=".jpg").told(Life.RUNNING)

    assert told[RUNS[0]].files == {
        "output.jpg": f"{NAMES[0]}.jpg",
        "controls/edge.jpg": f"{NAMES[0]}_control_edge.jpg",
    }


def test_masks_that_the_model_made_come_along() -> None:
    folder = Folder().made(0)
    folder.files.append(f"{NAMES[0]}_mask_edge.mp4")

    assert (
        folder.told(Life.RUNNING)[RUNS[0]].files[SafePath("masks/edge.mp4")]
        == f"{NAMES[0]}_mask_edge.mp4"
    )


def test_another_prompts_video_is_never_taken_for_the_run() -> None:
    told = Folder().made(0, "prompt of another").told(Life.RUNNING)

    assert states(told) == [F, None, None, None]
    assert "another prompt" in told[RUNS[0]].reason


def test_arguments_alone_are_work_in_progress_while_the_batch_runs() -> None:
    assert states(Folder().begun(0).told(Life.RUNNING)) == [None] * 4
    # A listing is not of one moment: the text of 0 may just have been missed.
    assert states(Folder().mapped(0).begun(1).told(Life.RUNNING)) == [None] * 4


def test_fact_2_a_refused_run_is_blocked_although_the_program_exits_with_0() -> None:
    told = Folder().begun(0).mapped(1).made(2).made(3).told(Life.EXITED, 0)

    assert states(told) == [B, B, S, S]
    assert "the prompt or its negative" in told[RUNS[0]].reason
    assert "the video" in told[RUNS[1]].reason


def test_a_refusal_is_told_early_when_a_later_run_is_made_or_the_log_names_it() -> None:
    log = processing(0, "GUARDRAIL BLOCKED: bad", TEXT_BLOCK)

    assert states(Folder().begun(0).made(1).told(Life.RUNNING)) == [B, S, None, None]
    assert states(Folder().begun(0).told(Life.RUNNING, log=log)) == [B, None, None, None]


def test_which_guardrail_it_was_is_not_guessed_while_the_batch_runs() -> None:
    log = processing(0, "GUARDRAIL BLOCKED: bad")

    assert states(Folder().begun(0).told(Life.RUNNING, log=log)) == [None] * 4
    assert "the video" in Folder().mapped(0).told(Life.RUNNING, log=log)[RUNS[0]].reason


def test_the_log_says_whether_the_prompt_or_the_negative_prompt_was_refused() -> None:
    log = processing(0, TEXT_BLOCK) + processing(1, NEGATIVE_BLOCK) + processing(2)
    told = Folder().begun(0, 1).made(2).made(3).told(Life.EXITED, 0, log=log)

    assert told[RUNS[0]].reason.startswith("the text guardrail refused the prompt\n")
    assert told[RUNS[1]].reason.startswith("the text guardrail refused the negative prompt\n")


def test_fact_2_a_crash_is_blamed_on_its_run_and_the_rest_never_began() -> None:
    log = (
        processing(2, "Loading") + "Traceback\ntorch.OutOfMemoryError: CUDA out of memory. 2 GiB\n"
    )
    told = Folder().made(0).begun(1).mapped(2).told(Life.EXITED, 1, log=log)

    assert states(told) == [S, B, F, P]
    assert told[RUNS[2]].reason.startswith("out of memory:")


def test_a_batch_that_never_loaded_its_model_failed_for_all() -> None:
    told = Folder().told(Life.EXITED, 1, log="FileNotFoundError: checkpoints/edge.pt not found\n")

    assert states(told) == [F] * 4
    assert not any(outcome.crashed for outcome in told.values())


def test_fact_15_a_refusal_that_hangs_several_gpus_is_blocked_and_the_rest_never_began() -> None:
    log = processing(0) + processing(1, TEXT_BLOCK)
    told = Folder().made(0).begun(1).told(Life.EXITED, 124, log=log, fault="timeout 900")

    assert states(told) == [S, B, P, P]


def test_a_run_that_hangs_is_failed_and_not_blocked() -> None:
    told = Folder().made(0).begun(1).told(Life.EXITED, 124, fault="timeout 900")

    assert states(told) == [S, F, P, P]
    assert "time limit" in told[RUNS[1]].reason


@pytest.mark.parametrize("life", [Life.CANCELLED, Life.GONE])
def test_of_a_batch_that_was_ended_only_what_its_files_prove_is_told(life: Life) -> None:
    told = Folder().begun(0).made(1).mapped(2).told(life)

    assert states(told) == [B, S, None, None]


def test_runs_that_the_batch_was_not_asked_for_go_back() -> None:
    folder = Folder().made(0)
    folder.texts[ASKED] = asking([Asked(RUNS[0], f"prompt {RUNS[0]}")]).decode()

    assert states(folder.told(Life.RUNNING)) == [S, None, None, None]
    assert states(folder.told(Life.EXITED, 0)) == [S, P, P, P]


def test_a_text_that_could_not_be_read_is_no_refusal() -> None:
    folder = Folder().made(0)
    del folder.texts[f"{NAMES[0]}.txt"]

    assert folder.told(Life.EXITED, 0)[RUNS[0]].state is State.FAILED


# --- outcomes of the warm driver ----------------------------------------------------------


def test_the_drivers_lines_decide_and_give_the_times() -> None:
    folder = (
        Folder().loaded().made(0).said(0, "succeeded").begun(1).said(1, "blocked", cause="prompt")
    )
    folder.mapped(2).said(2, "failed", reason="torch.OutOfMemoryError: CUDA out of memory.")
    told = folder.begun(3).told(Life.RUNNING)

    assert states(told) == [S, B, F, None]
    assert told[RUNS[0]].details == {
        "engine": "transfer2.5",
        "contract": "2ff49d07",
        "driver": "warm",
        "guardrails": {"effective": "on"},
        "loaded_s": 61.5,
        "seconds": 1.5,
    }
    assert "the prompt\n" in told[RUNS[1]].reason
    assert told[RUNS[2]].reason.startswith("out of memory:")
    assert not told[RUNS[2]].crashed


def test_while_the_driver_works_its_line_is_waited_for() -> None:
    assert states(Folder().loaded().made(0).told(Life.RUNNING)) == [None] * 4
    assert states(Folder().loaded().made(0).told(Life.GONE)) == [S, None, None, None]


def test_a_line_that_is_not_there_in_full_is_no_line() -> None:
    folder = Folder().loaded().made(0).said(0, "succeeded")
    folder.told(Life.RUNNING)
    cut = folder.texts[STATUS] + '{"name": "' + NAMES[1]
    status = Status(Life.RUNNING, files=tuple(folder.files))

    assert states(ENGINE.outcomes(BATCH, status, {**folder.texts, STATUS: cut})) == [S, *[None] * 3]


def test_a_driver_that_was_killed_is_blamed_on_the_run_that_it_was_at() -> None:
    folder = Folder().loaded().made(0).said(0, "succeeded").begun(1).said(1, "failed", reason="x")
    told = folder.begun(2).told(Life.EXITED, 137)

    assert states(told) == [S, F, F, P]
    assert [told[each].crashed for each in RUNS] == [False, False, True, False]


def test_a_run_that_lost_the_gpu_ends_its_batch_and_is_to_blame() -> None:
    folder = Folder().loaded().begun(0)
    folder.said(0, "failed", reason="RuntimeError: CUDA error: an illegal access", ends=True)
    told = folder.told(Life.EXITED, 1)

    assert states(told) == [F, P, P, P]
    assert "CUDA error" in told[RUNS[0]].reason


def test_the_checkpoint_is_that_of_the_controls() -> None:
    assert ENGINE.checkpoint(run()) == "edge"
    assert ENGINE.checkpoint(run({"vis": 0.5, "edge": 0.5})) == MULTICONTROL
    assert ENGINE.checkpoint(run(distilled=True)) == "edge/distilled"


# --- many batches -------------------------------------------------------------------------


def replayed(fates: Sequence[State], *, warm: bool) -> tuple[Folder, int, str, list[State]]:
    """Play a batch as the contract says, and return what it leaves and what is to be told."""
    folder, log, wanted, code = Folder(), "", [], 0
    if warm:
        folder.loaded()
    for number, fate in enumerate(fates):
        if code:
            wanted.append(P)
            continue
        log += processing(number)
        wanted.append(fate)
        if fate is S:
            folder.made(number)
        elif fate is B:
            folder.begun(number)
            log += TEXT_BLOCK + "\n"
        else:
            folder.mapped(number)
            log += "RuntimeError: no\n"
            code = 0 if warm else 1
        if warm:
            more = {"cause": "prompt"} if fate is B else {"reason": "RuntimeError: no"}
            folder.said(number, str(fate), **more)
    return folder, code, log, wanted


@pytest.mark.parametrize("warm", [False, True])
def test_blocked_and_crashing_runs_are_told_apart_in_200_random_batches(warm: bool) -> None:
    chance = random.Random(25)
    wrong = []
    for _ in range(200):
        fates = chance.choices((S, B, F), (3, 1, 1), k=4)
        folder, code, log, wanted = replayed(fates, warm=warm)
        # The end of a log is all that is seen of it.
        told = folder.told(Life.EXITED, code, log=log[-chance.randrange(40, 400) :])
        if states(told) != wanted:
            wrong.append((fates, states(told)))

    assert wrong == []
