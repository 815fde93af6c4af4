"""Cosmos 3, transfer, by its command line: one process for all samples of a `batch.jsonl`.

Contract: NVIDIA/cosmos-framework at 5eee9ed5, `cosmos_framework/inference/args.py`,
`transfer.py`, `inference.py` and `scripts/inference.py`. That repository moves on;
each manifest says which commit this module knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cosmos_jobs.core import failures, serialize
from cosmos_jobs.core.batch import Batch, Command, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import ROLE_OF, InputFile, Prompt, Run, Scalar
from cosmos_jobs.engines import exit_status

COMMIT = "5eee9ed5"
"""The commit of NVIDIA/cosmos-framework that this adapter was written for."""

HINTS = {"vis": "blur", "edge": "edge", "depth": "depth", "seg": "seg"}
"""What the model calls our controls."""

_PRESETS = {
    "vis": ("preset_blur_strength", "blur_strength"),
    "edge": ("preset_edge_threshold", "edge_threshold"),
}
# The model has no edge preset `none`; our `none` is the same thresholds as `very_low`.
_EDGE_PRESETS = {"none": "very_low"}

_AS_THEY_ARE = (
    "resolution",
    "fps",
    "max_frames",
    "num_video_frames_per_chunk",
    "num_conditional_frames",
    "num_first_chunk_conditional_frames",
    "guidance",
    "shift",
    "num_steps",
    "seed",
    "share_vision_temporal_positions",
    "emphasize_control_in_prompt",
    "show_control_condition",
    "show_input",
)
"""The parameters that a sample has under our names, in this order; null is left out."""

_MAP_PARAMS = ("edge_threshold", "blur_strength", "resolution", "max_frames")
_FRAME_LIMITS = {"256": 400, "480": 300, "720": 200, "768": 200}  # docs, and args.py
_VIDEOS = (".mp4",)
_CONTROLS = (".mp4", ".avi", ".mov", ".mkv", ".webm")

_NOT_CALLED = "not called on the transfer path of this version"
_NO_MODELS = "No safety models found, returning safe"
_BLOCKED = re.compile(r"Guardrail blocked (prompt|video)")
_TROUBLE = re.compile(r"(?:Error generating|Skipping) sample '([^'\n]+)': *([^\n]*)")


_PASSED_OVER = Outcome(
    State.FAILED,
    "the model failed at it and went on\nwhy is in its batch's log: cosmos-jobs logs RUN",
)


class Cosmos3Engine:
    """Runs `cosmos_framework.scripts.inference` from a checkout of cosmos-framework."""

    name = "cosmos3"

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return the set of controls, the checkpoint and whether guardrails are asked for."""
        hints = "+".join(HINTS[control] for control in run.weights)
        guardrails = "" if run.params["guardrails"] else " without guardrails"
        return f"{hints} {run.params['checkpoint']}{guardrails}"

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return what the model refuses, ignores, or was not made for."""
        yield from _about_weights(run, files)
        yield from _about_video(run, files)
        yield from _about_frames(run, files)
        yield from _about_guardrails(run)

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return the edge and vis maps that have a weight, unless the model computes them."""
        if run.params["controls"] != "computed":
            return {}
        params: dict[str, Scalar] = {name: run.params[name] for name in _MAP_PARAMS}
        wanted = [control for control in run.weights if control in _PRESETS]
        return {control: {**params, "model": self.name} for control in wanted}

    def checkpoint(self, run: Run) -> str:
        """Return the model's name at Hugging Face."""
        return str(run.params["checkpoint"])

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return the model's command line, and `batch.jsonl` with a line for each task."""
        # All in ASCII: the model cuts lines with str.splitlines, which also cuts at characters
        # such as U+2028 that JSON allows inside of strings.
        lines = "".join(json.dumps(_sample(task)) + "\n" for task in tasks)
        params = tasks[0].run.params
        options = [
            *("-i", f"{setup.folder}/batch.jsonl", "-o", f"{setup.folder}/out"),
            *("--checkpoint-path", str(params["checkpoint"])),
            *("--parallelism-preset=latency", "--keep-going", "--skip-invalid-samples"),
        ]
        if not params["guardrails"]:
            options.append("--no-guardrails")
        argv = (*_launcher(setup), "-m", "cosmos_framework.scripts.inference", *options)
        return Command(argv, {"batch.jsonl": lines.encode()}, cwd=setup.path)

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return what a sample was begun with, and what came of it."""
        return {run: (_outputs(run), _args(run)) for run in batch.runs}

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return what the samples' files and the log say, and after the exit whom to blame."""
        asked = serialize.asked(texts)
        prompts = dict.fromkeys(batch.runs) if asked is None else {x.run: x.text for x in asked}
        reading = _Reading(status, texts)
        told = {
            run: found for run, text in prompts.items() if (found := reading.outcome(run, text))
        }
        if status.life is not Life.EXITED:
            return told
        begun = [run for run in prompts if reading.began(run)]
        # It goes on after one that failed, and says why in its log, of which there is the end only.
        told |= {run: _PASSED_OVER for run in begun[:-1] if run not in told}
        left = exit_status.after_exit(tuple(prompts), told, begun, status)
        never_asked = dict.fromkeys(batch.runs, exit_status.NEVER_BEGAN)
        return {**never_asked, **left, **told}

    def progress(self, log: str) -> int:
        """Return 0: the log does not tell frames."""
        return 0


