"""Control maps of one frame, exactly as Cosmos-Transfer2.5 or Cosmos 3 computes them.

Every frame is (height, width, 3), uint8, RGB, 0–255. Edge and luminance maps
are (height, width), the others (height, width, 3), all uint8. The presets are
those of cosmos-transfer2.5 at 2ff49d07 (`control_input.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cosmos_jobs.artifacts.media import Size

Pixels: TypeAlias = NDArray[np.uint8]

EDGE_THRESHOLDS: dict[str, tuple[int, int]] = {
    "none": (20, 50),
    "very_low": (20, 50),
    "low": (50, 100),
    "medium": (100, 200),
    "high": (200, 300),
    "very_high": (300, 400),
}
"""The lower and upper Canny threshold of each `edge_threshold`."""

BLUR_FACTORS: dict[str, tuple[int, int]] = {
    "none": (1, 1),
    "very_low": (1, 4),
    "low": (4, 4),
    "medium": (2, 10),
    "high": (1, 16),
    "very_high": (4, 16),
}
"""Of each `blur_strength`: the downscale before the bilateral filter, and the final one."""

FILE_INTERPOLATION = {
    "vis": cv2.INTER_AREA,
    "edge": cv2.INTER_LINEAR,
    "depth": cv2.INTER_LINEAR,
    "seg": cv2.INTER_NEAREST,
}
"""How a supplied control map is resized to the bucket."""

_BILATERAL = (30, 150, 100)  # diameter, sigma of colour and of space: the same for every preset
_COLOURS = 12
_LUT_BITS = 5
_KMEANS_SEED = 1


def resize(frame: Pixels, size: Size, interpolation: int = cv2.INTER_AREA) -> Pixels:
    """Stretch a frame to `size`, without cropping."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=interpolation), np.uint8)


def cover(frame: Pixels, size: Size) -> Pixels:
    """Scale a frame, its sides in proportion, until it covers `size`, and cut out the middle.

    As Cosmos 3 does it, by an antialiased bilinear of torchvision 0.29.1
    (`_resize_and_center_crop` in `inference/vision.py`): at most 1 level of difference.
    """
    (width, height), (wide, high) = (frame.shape[1], frame.shape[0]), size
    scale = max(wide / width, high / height)
    scaled = math.ceil(scale * width), math.ceil(scale * height)
    if scaled != (width, height):
        frame = _filtered(frame, scaled, Image.Resampling.BILINEAR)
    left, top = round((scaled[0] - wide) / 2), round((scaled[1] - high) / 2)
    return np.ascontiguousarray(frame[top : top + high, left : left + wide])


def edge(frame: Pixels, low: int, high: int) -> Pixels:
    """Return the Canny edges, 0 or 255, of a frame at bucket size.

    Canny 1986 over the three RGB channels, aperture 3, L1 gradient.
    """
    return np.asarray(cv2.Canny(frame, low, high), np.uint8)


def vis(frame: Pixels, downscale: int, factor: int, *, antialias: bool = True) -> Pixels:
    """Return the blurred frame: bilateral filter at 1/`downscale`, then down and up by `factor`.

    The last step is an antialiased bicubic. Against torchvision 0.29.1, which
    the model calls, on a real recording, on noise and on blocks, with every
    preset: at most 1 level of difference, below 0.0001 in the mean. Without
    `antialias` it is OpenCV's bicubic, as in Cosmos 3.
    """
    height, width = frame.shape[:2]
    small = resize(frame, (width // downscale, height // downscale))
    smooth = np.asarray(cv2.bilateralFilter(small, *_BILATERAL), np.uint8)
    blurred = resize(smooth, (width, height), cv2.INTER_LINEAR)
    if factor == 1:
        return blurred
    sizes = (width // factor, height // factor), (width, height)
    for size in sizes:
        if antialias:
            blurred = _filtered(blurred, size, Image.Resampling.BICUBIC)
        else:
            blurred = resize(blurred, size, cv2.INTER_CUBIC)
    return blurred


def luminance(frame: Pixels) -> Pixels:
    """Return the brightness of a frame, the stand-in where no depth is given."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def palette_table(samples: Sequence[Pixels]) -> Pixels:
    """Return a table from 15-bit RGB to the nearest of the k-means colours of `samples`.

    The table is (32768, 3); at most 12 colours. The same samples always give
    the same table.
    """
    tiles = [resize(sample, (96, 64)) for sample in samples]
    points = np.concatenate([tile.reshape(-1, 3) for tile in tiles]).astype(np.float32)
    count = min(_COLOURS, len(np.unique(points, axis=0)))
    cv2.setRNGSeed(_KMEANS_SEED)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1.0)
    start = np.zeros((len(points), 1), np.int32)
    colours = cv2.kmeans(points, count, start, criteria, 2, cv2.KMEANS_PP_CENTERS)[2]
    return _nearest(np.rint(colours).astype(np.int32))


def quantised(frame: Pixels, table: Pixels) -> Pixels:
    """Return a frame in the colours of a `palette_table`, the stand-in for a segmentation."""
    red, green, blue = (channel.astype(np.uint16) for channel in cv2.split(frame >> 3))
    index = (red << 2 * _LUT_BITS) | (green << _LUT_BITS) | blue
    return np.asarray(np.take(table, index, axis=0), np.uint8)


def _filtered(image: Pixels, size: Size, method: Image.Resampling) -> Pixels:
    # In float: on bytes Pillow cuts off what overshoots in one direction before it filters the
    # other, which torchvision does not; at hard edges that is up to 8 levels.
    bands = (Image.fromarray(band.astype(np.float32)) for band in cv2.split(image))
    resized = [np.asarray(band.resize(size, method)) for band in bands]
    return np.rint(cv2.merge(resized)).clip(0, 255).astype(np.uint8)


def _nearest(colours: NDArray[np.int32]) -> Pixels:
    steps = np.arange(1 << _LUT_BITS, dtype=np.int32) * 8 + 4
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    distances = ((grid - colours) ** 2).sum(axis=2)
    return np.asarray(colours[distances.argmin(axis=1)], np.uint8)
