"""Encodes the outputs of several runs that share a clip, reading each map once for all."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from cosmos_jobs.artifacts import media, video_writer
from cosmos_jobs.artifacts.media import Pixels, Size, VideoError
from cosmos_jobs.core import atomic
from cosmos_jobs.engines.preview import blend, caption, upscale
from cosmos_jobs.engines.preview.blend import Planes
from cosmos_jobs.engines.preview.errors import EXPECTED
from cosmos_jobs.engines.preview.probes import Video
from cosmos_jobs.engines.preview.recipes import Recipe
from cosmos_jobs.engines.preview.requests import Request

Pictures: TypeAlias = Mapping[Recipe, Planes]
OUTPUT = "output.mp4"

Output: TypeAlias = Generator[None, Pictures | None, None]

_FRAMES_AT_ONCE = 4  # enough to keep the cores busy between two waits, few enough for memory


@dataclass(frozen=True, slots=True)
class Work:
    """A run with the recipes of its maps, by kind, and the folder to fill.

    `source_frames` is the length of the whole color video; `clip` is the part
    that the run uses, at the size of its picture. `layers` are what is blended,
    with their weights. `factor` is by how much an upscaled video has grown; that
    has one layer, itself, and no maps.
    """

    request: Request
    folder: Path
    source_frames: int
    clip: Video
    recipes: Mapping[str, Recipe]
    layers: tuple[tuple[float, Recipe], ...]
    factor: Fraction | None = None


def encode(
    works: Sequence[Work],
    find: Callable[[Recipe], Path],
    pool: Executor,
    tick: Callable[[int], None],
) -> dict[str, Exception]:
    """Write the output of each run; return the errors by run id, empty where all went well.

    The runs share one clip. `find` returns the file of a map. `tick` is told
    how many more frames are encoded. Raises VideoError where a map is unreadable.
    """
    needed = dict.fromkeys(recipe for work in works for _, recipe in work.layers)
    readers = {recipe: _pictures(recipe, find) for recipe in needed}
    # Captions are drawn here, on one thread: nothing says that OpenCV's fonts are safe on more.
    strips = [caption.strip(work.request, work.clip.size[0], work.factor) for work in works]
    outputs = {
        work.request.id: _output(work, strip) for work, strip in zip(works, strips, strict=True)
    }
    errors: dict[str, Exception] = {}
    try:
        _each(pool, outputs, errors, next)
        for batch in _batches(pool, readers):
            _each(pool, outputs, errors, partial(_send, batch))
            tick(len(batch) * len(outputs))
        _each(pool, outputs, errors, _finish)
    finally:
        for output in outputs.values():
            output.close()
    return errors


def output_size(clip: Size) -> Size:
    """Return the size of an output: the picture and the caption below it."""
    return clip[0], clip[1] + caption.height(clip[0])


def _batches(
    pool: Executor, readers: Mapping[Recipe, Iterator[Planes]]
) -> Iterator[Sequence[Pictures]]:
    """Yield some frames of all maps at a time; the next are decoded meanwhile."""
    ahead = _read(pool, readers)
    try:
        while columns := list(zip(*(future.result() for future in ahead), strict=True)):
            ahead = _read(pool, readers)
            yield [dict(zip(readers, column, strict=True)) for column in columns]
    finally:
        wait(ahead)


def _read(pool: Executor, readers: Mapping[Recipe, Iterator[Planes]]) -> list[Future[list[Planes]]]:
    return [pool.submit(_some, reader) for reader in readers.values()]


def _some(reader: Iterator[Planes]) -> list[Planes]:
    return list(islice(reader, _FRAMES_AT_ONCE))


def _pictures(recipe: Recipe, find: Callable[[Recipe], Path]) -> Iterator[Planes]:
    """Return the frames of a layer, ready to blend; raises VideoError, naming what is wrong."""
    images = (
        upscale.pictures(recipe) if recipe.method == upscale.METHOD else _map(recipe, find(recipe))
    )
    return map(blend.planes, images)


def _map(recipe: Recipe, path: Path) -> Iterator[Pixels]:
    read = media.grey if recipe.is_grey else media.rgb
    try:
        for frame in media.frames(path, recipe.clip.frames):
            yield read(frame)
    except VideoError as error:
        raise VideoError(f"the computed {recipe.kind} map {error}") from error


def _output(work: Work, strip: Pixels) -> Output:
    """Take the pictures of each frame and write them above `strip`; None ends the file."""
    clip = work.clip
    size = output_size(clip.size)
    canvas, picture = _canvas(strip, clip.size)
    with (
        atomic.replacing(work.folder / OUTPUT) as temporary,
        video_writer.Writer(temporary, size, clip.fps, video_writer.VIEWING) as writer,
    ):
        while (pictures := (yield)) is not None:
            blend.blend([(weight, pictures[recipe]) for weight, recipe in work.layers], picture)
            writer.write(canvas)


def _canvas(strip: Pixels, size: Size) -> tuple[Pixels, tuple[Pixels, Pixels, Pixels]]:
    """Return an I420 image with the caption in place, and the planes of the picture above it."""
    width, height = size
    blank = np.zeros((height, width, 3), np.uint8)
    canvas = np.asarray(cv2.cvtColor(np.vstack([blank, strip]), cv2.COLOR_RGB2YUV_I420), np.uint8)
    y, u, v = blend.split(canvas, (height + len(strip), width))
    return canvas, (y[:height], u[: height // 2], v[: height // 2])


def _send(batch: Sequence[Pictures], output: Output) -> None:
    for pictures in batch:
        output.send(pictures)


def _finish(output: Output) -> None:
    try:
        output.send(None)
    except StopIteration:
        return


def _each(
    pool: Executor,
    outputs: dict[str, Output],
    errors: dict[str, Exception],
    step: Callable[[Output], None],
) -> None:
    """Do one step for every output; one that fails leaves `outputs` for `errors`."""
    futures = {run: pool.submit(step, output) for run, output in outputs.items()}
    try:
        wait(futures.values())
    except BaseException:
        # The program is told to end. A generator cannot be closed while a thread runs it.
        for future in futures.values():
            future.cancel()
        wait(futures.values())
        raise
    for run, future in futures.items():
        try:
            future.result()
        except EXPECTED as error:
            errors[run] = error
            del outputs[run]
