"""NVIDIA Cosmos Transfer2.5 as batches see it: its spec files, command lines, and what it leaves.

The contract is that of cosmos-transfer2.5 at 2ff49d07. A batch is made by
NVIDIA's own program, or by our warm driver (`drivers/transfer2_5.py`), which
does the same with one load of the model and leaves `status.ndjson` beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from cosmos_jobs.core import failures, serialize
from cosmos_jobs.core.batch import Batch, Command, Life, Note, Outcome, Server, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import CONTROLS, ROLE_OF, InputFile, Prompt, Run, Scalar
from cosmos_jobs.engines import exit_status

COMMIT = "2ff49d07"
"""The commit of cosmos-transfer2.5 whose contract this is."""

STATUS = "status.ndjson"
MULTICONTROL = "multibranch_720p_t24_spaced_layer4_cr1pt1_rectified_flow_inference"
"""The experiment that more than one control are made with, with the checkpoints of all four."""

CHUNK = 93  # frames that the model makes at once
MOST_FRAMES = 5000
DISTILLED = "edge/distilled"
DISTILLED_STEPS = 4
DEFAULTS: Mapping[str, Scalar] = {"num_steps": 35, "guidance": 3}

# The model looks at these endings of names as they are: `.JPG` is none of them.
IMAGES = frozenset({".jpg", ".jpeg", ".png"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})

_PRESETS = {
    "edge": ("preset_edge_threshold", "edge_threshold"),
    "vis": ("preset_blur_strength", "blur_strength"),
}
_PARAMS = {
    "seed": "seed",
    "guidance": "guidance",
    "num_steps": "num_steps",
    "max_frames": "max_frames",
    "context_frame_index": "context_frame",
    "num_conditional_frames": "num_conditional_frames",
    "num_video_frames_per_chunk": "num_video_frames_per_chunk",
    "keep_input_resolution": "keep_input_resolution",
    "show_control_condition": "show_control_condition",
    "show_input": "show_input",
}
"""The model's name of each parameter that it takes as we have it."""

_BEGINS = re.compile(r"Processing sample ([\w-]+)")
_REFUSALS = (
    ("Guardrail blocked generation. Negative prompt:", "negative prompt"),
    ("Guardrail blocked generation. Prompt:", "prompt"),
)
_REFUSED = "GUARDRAIL BLOCKED"
_WHY = {
    "prompt": "the text guardrail refused the prompt\nreword it; the log may say why",
    "negative prompt": "the text guardrail refused the negative prompt\nreword that",
    "text": "the text guardrail refused the prompt or its negative\nreword them",
    "video": "the video guardrail refused what the model made\ntry another prompt or seed",
}


