"""Cosmos Transfer1 by its command line: one process for all lines of a `batch.jsonl`.

Contract: nvidia-cosmos/cosmos-transfer1 at 5005e823, `diffusion/inference/transfer.py`,
`inference_utils.py`, `preprocessors.py` and `world_generation_pipeline.py`. That
repository is frozen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Command, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import CONTROLS, ROLE_OF, InputFile, Prompt, Run, Scalar
from cosmos_jobs.engines import exit_status
from cosmos_jobs.errors import EngineError

COMMIT = "5005e823"
"""The commit of nvidia-cosmos/cosmos-transfer1 that this adapter was written for."""

PROGRAM = "cosmos_transfer1/diffusion/inference/transfer.py"
MAX_FRAMES = 5000
CLIP_FRAMES = 121
"""How many frames the model makes at a time."""

_PRESETS = {"vis": "blur_strength", "edge": "edge_threshold"}
"""The maps that we can compute, each with the parameter that says how."""

# The validator wants a video in the spec, though each line of the batch has its own (L1216).
_NO_VIDEO = "see-batch.jsonl"

_CHECKPOINTS = "nvidia/Cosmos-Transfer1-7B"
_DETAILS: Mapping[str, object] = {
    "contract": COMMIT,
    "guardrails": {"effective": "on: Transfer1 cannot run without them"},
}

_VIDEO = "output.mp4"
_FILE = re.compile(r"video_(\d+)/(.+)")
_SIDE_FILE = re.compile(r"(\w+)_input_control_\d+\.mp4")

# It does not expect a refusal: what follows the first line is the second. With many GPUs each
# has its own traceback, and the first line may be pushed out of the log's end.
_REFUSED = re.compile(
    r"Guardrail blocked generation for entire batch\.\s*$"
    r"|= batch_outputs\s(.*\n){0,3}?.*cannot unpack non-iterable NoneType",
    re.MULTILINE,
)
_REFUSALS = {
    re.compile(r"Input text prompt \d+ is not safe|All prompts failed safety checks"): (
        "the text guardrail refused the prompt",
        "change the prompt",
    ),
    re.compile(r"Generated video \d+ is not safe|All generated videos failed safety checks"): (
        "the video guardrail refused what the model made",
        "change the prompt, or the seed",
    ),
}
_SOME_REFUSAL = ("a guardrail refused the prompt or the video", "change the prompt")
_WHY = re.compile(r"GUARDRAIL BLOCKED: (.+)")

# What it says once the model is loaded and a line of the batch is at work.
_AT_WORK = re.compile(
    r"(?i)running preprocessor|running batch generation|run generation"
    r"|(starting|completed) (latent encoding|diffusion sampling|vae decode)"
)


class Transfer1Engine:
    """Runs `transfer.py` from a checkout of cosmos-transfer1."""

    name = "transfer1"

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return all that the lines of a batch share: the spec, and the model's variant.

        With regions that are found by a prompt, the video, too: where nothing
        is found in one, the model takes the mask of the line before.
        """
        found = any("mask_prompt" in region for region in _regions(run))
        video = dict(prompt.inputs) if found else {}
        shared = [_spec(run, prompt), run.params["distilled"], video]
        return json.dumps(shared, sort_keys=True)

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return what the model cannot do, ignores, or does otherwise than one may think."""
        yield from _about_weights(run)
        yield from _about_extras(run, files)
        yield from _about_native_maps(run, files)
        yield from _about_variants(run)
        if color := files.get("color"):
            yield from _about_video(run, color)

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return the edge and vis maps that have a weight, unless the model computes them."""
        if run.params["controls"] != "computed":
            return {}
        params = {name: run.params[name] for name in _PRESETS.values()}
        wanted = [control for control in run.weights if control in _PRESETS]
        return {control: {**params, "resolution": "720"} for control in wanted}

    def checkpoint(self, run: Run) -> str:
        """Return the files of the controls' weights, below `checkpoints/`."""
        if run.params["upscale"] is not None:
            return f"{_CHECKPOINTS}/4kupscaler_control.pt"
        variant = "_distilled" if run.params["distilled"] else ""
        return ", ".join(f"{_CHECKPOINTS}/{each}_control{variant}.pt" for each in run.weights)

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return the model's command line, with what all tasks share as `spec.json`.

        `batch.jsonl` has a line for each task. Raises EngineError when the
        target does not say where the checkout is.
        """
        if not setup.path:
            raise EngineError(
                "the target does not say where cosmos-transfer1 is",
                hint=f"say it in cosmos-jobs.yaml: engines: {{{self.name}: {{path: …}}}}",
            )
        first = tasks[0]
        # All in ASCII: the model reads both files in the machine's own encoding.
        files = {
            "spec.json": json.dumps(_spec(first.run, first.prompt), indent=2) + "\n",
            "batch.jsonl": "".join(json.dumps(_line(task)) + "\n" for task in tasks),
        }
        return Command(
            (*_launcher(setup), PROGRAM, *_options(first.run, setup)),
            {name: text.encode("ascii") for name, text in files.items()},
            # The model writes prompts in the machine's encoding, after all the work.
            {"PYTHONPATH": setup.path, "PYTHONUTF8": "1"},
            setup.path,
        )

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return, by their place in the batch, the files that the model writes last."""
        return {run: (_text(number),) for number, run in enumerate(batch.runs)}

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return what the lines' files say, and after the exit whose fault it was."""
        asked = serialize.asked(texts)
        if asked is None:
            has_ended = status.life is Life.EXITED
            return exit_status.after_exit(batch.runs, (), (), status) if has_ended else {}
        files = _by_line(status.files)
        told = {}
        for number, each in enumerate(asked):
            said = texts.get(_text(number), "")
            if found := _outcome(each.text, said, files.get(number, {}), status.life):
                told[each.run] = found
        if status.life is Life.EXITED:
            begun = {each.run for number, each in enumerate(asked) if number in files}
            ended = _ended([each.run for each in asked], told, begun, status)
            told = {**dict.fromkeys(batch.runs, exit_status.NEVER_BEGAN), **ended}
        return {run: told[run] for run in batch.runs if run in told}

    def progress(self, log: str) -> int:
        """Return 0: the log does not say which frames are made."""
        return 0


