"""Runs that make a 4K video of another run's output, or of any video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.job import Desired, Expansion, Source, Upscale
from cosmos_jobs.core.run import RUN, InputFile, Prompt, Run, Scalar
from cosmos_jobs.jobs.labels import untaken
from cosmos_jobs.jobs.matrix import Matrix

UPSCALER = "transfer1"
"""The engine whose 4K model works on the outputs of every real one."""

STEPS = 10
WEIGHT = 0.5


def upscaled(
    words: str, inputs: Mapping[str, str], weight: float, fps: float, *, real: bool
) -> tuple[Prompt, Run]:
    """Return the run that enlarges a video of `fps` frames per second, and its prompt.

    `inputs` are {"run": its id} or {"color": sha256}. Without a `real` model
    it is the preview engine's. `weight` is 0–1.
    """
    prompt = identity.prompt(words, "", inputs)
    params: dict[str, Scalar] = {"upscale": weight}
    if real:
        # The model writes whole frames per second.
        params |= {"num_steps": STEPS, "fps": max(1, round(fps))}
    contract = schema.contract(UPSCALER if real else "preview")
    return prompt, identity.run(prompt.id, contract, {}, params)


def _output(color: InputFile, run: Run) -> InputFile:
    """Return a run's color video with the frames and frames per second of the run's output."""
    most = run.params.get("max_frames")
    frames = color.frames if most is None else min(color.frames, int(most))
    return replace(color, frames=frames, fps=float(max(1.0, _fps(color.fps, run))))


def _fps(fps: float, run: Run) -> float:
    """Return the frames per second of a run's output, of an input of `fps`."""
    match run.engine:
        case "transfer1":
            return float(run.params["fps"] or fps)
        case "transfer2.5":
            # Cut, not rounded: 29.97 becomes 29 (COSMOS.md 2.4).
            return int(fps)
    return fps


def behind(
    matrix: Matrix, made: Expansion, upscale: Upscale, taken: Mapping[str, set[str]]
) -> Expansion:
    """Return the runs, each with one behind it that upscales its output; labels are `taken`."""
    real = matrix.contract.engine != "preview"
    sources = dict(made.prompts)
    runs: list[Desired] = []
    for each in made.runs:
        source = made.prompts[each.run.prompt_id]
        output = _output(source.files["color"], each.run)
        if output.frames == 1:
            message = f"`{each.place}` makes an image, and images are not upscaled"
            matrix.problem(("upscale",), "image-upscale", message, "remove `upscale`")
            break
        words, inputs = upscale.prompt or source.prompt.text, {RUN: each.run.id}
        prompt, run = upscaled(words, inputs, upscale.weight, output.fps, real=real)
        label = untaken(f"{each.label}-4k", taken[each.prompt], run)
        sources[prompt.id] = Source(prompt, each.prompt, source.video, {"color": output})
        larger = Desired(run, each.job, each.prompt, label, after=each.run.id, awaits=each.awaits)
        runs += [each, larger]
    return Expansion(sources, tuple(runs))