class Transfer25Engine:
    """Makes videos with NVIDIA Cosmos Transfer2.5 2B."""

    name = "transfer2.5"

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return the controls, the model and the guardrails: one load has one of each.

        With other controls in its batch a sample's weights are swapped or lost.
        """
        guardrails = "" if run.params["guardrails"] else " no-guardrails"
        return f"{'+'.join(run.weights)} {_model(run)}{guardrails}"

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return what the model would do without a word, or refuse after it was loaded."""
        yield from _notes_on_weights(run)
        yield from _notes_on_controls(run, files)
        yield from _notes_on_masks(run)
        yield from _notes_on_frames(run, files.get("color"))
        if run.params["distilled"]:
            yield from _notes_on_distilled(run, files.get("color"))
        if not run.params["guardrails"]:
            message = "NVIDIA's guardrails are off: without a substitute its licence ends"
            yield Note("guardrails", message, "see the NVIDIA Open Model License")

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return vis and edge as the model would compute them, unless that is left to it."""
        if run.params["controls"] != "computed":
            return {}
        return {
            control: {
                name: run.params[name]
                for name in (_PRESETS[control][1], "resolution", "max_frames")
            }
            for control in run.weights
            if control in _PRESETS
        }

    def checkpoint(self, run: Run) -> str:
        """Return the model of a single control's checkpoint, else the experiment for several."""
        return _model(run) or MULTICONTROL

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return NVIDIA's command line, or that of our driver where the model may stay loaded."""
        run = tasks[0].run
        # ASCII: NVIDIA's loader splits at every line end that Unicode knows.
        lines = "".join(json.dumps(_sample(task)) + "\n" for task in tasks)
        files = {"batch.jsonl": lines.encode()}
        # The model writes prompts in the machine's encoding, after all the work.
        env = {"PYTHONUTF8": "1"}
        if run.params["distilled"]:
            env["COSMOS_EXPERIMENTAL_CHECKPOINTS"] = "1"
        if setup.idle_s is None or setup.gpus > 1:
            return Command(_native(run, setup), files, env, setup.path)
        driver = _driver()
        program = (setup.python, f"{setup.folder}/driver.py", *_options(run))
        key = hashlib.sha256(driver + self.batch_key(run, tasks[0].prompt).encode()).hexdigest()
        serve = (*program, "--serve", "--idle", str(setup.idle_s))
        server = Server(serve, key, setup.idle_s)
        argv = (*program, setup.folder)
        return Command(argv, {**files, "driver.py": driver}, env, setup.path, server)

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return the text that is written last for a run, and the driver's status file."""
        return {run: (f"{sample_name(run)}.txt", STATUS) for run in batch.runs}

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return what files and the driver prove; what they leave open is told once it exited."""
        asked = serialize.asked(texts)
        if asked is None and status.life is Life.RUNNING:
            return {}
        # Without a list of what was asked for, no text can be compared.
        wanted = dict.fromkeys(batch.runs, "")
        if asked is not None:
            wanted = {each.run: each.text for each in asked}
        runs = frozenset(batch.runs)
        left = _left(status, texts, {run: text for run, text in wanted.items() if run in runs})
        told = {run: found for run in left.wanted if (found := _told(run, left))}
        if status.life is Life.EXITED:
            told |= _after_exit(left, told)
            told |= {run: exit_status.NEVER_BEGAN for run in batch.runs if run not in told}
        return told

    def progress(self, log: str) -> int:
        """Return 0: the model does not say how many frames it has made."""
        return 0


def sample_name(run_id: str) -> str:
    """Return what the model calls a run: in its spec, and before the ending of its files."""
    return run_id.replace("_", "-")


# --- what is odd about a run --------------------------------------------------------------


def _notes_on_weights(run: Run) -> Iterator[Note]:
    total = round(sum(run.weights.values()), 2)
    if total > 1:
        message = (
            f"sum {total:g}: Transfer2.5 does not normalise weights; with a mask it caps them at 1"
        )
        yield Note("weights", message)
    if not run.weights:
        yield Note("weights", "Transfer2.5 needs at least one control above 0", is_error=True)


def _notes_on_controls(run: Run, files: Mapping[str, InputFile]) -> Iterator[Note]:
    params, weights = run.params, run.weights
    if params["image_context"] is not None:
        if "vis" in weights:
            message = "vis and image_context both set the look: Transfer2.5 refuses them together"
            yield Note("image_context", message, "drop one of them", is_error=True)
        elif params["context_frame"] is not None:
            yield Note("image_context", "not used: context_frame sets the look already")
    if params["control_prompt.seg"] is not None:
        if "seg" not in weights:
            yield _useless("control_prompt.seg", "seg")
        elif "segmentation" in files:
            yield Note("control_prompt.seg", "not used: the video has a segmentation file")


def _notes_on_masks(run: Run) -> Iterator[Note]:
    for control in CONTROLS:
        mask, found = (run.params[f"{kind}.{control}"] for kind in ("masks", "mask_prompt"))
        if mask is None and found is None:
            continue
        if control not in run.weights:
            about = f"masks.{control}" if mask is not None else f"mask_prompt.{control}"
            yield _useless(about, control)
        elif mask is not None and found is not None:
            yield Note(f"mask_prompt.{control}", f"not used: masks.{control} has a file")


def _useless(about: str, control: str) -> Note:
    message = f"does nothing: the control {control} has no weight"
    return Note(about, message, f"give {control} a weight, or leave it out", is_error=True)


def _notes_on_frames(run: Run, color: InputFile | None) -> Iterator[Note]:
    if color is None:
        return
    params, suffix = run.params, color.path.suffix
    if suffix not in IMAGES | VIDEOS:
        takes = ", ".join(sorted(IMAGES | VIDEOS))
        message = f"Transfer2.5 does not read files that end in `{suffix}`"
        yield Note("video", message, f"convert or rename it: {takes}", is_error=True)
    context = params["context_frame"]
    if isinstance(context, int) and context >= color.frames > 0:
        message = f"the video has {color.frames} frames, and the first is number 0"
        yield Note("context_frame", message, f"at most {color.frames - 1}", is_error=True)
    if color.frames > MOST_FRAMES and params["max_frames"] is None:
        message = f"Transfer2.5 uses the first {MOST_FRAMES} of its {color.frames} frames"
        yield Note("max_frames", message)
    chunk, kept = params["num_video_frames_per_chunk"], params["num_conditional_frames"]
    if _number(chunk) <= _number(kept) and _number(chunk) < _frames(run, color) > 1:
        message = f"chunks of {chunk} that begin with {kept} of the last one make no progress"
        hint = f"more than {kept}; usually {CHUNK}"
        yield Note("num_video_frames_per_chunk", message, hint, is_error=True)


def _notes_on_distilled(run: Run, color: InputFile | None) -> Iterator[Note]:
    params = run.params
    if tuple(run.weights) != ("edge",):
        message = "the distilled model has the control edge alone"
        yield Note("distilled", message, "give edge a weight, and no other", is_error=True)
    if params["num_steps"] not in (DEFAULTS["num_steps"], DISTILLED_STEPS):
        message = f"the distilled model takes {DISTILLED_STEPS} steps"
        yield Note("num_steps", message, f"leave it out, or {DISTILLED_STEPS}", is_error=True)
    if params["guidance"] != DEFAULTS["guidance"]:
        yield Note("guidance", "not used: the distilled model has none")
    if color is not None and (frames := _frames(run, color)) > CHUNK:
        message = f"the distilled model was not trained for more than {CHUNK} frames: {frames}"
        yield Note("distilled", message, f"max_frames: {CHUNK}")


def _frames(run: Run, color: InputFile) -> int:
    most = run.params["max_frames"]
    return color.frames if most is None else min(color.frames, _number(most))


def _number(value: Scalar) -> int:
    return value if isinstance(value, int) else 0


# --- how it is run ------------------------------------------------------------------------


def _model(run: Run) -> str:
    """Return what `--model` says; empty where the model's own experiment for several counts."""
    if run.params["distilled"]:
        return DISTILLED
    return next(iter(run.weights)) if len(run.weights) == 1 else ""