# --- what the model is asked for ----------------------------------------------------------


def _spec(run: Run, prompt: Prompt) -> dict[str, object]:
    """Return the controlnet spec: all that the lines of a batch share.

    It wins over the command line, so nothing of it is there, too (L1197).
    """
    params = run.params
    spec: dict[str, object] = {
        "input_video_path": _NO_VIDEO,
        "seed": params["seed"],
        "num_steps": params["num_steps"],
        "guidance": _number(params["guidance"]),
        "sigma_max": _number(params["sigma_max"]),
        "fps": params["fps"],
    }
    # Without one the model has its own.
    if prompt.negative:
        spec["negative_prompt"] = prompt.negative
    if params["controls"] == "native":
        if "edge" in run.weights:
            spec["canny_threshold"] = params["edge_threshold"]
        if "vis" in run.weights:
            spec["blur_strength"] = params["blur_strength"]
    if regions := _regions(run):
        spec["regional_prompts"] = [_region(region) for region in regions]
    if params["upscale"] is not None:
        return {**spec, "upscale": {"control_weight": _number(params["upscale"])}}
    # Each line has weights of its own.
    return {**spec, **{control: {"control_weight": 1.0} for control in run.weights}}


def _regions(run: Run) -> list[dict[str, Any]]:
    regions: list[dict[str, Any]] = json.loads(str(run.params["regions"] or "[]"))
    return regions


def _region(region: Mapping[str, Any]) -> dict[str, object]:
    if "box" in region:
        return {"prompt": region["prompt"], "region_definitions_path": region["box"]}
    return {"prompt": region["prompt"], "mask_prompt": region["mask_prompt"]}


def _line(task: Task) -> dict[str, object]:
    upscale = task.run.params["upscale"]
    if upscale is None:
        overrides = {control: _override(task, control) for control in task.run.weights}
    else:
        overrides = {"upscale": {"control_weight": _number(upscale), "input_control": None}}
    return {
        "prompt": task.prompt.text,
        "visual_input": task.inputs["color"],
        "control_overrides": overrides,
    }


def _override(task: Task, control: str) -> dict[str, object]:
    """Return what a line says of a control; without a file of it the model computes it."""
    weight = float(task.run.weights[control])
    override: dict[str, object] = {
        "control_weight": task.files.get(f"weight_map.{control}", weight),
        "input_control": task.inputs.get(ROLE_OF[control]),
    }
    # The model fails over a prompt that is null, and heeds these two for seg alone.
    if control == "seg":
        prompts = {"input_control_prompt": "control_prompt", "control_weight_prompt": "mask_prompt"}
        given = {key: task.run.params[f"{name}.seg"] for key, name in prompts.items()}
        override |= {key: prompt for key, prompt in given.items() if prompt}
    return override