# --- what a run is in the model's words ---------------------------------------------------


def _name(run_id: str) -> str:
    return run_id.replace("_", "-")


def _outputs(run_id: str) -> str:
    return f"{_name(run_id)}/sample_outputs.json"


def _args(run_id: str) -> str:
    return f"{_name(run_id)}/sample_args.json"


def _sample(task: Task) -> dict[str, object]:
    run, prompt = task.run, task.prompt
    sample = {
        "name": _name(run.id),
        "model_mode": "video2video",
        "vision_path": task.inputs["color"],
        "prompt": prompt.text,
        "negative_prompt": prompt.negative or None,
        **{name: run.params[name] for name in _AS_THEY_ARE},
        "control_guidance": _control_guidance(run),
        **{HINTS[control]: _hint(control, task) for control in run.weights},
    }
    return {key: value for key, value in sample.items() if value is not None}


def _control_guidance(run: Run) -> Scalar:
    """Return the strength of the controls; the model has defaults for single controls only."""
    given = run.params["control_guidance"]
    if given is not None:
        return given
    return 2.0 if list(run.weights) == ["seg"] else 1.5


def _hint(control: str, task: Task) -> dict[str, object]:
    weight = task.run.weights[control]
    path = task.inputs.get(ROLE_OF[control])
    if path is not None:
        return {"control_path": path, "weight": weight}
    key, param = _PRESETS[control]
    preset = task.run.params[param]
    if control == "edge":
        preset = _EDGE_PRESETS.get(str(preset), preset)
    return {"weight": weight, key: preset}


def _launcher(setup: Setup) -> tuple[str, ...]:
    if setup.gpus == 1:
        return (setup.python,)
    processes = f"--nproc_per_node={setup.gpus}"
    return (setup.python, "-m", "torch.distributed.run", "--standalone", processes)


# --- what is odd about a run --------------------------------------------------------------


def _about_weights(run: Run, files: Mapping[str, InputFile]) -> Iterator[Note]:
    for control in run.weights:
        if control not in _PRESETS and ROLE_OF[control] not in files:
            role = ROLE_OF[control]
            yield Note(
                "weights",
                f"Cosmos 3 cannot compute a {control} map, and the video has no file of one",
                hint=f"add {role}.mp4 to the video, or leave `{control}` out of the weights",
                is_error=True,
            )
    total = sum(run.weights.values())
    if round(total, 2) != 1:
        scaled = ", ".join(f"{name} {weight / total:.2f}" for name, weight in run.weights.items())
        yield Note("weights", f"Cosmos 3 scales weights to a sum of 1: {scaled}")


def _about_video(run: Run, files: Mapping[str, InputFile]) -> Iterator[Note]:
    used = {"color": _VIDEOS, **{ROLE_OF[control]: _CONTROLS for control in run.weights}}
    for role, known in used.items():
        if role in files and files[role].path.suffix.lower() not in known:
            yield Note(
                "video",
                f"Cosmos 3 does not read {files[role].path.name}",
                hint=f"make it a video: {', '.join(known)}",
                is_error=True,
            )
    if run.params["fps"] is not None:
        yield Note("fps", "Cosmos 3 keeps the frame rate of its input: `fps` changes nothing")


