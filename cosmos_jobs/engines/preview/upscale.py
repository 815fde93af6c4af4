"""A video made larger without a model: each picture resized by Lanczos, and no control map."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import cv2

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Pixels, Size
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview.probes import Video, named
from cosmos_jobs.engines.preview.recipes import Recipe
from cosmos_jobs.engines.preview.requests import Request

METHOD = "lanczos"

_FACTOR = 3  # cosmos-transfer1's 4K upscaler makes 3840×2112 of 1280×704
_LONGEST = 3840


def factor(size: Size) -> Fraction:
    """Return by how much a picture grows: 3, or what fits into 3840 pixels, and at least 1."""
    return max(Fraction(1), min(Fraction(_FACTOR), Fraction(_LONGEST, max(size))))


def enlarged(size: Size) -> Size:
    """Return the size of the result, both sides even; less than two pixels of each are lost."""
    width, height = (max(2, int(side * factor(size)) // 2 * 2) for side in size)
    return width, height


def recipe(request: Request, color: Video) -> Recipe:
    """Return how the pictures of a run are made; its clip is the result, at its new size."""
    count = min(color.frames, request.params.max_frames or color.frames)
    clip = Video(color.path, count, enlarged(color.size), color.fps)
    return Recipe("upscale", "color", request.inputs["color"].sha256, METHOD, (), clip)


def pictures(made: Recipe) -> Iterator[Pixels]:
    """Yield the frames of a video at their new size, RGB; raises VideoError, naming the video."""
    with named(made.role):
        for frame in media.frames(made.clip.path, made.clip.frames):
            yield picture(media.rgb(frame), made.clip.size)


def picture(frame: Pixels, size: Size) -> Pixels:
    """Stretch a frame to `size` by Lanczos over 8 × 8 pixels."""
    return filters.resize(frame, size, cv2.INTER_LANCZOS4)
