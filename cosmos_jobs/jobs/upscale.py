"""Runs that make a 4K video of another run's output, or of any video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar

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


def output(color: InputFile, run: Run) -> InputFile:
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
