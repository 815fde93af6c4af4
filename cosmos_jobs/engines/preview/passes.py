"""Computes the maps of an input video in one pass over it, on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import av
import cv2

from cosmos_jobs.artifacts import media, video_writer
from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview.buckets import COSMOS3
from cosmos_jobs.engines.preview.cache import Cache
from cosmos_jobs.engines.preview.errors import EXPECTED
from cosmos_jobs.engines.preview.probes import named
from cosmos_jobs.engines.preview.recipes import FILE, Recipe

Painter: TypeAlias = Callable[[Pixels], Pixels]
_T = TypeVar("_T")
_R = TypeVar("_R")

_PALETTE_SAMPLES = 6
_WRITES_IN_FLIGHT = 8


def fill(
    wanted: Mapping[Recipe, Path],
    cache: Cache,
    pool: Executor,
    jobs: int,
    tell: Callable[[int, int], None],
) -> dict[Recipe, Exception]:
    """Put those maps into the cache that it lacks; return why some could not be made.

    `wanted` are the maps and the videos that they are made from. `pool` has
    `jobs` threads. Calls `tell` with the frames done and all frames of a pass.
    """
    passes: dict[object, list[Recipe]] = {}
    for recipe in wanted:
        if not cache.find(recipe.name()):
            passes.setdefault(_shared(recipe), []).append(recipe)
    errors: dict[Recipe, Exception] = {}
    for missing in passes.values():
        total, steps = missing[0].clip.frames, count(1)
        tick = partial(_tick, tell, steps, total)
        try:
            with named(missing[0].role):
                compute(missing, wanted[missing[0]], cache, pool, window=2 * jobs, tick=tick)
        except EXPECTED as error:
            errors |= dict.fromkeys(missing, error)
    return errors


def _shared(recipe: Recipe) -> tuple[object, ...]:
    """Return what maps must have in common to be made in one pass."""
    return recipe.source, recipe.clip, recipe.model, _interpolation(recipe)


def _tick(tell: Callable[[int, int], None], steps: Iterator[int], total: int) -> None:
    tell(next(steps), total)


def compute(
    recipes: Sequence[Recipe],
    path: Path,
    cache: Cache,
    pool: Executor,
    window: int,
    tick: Callable[[], None],
) -> None:
    """Put the maps of `recipes` into the cache, `window` frames at a time in `pool`.

    All of them are made from the same frames of the video `path` and share a
    pass. Calls `tick` after each frame. Raises VideoError; then
    none of the maps is kept.
    """
    first = recipes[0]
    painters = [_painter(recipe, path) for recipe in recipes]
    draw = partial(_draw, painters, _fitting(first))
    with ExitStack() as stack:
        lanes = [stack.enter_context(_lane(recipe, cache)) for recipe in recipes]
        frames = media.frames(path, first.clip.frames)
        for images in ordered(pool, draw, frames, window):
            for write, image in zip(lanes, images, strict=True):
                write(image)
            tick()


def _fitting(recipe: Recipe) -> Painter:
    """Return how the frames that a map is made from are brought to the bucket's size."""
    if recipe.model == COSMOS3:
        return partial(filters.cover, size=recipe.clip.size)
    return partial(filters.resize, size=recipe.clip.size, interpolation=_interpolation(recipe))


def _interpolation(recipe: Recipe) -> int:
    computed = recipe.method != FILE or recipe.model == COSMOS3
    return cv2.INTER_AREA if computed else filters.FILE_INTERPOLATION[recipe.kind]


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


def _draw(painters: Sequence[Painter], fit: Painter, frame: av.VideoFrame) -> list[Pixels]:
    fitted = fit(media.rgb(frame))
    return [paint(fitted) for paint in painters]


def _painter(recipe: Recipe, path: Path) -> Painter:
    match recipe.method, recipe.settings:
        case "canny", (low, high):
            return lambda frame: filters.edge(frame, low, high)
        case "bilateral", (downscale, factor):
            antialias = recipe.model != COSMOS3
            return lambda frame: filters.vis(frame, downscale, factor, antialias=antialias)
        case "luminance", _:
            return filters.luminance
        case "k-means", _:
            table = filters.palette_table(_samples(path, recipe.clip.frames))
            return lambda frame: filters.quantised(frame, table)
        case _:
            return lambda frame: frame


def _samples(path: Path, count: int) -> list[Pixels]:
    step = -(-count // _PALETTE_SAMPLES)
    return [media.rgb(frame) for frame in islice(media.frames(path, count), 0, None, step)]


@contextmanager
def _lane(recipe: Recipe, cache: Cache) -> Iterator[Callable[[Pixels], None]]:
    """Give a function that encodes a map on a thread of its own, a few images behind at most."""
    codec = video_writer.LOSSLESS_GREY if recipe.is_grey else video_writer.LOSSLESS_RGB
    pending: deque[Future[None]] = deque()
    with (
        cache.adding(recipe.name()) as path,
        video_writer.Writer(path, recipe.clip.size, recipe.clip.fps, codec) as writer,
        ThreadPoolExecutor(1) as thread,
    ):

        def write(image: Pixels) -> None:
            if len(pending) >= _WRITES_IN_FLIGHT:
                pending.popleft().result()
            pending.append(thread.submit(writer.write, image))

        yield write
        while pending:
            pending.popleft().result()