def _options(run: Run) -> tuple[str, ...]:
    model = _model(run)
    off = () if run.params["guardrails"] else ("--disable-guardrails",)
    return (*(("--model", model) if model else ()), *off)


def _native(run: Run, setup: Setup) -> tuple[str, ...]:
    # torchrun as a module is that of the model's Python; --standalone finds a free port.
    several = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={setup.gpus}")
    program = (*(several if setup.gpus > 1 else ()), "examples/inference.py")
    folder = setup.folder
    paths = ("-i", f"{folder}/batch.jsonl", "-o", f"{folder}/out")
    return (setup.python, *program, *paths, *_options(run))


@cache
def _driver() -> bytes:
    """Return the source of the warm driver: a file of this package, the same at each call."""
    return (Path(__file__).parent / "drivers" / "transfer2_5.py").read_bytes()


def _sample(task: Task) -> dict[str, object]:
    """Return a line of the spec file: only keys that the model knows, none of them null."""
    run, params, video = task.run, task.run.params, task.inputs["color"]
    given: dict[str, object] = {
        "name": sample_name(run.id),
        "prompt": task.prompt.text,
        "negative_prompt": task.prompt.negative or None,
        "video_path": video,
        **{theirs: params[ours] for theirs, ours in _PARAMS.items()},
        "resolution": params["resolution"],
        "sigma_max": _text(params["sigma_max"]),
        "image_context_path": task.files.get("image_context"),
    }
    if params["distilled"]:
        given["num_steps"] = DISTILLED_STEPS
    if params["max_frames"] == 1 or Path(video).suffix.lower() in IMAGES:
        given |= {"max_frames": 1, "num_video_frames_per_chunk": 1}
    controls = {control: _control(control, task) for control in CONTROLS if control in run.weights}
    return {**_said(given), **controls}


