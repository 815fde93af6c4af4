"""The weighted blend of control maps, in the planes that the encoder takes.

All planes are 8-bit YUV 4:2:0, BT.601, 16–235. Blending is linear, so it may
as well happen here as in RGB, at half the bytes, and once converted a map
serves any number of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_jobs.artifacts.media import Pixels

_GREY_TO_LUMA = np.rint(16 + np.arange(256) * 219 / 255).astype(np.uint8)
_NEUTRAL = 128


@dataclass(frozen=True, slots=True)
class Planes:
    """One picture: `y` is (height, width); `u` and `v` are half of that, None where grey."""

    y: Pixels
    u: Pixels | None = None
    v: Pixels | None = None


def planes(image: Pixels) -> Planes:
    """Convert a map: (height, width) levels or (height, width, 3) RGB, of even size."""
    if image.ndim == 2:
        return Planes(np.asarray(cv2.LUT(image, _GREY_TO_LUMA), np.uint8))
    height, width = image.shape[:2]
    packed = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
    return Planes(*split(packed, (height, width)))


def split(packed: Pixels, shape: tuple[int, int]) -> tuple[Pixels, Pixels, Pixels]:
    """Return the Y, U and V planes of a contiguous I420 image of (height, width) as views."""
    height, width = shape
    flat = packed.reshape(-1)
    luma, chroma = height * width, height * width // 4
    half = (height // 2, width // 2)
    return (
        flat[:luma].reshape(shape),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    )


def blend(layers: Sequence[tuple[float, Planes]], out: tuple[Pixels, Pixels, Pixels]) -> None:
    """Write the blend of maps, weighted by weight / sum of weights, into `out`.

    Each weight is above 0. The result is within two levels of the exact one.
    """
    total = sum(weight for weight, _ in layers)
    shares = [weight / total for weight, _ in layers]
    _mix([(share, layer.y) for share, (_, layer) in zip(shares, layers, strict=True)], out[0])
    for channel, target in (("u", out[1]), ("v", out[2])):
        chroma = [
            (share, plane)
            for share, (_, layer) in zip(shares, layers, strict=True)
            if (plane := getattr(layer, channel)) is not None
        ]
        _mix(chroma, target)


def _mix(parts: Sequence[tuple[float, Pixels]], out: Pixels) -> None:
    """Add parts up into `out`; what is missing to a sum of 1 is neutral grey."""
    neutral = _NEUTRAL * (1 - sum(share for share, _ in parts))
    if not parts:
        out.fill(_NEUTRAL)
        return
    share, plane = parts[0]
    cv2.addWeighted(plane, share, plane, 0, neutral, dst=out)
    for share, plane in parts[1:]:
        cv2.addWeighted(out, 1, plane, share, 0, dst=out)
