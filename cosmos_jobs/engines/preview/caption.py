"""The strip below the picture that says what it is and is not."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias

import cv2
import numpy as np

from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.core.run import ROLE_OF
from cosmos_jobs.engines.preview.recipes import STAND_INS
from cosmos_jobs.engines.preview.requests import Request

Colour: TypeAlias = tuple[int, int, int]

TITLE = "PREVIEW of the control maps, not model output"

_BACKGROUND = (24, 24, 27)
_AMBER = (251, 191, 36)
_WHITE = (244, 244, 245)
_DIM = (161, 161, 170)
_BOLD, _REGULAR = 700, 400
_WIDEST = 1920  # of the models' pictures; beyond it are upscaled ones
_LONGEST = 2000  # characters of a text that are looked at; no strip shows more
_ELLIPSIS = "…"


def strip(request: Request, width: int, factor: Fraction | None = None) -> Pixels:
    """Return the caption of a run as (height, `width`, 3), RGB, a multiple of 16 high.

    The height depends on `width` alone, so that the runs of a sweep can be
    laid side by side. `factor` is by how much an upscaled video has grown.
    """
    size, step, margin = _metrics(width)
    image = np.empty((height(width), width, 3), np.uint8)
    image[:] = _BACKGROUND
    face = cv2.FontFace("sans")
    for number, (text, colour, weight) in enumerate(shown(request, width, factor), start=1):
        baseline = margin + number * step - size // 4
        cv2.putText(image, text, (margin, baseline), colour, face, size, weight)
    return image


def shown(
    request: Request, width: int, factor: Fraction | None = None
) -> Iterator[tuple[str, Colour, int]]:
    """Yield the lines of a strip of this width, each with its colour and weight."""
    size, _, margin = _metrics(width)
    negative = f"  (negative: {request.negative})" if request.negative else ""
    texts = (
        (TITLE if factor is None else upscaled(factor), _AMBER, _BOLD),
        (request.prompt + negative, _WHITE, _REGULAR),
        (_weights(request), _WHITE, _BOLD),
        (_details(request), _DIM, _REGULAR),
    )
    for count, (text, colour, weight) in zip(_rows(width), texts, strict=True):
        for line in wrap(text, size, width - 2 * margin, count, weight):
            yield line, colour, weight


def upscaled(factor: Fraction) -> str:
    """Return the title of an upscaled video."""
    return f"UPSCALED {float(factor):.3g}× by plain Lanczos, not model output"


def height(width: int) -> int:
    """Return the height of the strips of this width, in pixels."""
    _, step, margin = _metrics(width)
    return -(-(sum(_rows(width)) * step + 2 * margin) // 16) * 16


def wrap(text: str, size: int, width: int, count: int, weight: int = _REGULAR) -> list[str]:
    """Break `text` into at most `count` lines of `width` pixels; an ellipsis marks a cut."""
    rest = printable(text)
    lines: list[str] = []
    while rest and len(lines) < count:
        end = _fitting(rest, size, width, weight)
        if end < len(rest):
            end = _last_break(rest, end)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest:
        last = lines[-1]
        while last and _width(last + _ELLIPSIS, size, weight) > width:
            last = last[:-1]
        lines[-1] = last.rstrip() + _ELLIPSIS
    return lines


def printable(text: str) -> str:
    """Return text on one line without what no font draws: control and format characters.

    OpenCV would end the text at a NUL, and draw a lone accent beside its letter.
    """
    composed = unicodedata.normalize("NFC", text[:_LONGEST])
    seen = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in composed)
    return " ".join(seen.split())


def _metrics(width: int) -> tuple[int, int, int]:
    """Return the size of the letters, the distance of the lines and the margin, in pixels.

    Larger pictures than any model's are seen scaled down: their letters grow with them.
    """
    size = width // 71 if width > _WIDEST else min(18, max(10, width // 53))
    return size, size * 13 // 10, size // 2


def _rows(width: int) -> tuple[int, int, int, int]:
    """Return how many lines the title, the prompt, the weights and the parameters get.

    Title and weights have room for all of theirs.
    """
    if width >= 640:
        return 1, 2, 1, 2
    return (1, 3, 1, 4) if width >= 320 else (2, 3, 2, 7)


def _weights(request: Request) -> str:
    if request.params.upscale is not None:
        return f"upscale weight: {request.params.upscale:g}, which only a model would use"
    return "weights: " + ", ".join(f"{kind} {each:g}" for kind, each in request.weights.items())


def _details(request: Request) -> str:
    """Return the stand-ins that are in the blend, and the parameters."""
    params = request.params
    frames = [f"max_frames {params.max_frames}"] if params.max_frames else []
    note = [params.note] if params.note else []
    if params.upscale is not None:
        return " · ".join([*frames, *note])
    shown = [
        *(
            f"{kind}: {STAND_INS[kind]} as a stand-in"
            for kind in request.weights
            if kind in STAND_INS and ROLE_OF[kind] not in request.inputs
        ),
        f"edge_threshold {params.edge_threshold}",
        f"blur_strength {params.blur_strength}",
        f"resolution {params.resolution}",
        *frames,
        f"seed {params.seed}",
        f"num_steps {params.num_steps}",
        f"guidance {params.guidance:g}",
        *note,
    ]
    return " · ".join(shown)


def _last_break(text: str, end: int) -> int:
    """Return where to end a line of at most `end` characters: after a word, if it has one."""
    if unicodedata.east_asian_width(text[end]) in "WF":  # scripts that have no spaces
        return end
    space = text.rfind(" ", 0, end + 1)
    return space if space > 0 else end


def _fitting(text: str, size: int, width: int, weight: int) -> int:
    """Return how many characters of `text`, at least one, fit into `width`."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _width(text[:middle], size, weight) <= width else (low, middle - 1)
        )
    return low


def _width(text: str, size: int, weight: int) -> int:
    face = cv2.FontFace("sans")
    x, _, extent, _ = cv2.getTextSize((0, 0), text, (0, 0), face, size, weight)
    return int(x + extent)