def _control(control: str, task: Task) -> dict[str, object]:
    params, path = task.run.params, task.inputs.get(ROLE_OF[control])
    mask = task.files.get(f"masks.{control}")
    given: dict[str, object] = {
        "control_weight": task.run.weights[control],
        "control_path": path,
        "mask_path": mask,
        "mask_prompt": None if mask else params[f"mask_prompt.{control}"],
    }
    if path is None and control in _PRESETS:
        theirs, ours = _PRESETS[control]
        given[theirs] = params[ours]
    if path is None and control == "seg":
        given["control_prompt"] = params["control_prompt.seg"]
    return _said(given)


def _said(given: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in given.items() if value is not None}


def _text(number: Scalar) -> str | None:
    """Return a number as the model wants it, a text: 80.0 → "80", 0.5 → "0.5"."""
    if number is None:
        return None
    value = float(number)
    return str(int(value)) if value.is_integer() else repr(value)


# --- what it left -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Left:
    """What a batch has left by now: `wanted` are its runs with the texts of their prompts.

    `listed` are its files; `loaded` is what our driver says of the model,
    `lines` what it says of each sample, and `logs` what the log has of it.
    """

    status: Status
    texts: Mapping[str, str]
    wanted: Mapping[str, str]
    listed: frozenset[str]
    loaded: Mapping[str, Any]
    lines: Mapping[str, Mapping[str, Any]]
    logs: Mapping[str, str]

    @property
    def warm(self) -> bool:
        """Whether our driver made it."""
        return STATUS in self.listed or STATUS in self.texts

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.status.life is not Life.RUNNING

    def begun(self, run: str) -> bool:
        """Whether the model has come to a run: its arguments are written first."""
        return f"{sample_name(run)}.json" in self.listed

    def finished(self, run: str) -> bool:
        """Whether the model is through with a run."""
        return f"{sample_name(run)}.txt" in self.listed


def _left(status: Status, texts: Mapping[str, str], wanted: Mapping[str, str]) -> _Left:
    lines = tuple(_lines(texts.get(STATUS, "")))
    return _Left(
        status,
        texts,
        wanted,
        frozenset(status.files),
        next((line for line in reversed(lines) if "loaded_s" in line), {}),
        {str(line["name"]): line for line in lines if "name" in line},
        _logs(status.log),
    )


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a status file, but one that is not there in full."""
    for line in text.split("\n"):
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            yield found


def _logs(log: str) -> Mapping[str, str]:
    """Return what a log says of each sample, by its name."""
    parts = _BEGINS.split(log)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _told(run: str, left: _Left) -> Outcome | None:
    """Return what is proven about a run, whether or not its batch goes on."""
    name = sample_name(run)
    text, line = left.texts.get(f"{name}.txt"), left.lines.get(name, {})
    status = line.get("status")
    # While the driver works, its own line is waited for: it has the times.
    if text is not None and (status or left.over or not left.warm):
        return _made(run, text, line, left)
    if status == "blocked":
        return Outcome(State.BLOCKED, _WHY.get(str(line.get("cause")), _WHY["text"]))
    if status == "failed":
        return Outcome(State.FAILED, failures.described(str(line.get("reason", "no reason given"))))
    if left.warm or not left.begun(run) or left.finished(run):
        return None
    return _refused(run, left)


def _made(run: str, text: str, line: Mapping[str, Any], left: _Left) -> Outcome | None:
    files = _files(sample_name(run), left.listed)
    if not any(name.startswith("output.") for name in files):
        missing = Outcome(State.FAILED, "the engine wrote the run's text, but no video")
        return missing if left.over else None
    wanted = left.wanted[run]
    # On its way here a line end may have changed.
    if wanted and text.split() != wanted.split():
        reason = "the engine made another prompt's video in its place\nrepeat it: cosmos-jobs apply"
        return Outcome(State.FAILED, reason)
    return exit_status.made(files, _details(run, line, left))


def _files(name: str, listed: Collection[str]) -> Mapping[str, str]:
    """Return the files of a sample that are there, by their names in the run's folder."""
    known = {"output": name}
    known |= {f"controls/{control}": f"{name}_control_{control}" for control in CONTROLS}
    known |= {f"masks/{control}": f"{name}_mask_{control}" for control in CONTROLS}
    return {
        f"{ours}{suffix}": f"{theirs}{suffix}"
        for ours, theirs in known.items()
        for suffix in (".mp4", ".jpg")
        if f"{theirs}{suffix}" in listed
    }


