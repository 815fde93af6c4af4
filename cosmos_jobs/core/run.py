"""A prompt and a run: what one output video is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

CONTROLS = ("vis", "edge", "depth", "seg")
"""The control inputs of Cosmos Transfer, always in this order."""

ROLES = ("color", "depth", "segmentation", "edge", "vis")
"""The files of an input video: `color.mp4` is required, the others are its control maps."""

ROLE_OF = {"vis": "vis", "edge": "edge", "depth": "depth", "seg": "segmentation"}
"""The file of an input video that is a control's map."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""How the names of images end; all other inputs are videos."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input file, looked at: content, size in bytes, frames, pixels, fps.

    An image has one frame; a file that is no picture has none, and no pixels.
    """

    path: Path
    sha256: str
    size: int
    frames: int
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text, negative text and the input video by content: `inputs` maps roles to sha256.

    Where the video is the output of a run, as yet unknown, `inputs` is
    ``{"run": id of that run}``. One whose text is yet to be written in more
    detail stands for what will come of it, and is in no store: its `inputs` have
    ``enhance``, the id of the text that is awaited.
    """

    id: str
    text: str
    negative: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One output video: a prompt through an engine.

    `weights` holds the controls above 0 (0.01–1) in the order of CONTROLS,
    `params` every parameter of the engine, defaults included. The value of a
    parameter that is a file is that file's sha256.
    """

    id: str
    prompt_id: str
    engine: str
    contract: int
    weights: Mapping[str, float]
    params: Mapping[str, Scalar]


RUN = "run"
"""The input of a prompt that works on a run's output: its id, as the content is not known yet."""
