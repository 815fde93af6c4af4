"""Computes the maps of one input video in one pass over it, on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import av
import cv2

from cosmos_jobs.engines.preview import maps, video
from cosmos_jobs.engines.preview.buckets import Size
from cosmos_jobs.engines.preview.cache import Cache
from cosmos_jobs.engines.preview.maps import Pixels
from cosmos_jobs.engines.preview.recipes import FILE, Recipe

Painter: TypeAlias = Callable[[Pixels], Pixels]
_T = TypeVar("_T")
_R = TypeVar("_R")

_PALETTE_SAMPLES = 6
_WRITES_IN_FLIGHT = 8


def compute(
    recipes: Sequence[Recipe],
    path: Path,
    cache: Cache,
    pool: Executor,
    window: int,
    tick: Callable[[], None],
) -> None:
    """Put the maps of `recipes` into the cache, `window` frames at a time in `pool`.

    All of them are made from the same frames of the video `path` and have the
    same `interpolation`. Calls `tick` after each frame. Raises VideoError; then
    none of the maps is kept.
    """
    first = recipes[0]
    painters = [_painter(recipe, path) for recipe in recipes]
    draw = partial(_draw, painters, first.clip.size, interpolation(first))
    with ExitStack() as stack:
        lanes = [stack.enter_context(_lane(recipe, cache)) for recipe in recipes]
        frames = video.frames(path, first.clip.frames)
        for images in ordered(pool, draw, frames, window):
            for write, image in zip(lanes, images, strict=True):
                write(image)
            tick()


def interpolation(recipe: Recipe) -> int:
    """Return how the frames that a map is made from are resized to the bucket."""
    return maps.FILE_INTERPOLATION[recipe.kind] if recipe.method == FILE else cv2.INTER_AREA


def ordered(
    pool: Executor, function: Callable[[_T], _R], items: Iterable[_T], window: int
) -> Iterator[_R]:
    """Yield `function` of each item, in order, with at most `window` of them under way."""
    pending: deque[Future[_R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _draw(
    painters: Sequence[Painter], size: Size, method: int, frame: av.VideoFrame
) -> list[Pixels]:
    fitted = maps.resize(video.rgb(frame), size, method)
    return [paint(fitted) for paint in painters]


def _painter(recipe: Recipe, path: Path) -> Painter:
    match recipe.method, recipe.settings:
        case "canny", (low, high):
            return lambda frame: maps.edge(frame, low, high)
        case "bilateral", (downscale, factor):
            return lambda frame: maps.vis(frame, downscale, factor)
        case "luminance", _:
            return maps.luminance
        case "k-means", _:
            table = maps.palette_table(_samples(path, recipe.clip.frames))
            return lambda frame: maps.quantised(frame, table)
        case _:
            return lambda frame: frame


def _samples(path: Path, count: int) -> list[Pixels]:
    step = -(-count // _PALETTE_SAMPLES)
    return [video.rgb(frame) for frame in islice(video.frames(path, count), 0, None, step)]


@contextmanager
def _lane(recipe: Recipe, cache: Cache) -> Iterator[Callable[[Pixels], None]]:
    """Give a function that encodes a map on a thread of its own, a few images behind at most."""
    codec = video.LOSSLESS_GREY if recipe.is_grey else video.LOSSLESS_RGB
    pending: deque[Future[None]] = deque()
    with (
        cache.adding(recipe.name()) as path,
        video.Writer(path, recipe.clip.size, recipe.clip.fps, codec) as writer,
        ThreadPoolExecutor(1) as thread,
    ):

        def write(image: Pixels) -> None:
            if len(pending) >= _WRITES_IN_FLIGHT:
                pending.popleft().result()
            pending.append(thread.submit(writer.write, image))

        yield write
        while pending:
            pending.popleft().result()