def _about_frames(run: Run, files: Mapping[str, InputFile]) -> Iterator[Note]:
    wanted = run.params["max_frames"]
    frames = min((each for each in (_frames(files), wanted) if isinstance(each, int)), default=0)
    if frames == 1:
        # For one frame the model writes a picture, and then looks for a video.
        yield Note(
            "video" if wanted is None else "max_frames",
            "Cosmos 3 makes no video of a single frame",
            hint="give it more frames, or use engine transfer2.5",
            is_error=True,
        )
    resolution = str(run.params["resolution"])
    limit = _FRAME_LIMITS[resolution]
    if frames > limit:
        yield Note(
            "max_frames" if wanted is not None else "video",
            f"Cosmos 3 is documented for at most {limit} frames at {resolution}p",
            hint=f"cut it with `max_frames: {limit}`",
        )
    chunk, kept = run.params["num_video_frames_per_chunk"], run.params["num_conditional_frames"]
    if isinstance(chunk, int) and isinstance(kept, int) and kept >= chunk:
        yield Note(
            "num_conditional_frames",
            f"a chunk of {chunk} frames cannot start from {kept} frames of the one before",
            hint="choose fewer num_conditional_frames than num_video_frames_per_chunk",
            is_error=True,
        )


def _frames(files: Mapping[str, InputFile]) -> int | None:
    return files["color"].frames if "color" in files else None


def _about_guardrails(run: Run) -> Iterator[Note]:
    if run.params["guardrails"]:
        yield Note(
            "guardrails", f"Cosmos 3 at {COMMIT}: its guardrails are {_NOT_CALLED}, also if asked"
        )
    else:
        yield Note(
            "guardrails",
            "guardrails are off: the NVIDIA Open Model License ends"
            " when they are bypassed without a substitute",
        )


# --- what came of it ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """A batch as it stands, and the contents of its markers."""

    status: Status
    texts: Mapping[str, str]

    def began(self, run_id: str) -> bool:
        return _args(run_id) in self.texts or _args(run_id) in self.status.files

    def outcome(self, run_id: str, prompt: str | None) -> Outcome | None:
        """Return what became of a run, None where it cannot be told by now."""
        text = self.texts.get(_outputs(run_id))
        if text is None:
            return self._logged(run_id)
        try:
            return self._recorded(run_id, json.loads(text), prompt)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if self.status.life is not Life.EXITED:
                return None  # it is not renamed into place: perhaps this is a part of it
            reason = f"the engine left a {_outputs(run_id)} that cannot be read ({error})"
            return Outcome(State.FAILED, reason)

    def _logged(self, run_id: str) -> Outcome | None:
        """Return a failure that only the log tells of: with --keep-going no file says it."""
        for name, message in _TROUBLE.findall(self.status.log):
            if name == _name(run_id):
                return self._failed(message)
        return None

    def _recorded(
        self, run_id: str, document: Mapping[str, Any], prompt: str | None
    ) -> Outcome | None:
        if document["status"] != "success":
            message = str(document["message"])
            told = _TROUBLE.search(message)
            return self._failed(told[2] if told else message)
        made = document["args"]["prompt"]
        if prompt is not None and made != prompt:
            return Outcome(State.FAILED, f"the engine made another prompt: {str(made)[:200]}")
        names = [PurePosixPath(path).name for each in document["outputs"] for path in each["files"]]
        if "vision.mp4" not in names:
            return Outcome(State.FAILED, "the engine says that it is done, but made no vision.mp4")
        controls = {f"control_{hint}.mp4": f"controls/{ours}.mp4" for ours, hint in HINTS.items()}
        known = {"vision.mp4": "output.mp4", **controls}
        files = {known[name]: f"{_name(run_id)}/{name}" for name in names if name in known}
        return exit_status.made(files, self._details())

    def _failed(self, message: str) -> Outcome:
        if blocked := _BLOCKED.search(message):
            kind = "text" if blocked[1] == "prompt" else "video"
            refused = {"effective": f"the {kind} guardrail refused it"}
            reason = f"blocked by the {kind} guardrail"
            return Outcome(State.BLOCKED, reason, details=self._details() | {"guardrails": refused})
        return Outcome(State.FAILED, failures.described(message), details=self._details())

    def _details(self) -> dict[str, object]:
        guardrails = {"effective": _NOT_CALLED}
        if _NO_MODELS in self.status.log:
            guardrails["log"] = _NO_MODELS
        return {"name": Cosmos3Engine.name, "contract": COMMIT, "guardrails": guardrails}