def _details(run: str, line: Mapping[str, Any], left: _Left) -> Mapping[str, object]:
    details: dict[str, object] = {
        "engine": Transfer25Engine.name,
        "contract": COMMIT,
        "driver": "warm" if left.warm else "native",
    }
    if "guardrails" in left.loaded:
        on = bool(left.loaded["guardrails"])
        details["guardrails"] = {"effective": "on" if on else "off"}
    else:
        effective = _guarded(left.logs.get(sample_name(run), ""))
        details["guardrails"] = {
            "effective": effective or "as requested: the log says nothing else"
        }
    if left.loaded:
        details["loaded_s"] = left.loaded["loaded_s"]
    if "seconds" in line:
        details["seconds"] = line["seconds"]
    return details


def _guarded(log: str) -> str:
    """Return whether a sample's log says that guardrails looked at it: on, off, or nothing."""
    if "Guardrail checks on prompt are disabled" in log:
        return "off"
    return "on" if "Passed guardrail on prompt" in log else ""


def _refused(run: str, left: _Left) -> Outcome | None:
    """Return that a guardrail refused a run of NVIDIA's program, if that is sure.

    A run with arguments and no text may be at work still, or have crashed. One
    that is followed by a run with a text is neither: a listing is not of one
    moment, and a text comes long after the arguments before it.
    """
    log = left.logs.get(sample_name(run), "")
    runs = list(left.wanted)
    later = runs[runs.index(run) + 1 :]
    passed = any(map(left.begun if left.over else left.finished, later))
    # Of a text the log says in its next line which it was; a video comes with its maps.
    named = any(said in log for said, _ in _REFUSALS)
    named |= _REFUSED in log and (left.over or _mapped(run, left))
    return _blocked(run, left) if passed or named else None


def _blocked(run: str, left: _Left) -> Outcome:
    """Return which guardrail refused a run, as its log or its files tell: the maps are between."""
    log = left.logs.get(sample_name(run), "")
    told = next((what for said, what in _REFUSALS if said in log), "text")
    return Outcome(State.BLOCKED, _WHY["video" if _mapped(run, left) else told])


def _mapped(run: str, left: _Left) -> bool:
    """Return whether the model has written a run's control maps."""
    return any(file.startswith("controls/") for file in _files(sample_name(run), left.listed))


def _after_exit(left: _Left, told: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    """Return the outcomes of the runs that an exited batch has left without one."""
    runs = list(left.wanted)
    open_runs = [run for run in runs if run not in told]
    begun = [run for run in runs if left.begun(run)]
    status = left.status
    # The run that lost the GPU is told already: what is behind it has no part in that.
    if any(line.get("ends") for line in left.lines.values()):
        return dict.fromkeys(open_runs, exit_status.NEVER_BEGAN)
    if left.warm:
        return exit_status.after_exit(runs, told, begun, status)
    if status.exit_code == 0 and not status.fault:
        refused = [run for run in open_runs if left.begun(run) and not left.finished(run)]
        blocked = {run: _blocked(run, left) for run in refused}
        return {**blocked, **exit_status.after_exit(runs, {*told, *blocked}, begun, status)}
    # On several GPUs a refused text hangs the batch: what is behind it has no part in that.
    last = told.get(begun[-1]) if begun else None
    engines_own = not status.fault or failures.fault(status) in failures.OF_ONE_RUN
    if engines_own and last is not None and last.state is State.BLOCKED:
        return dict.fromkeys(open_runs, exit_status.NEVER_BEGAN)
    return exit_status.after_exit(runs, told, begun, status)