def _launcher(setup: Setup) -> tuple[str, ...]:
    if setup.gpus == 1:
        return (setup.python,)
    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={setup.gpus}")
    return (setup.python, *torchrun)


def _options(run: Run, setup: Setup) -> tuple[str, ...]:
    """Return where things are, and how they run; `--key=value` would lose to the spec."""
    return (
        *("--controlnet_specs", f"{setup.folder}/spec.json"),
        *("--batch_input_path", f"{setup.folder}/batch.jsonl"),
        # In larger ones, what follows a blocked line gets another line's video.
        *("--batch_size", "1"),
        *("--video_save_folder", f"{setup.folder}/out"),
        *("--checkpoint_dir", f"{setup.path}/checkpoints"),
        *("--num_gpus", str(setup.gpus)),
        *(("--use_distilled",) if run.params["distilled"] else ()),
    )


def _number(value: Scalar) -> float:
    return float(value or 0)


# --- what is odd about it -----------------------------------------------------------------


def _about_weights(run: Run) -> Iterable[Note]:
    weights = run.weights
    if not weights and run.params["upscale"] is None:
        yield Note("weights", "Transfer1 needs a control with a weight above 0", "", True)
    total = sum(weights.values())
    if len(weights) < 2:
        return
    if any(_is_placed(run, control) for control in weights):
        yield Note("weights", "where they sum to more than 1, the model scales them down to 1")
    elif total > 1.001:
        first, *others = (
            (control, f"{weight:g}", f"{round(weight / total, 2):g}")
            for control, weight in weights.items()
        )
        told = "{} {} of {:g} counts as {}".format(*first[:2], total, first[2])
        told += "".join(f", {control} {weight} as {share}" for control, weight, share in others)
        yield Note("weights", f"above a sum of 1, the model scales them down: {told}")


def _is_placed(run: Run, control: str) -> bool:
    """Return whether a control's weight differs from place to place."""
    params = run.params
    masked = control == "seg" and params["mask_prompt.seg"]
    return bool(masked or params[f"weight_map.{control}"])


_EXTRAS = tuple(
    (name, control)
    for control in CONTROLS
    for name in (
        f"weight_map.{control}",
        *(("mask_prompt.seg", "control_prompt.seg") if control == "seg" else ()),
    )
)
"""The parameters of single controls."""


def _about_extras(run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
    params = run.params
    for name, control in _EXTRAS:
        if params[name] and control not in run.weights:
            hint = f"give {control} a weight, or leave {name} out"
            yield Note(name, f"{control} has no weight, so this would do nothing", hint, True)
    if params["weight_map.seg"] and params["mask_prompt.seg"]:
        told = "the model would put the weights that it makes in place of weight_map.seg"
        yield Note("mask_prompt.seg", told, "leave one of the two out", True)
    if params["control_prompt.seg"] and "segmentation" in files:
        yield Note(
            "control_prompt.seg", "this does nothing, as the video has a file of its segmentation"
        )


def _about_native_maps(run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
    if run.params["controls"] != "native":
        return
    drawn = [control for control in _PRESETS if control in run.weights and control not in files]
    if not drawn:
        return
    message = (
        f"the model computes {' and '.join(drawn)} with thresholds that it draws at random, by"
        " seed and by place in the batch: the same run may differ from one batch to another"
    )
    if "edge" in drawn:
        message += "; edge_threshold does nothing"
    yield Note("controls", message, "to have them computed alike: controls: computed")


def _about_variants(run: Run) -> Iterable[Note]:
    params = run.params
    if params["distilled"]:
        if run.weights.keys() != {"edge"}:
            told = "the distilled model takes the control edge alone"
            yield Note("distilled", told, "leave distilled or the other controls out", True)
        if params["regions"]:
            told = "the distilled model drops the prompts of regions"
            yield Note("regions", told, "leave distilled or the regions out", True)
    regions = _regions(run)
    if len(regions) > 1 and any("mask_prompt" in region for region in regions):
        yield Note(
            "regions",
            "where a region's mask_prompt finds nothing, its prompt goes to the next region",
            "say where the regions are by boxes, or have one region",
        )


def _about_video(run: Run, color: InputFile) -> Iterable[Note]:
    params = run.params
    if color.frames > MAX_FRAMES:
        told = f"the video has {color.frames} frames, and the model takes {MAX_FRAMES} at most"
        yield Note("video", told, "cut it into parts", True)
    fps = _number(params["fps"])
    if color.frames > 1 and color.fps > 0 and abs(color.fps - fps) > 0.5:
        factor = max(fps, color.fps) / min(fps, color.fps)
        told = (
            f"the output has {fps:g} frames a second and the input {color.fps:.4g}:"
            f" what moves looks {factor:.3g} times {'faster' if fps > color.fps else 'slower'}"
        )
        yield Note("fps", told, f"to keep its speed: fps: {max(1, round(color.fps))}")
    if _number(params["sigma_max"]) >= 80 and params["upscale"] is None:
        yield Note("sigma_max", "from 80 on, the input's own pixels are ignored: its controls stay")
    if color.frames != CLIP_FRAMES and any("mask_prompt" in each for each in _regions(run)):
        yield Note(
            "regions",
            f"masks of regions fit videos of {CLIP_FRAMES} frames; this one has {color.frames},"
            " and the model may fail over it",
            "cut the video, or say where the regions are by boxes",
        )


# --- what came of it ----------------------------------------------------------------------


def _text(number: int) -> str:
    return f"video_{number}/prompt.txt"


def _by_line(files: Iterable[str]) -> Mapping[int, Mapping[str, str]]:
    """Return the files of each line of the batch: paths by their names in its folder."""
    found: dict[int, dict[str, str]] = {}
    for path in files:
        if match := _FILE.fullmatch(path):
            found.setdefault(int(match[1]), {})[match[2]] = path
    return found


def _outcome(prompt: str, said: str, files: Mapping[str, str], life: Life) -> Outcome | None:
    """Return what the files of a line say, and what its `prompt.txt` says.

    That is written when the video is whole and closed, and is the model's own
    word about whose video it is. None where it says nothing yet.
    """
    if not said:
        return None
    if said == prompt:
        if _VIDEO not in files:
            return None
        return exit_status.made({**_controls(files), _VIDEO: files[_VIDEO]}, _DETAILS)
    # It may have been read while it was written.
    if life is Life.RUNNING and prompt.startswith(said):
        return None
    shown = said if len(said) <= 60 else f"{said[:59]}…"
    return Outcome(
        State.FAILED,
        f'the model put the video of another prompt in its place: "{shown}"\n'
        "it is not used; try again: cosmos-jobs apply",
    )


def _controls(files: Mapping[str, str]) -> Mapping[str, str]:
    """Return the maps that the model computed, by their names among a run's outputs."""
    # Each GPU has written its own: all are alike, and the first is taken.
    matches = (_SIDE_FILE.fullmatch(name) for name in sorted(files, reverse=True))
    return {f"controls/{match[1]}.mp4": files[match[0]] for match in matches if match}


def _ended(
    order: Sequence[str], told: Mapping[str, Outcome], begun: set[str], status: Status
) -> Mapping[str, Outcome]:
    """Return the outcomes of a batch that has exited: those told, and those of the others."""
    left = [run for run in order if run not in told]
    if left and (refused := _refusal(status.log)):
        # A refusal is that of the line that it was at, and its last act.
        blocked = {left[0]: Outcome(State.BLOCKED, refused)}
        return {**told, **dict.fromkeys(left, exit_status.NEVER_BEGAN), **blocked}
    if left and _AT_WORK.search(status.log):
        begun = {*begun, left[0]}
    return {**told, **exit_status.after_exit(order, told, begun, status)}


def _refusal(log: str) -> str:
    """Return which guardrail refused, and what to do; empty when none did."""
    if not _REFUSED.search(log):
        return ""
    said = (which for line in reversed(log.splitlines()) if (which := _guardrail(line)))
    reason, hint = next(said, _SOME_REFUSAL)
    why = _WHY.findall(log)
    return f"{reason}{f': {why[-1].strip()[:200]}' if why else ''}\n{hint}"


def _guardrail(line: str) -> tuple[str, str] | None:
    return next((which for sign, which in _REFUSALS.items() if sign.search(line)), None)
