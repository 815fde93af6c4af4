"""Videos and images as a browser can play them, with a poster each; kept by content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import orjson

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Pixels, VideoError
from cosmos_jobs.artifacts.video_writer import VIEWING, Writer
from cosmos_jobs.core import atomic
from cosmos_jobs.core.run import IMAGE_SUFFIXES
from cosmos_jobs.engines import filters

POSTER_WIDTH = 480
SMALL_WIDTH = 320
"""Of videos that go into the page itself."""

_PLAYED = {("h264", "yuv420p"), ("h264", "yuvj420p"), ("vp9", "yuv420p"), ("av1", "yuv420p")}
"""Codecs and pixels that all browsers decode."""

_JPEG_QUALITY = 80
_GROUP = 12  # frames from one that can be jumped to to the next: for scrubbing


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be shown: its content's digest, and how wide it may be where it is encoded anew.

    With `always` it is encoded anew even if a browser plays it.
    """

    path: Path
    sha256: str
    width: int
    always: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser gets: a file that it plays, the poster, and what the video has."""

    file: Path
    poster: Path
    frames: int
    fps: float
    width: int
    height: int
    is_image: bool


@dataclass(frozen=True, slots=True)
class _Facts:
    frames: int
    fps: float
    width: int
    height: int
    plays: bool


def prepare(cache: Path, wanted: Iterable[Wanted]) -> dict[Wanted, Shown | str]:
    """Return each file as it can be shown, or why it cannot; computes what is new."""
    every = list(dict.fromkeys(wanted))
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        found = pool.map(lambda each: _prepared(cache, each), every)
        return dict(zip(every, found, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared(cache: Path, wanted: Wanted) -> Shown | str:
    try:
        return _shown(cache, wanted)
    except VideoError as error:
        return f"the video {error}"
    except OSError as error:
        return f"the video cannot be read: {error.strerror}"


def _shown(cache: Path, wanted: Wanted) -> Shown:
    stem = cache / wanted.sha256
    poster = stem.with_suffix(".jpg")
    facts = _recalled(stem.with_suffix(".json"))
    if facts is None or not poster.exists():
        facts = _looked(wanted.path, poster)
        atomic.write(stem.with_suffix(".json"), orjson.dumps(asdict(facts)))
    is_image = wanted.path.suffix.lower() in IMAGE_SUFFIXES
    file = wanted.path
    if not is_image and (wanted.always or not facts.plays):
        file = cache / f"{wanted.sha256}.{wanted.width}.mp4"
        if not file.exists():
            _encode(wanted.path, file, wanted.width, facts)
    if is_image and wanted.always:
        file = poster
    return Shown(file, poster, facts.frames, facts.fps, facts.width, facts.height, is_image)


def _recalled(path: Path) -> _Facts | None:
    try:
        found: Mapping[str, object] = orjson.loads(path.read_bytes())
        return _Facts(**found)  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return None


def _looked(path: Path, poster: Path) -> _Facts:
    """Look at a video and write its first frame as a poster."""
    seen = media.whole(path)
    first = media.rgb(next(media.frames(path, 1)))
    small = _narrowed(first, POSTER_WIDTH)
    pixels = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    atomic.write(poster, cv2.imencode(".jpg", pixels, quality)[1].tobytes())
    plays = (seen.codec, seen.pixels.name) in _PLAYED
    return _Facts(seen.packets.shown, float(seen.rate), *seen.upright, plays)


def _encode(source: Path, target: Path, width: int, facts: _Facts) -> None:
    """Write a video anew for browsers, at most `width` wide."""
    options = (("preset", "veryfast"), ("crf", "26"), ("g", str(_GROUP)), ("bf", "0"))
    codec = replace(VIEWING, options=options)
    scale = min(1.0, width / facts.width)
    size = (_even(facts.width * scale), _even(facts.height * scale))
    fps = Fraction(facts.fps).limit_denominator(100_000)
    with atomic.replacing(target) as temporary, Writer(temporary, size, fps, codec) as writer:
        for frame in media.frames(source, facts.frames):
            fitted = filters.resize(media.rgb(frame), size)
            writer.write(np.asarray(cv2.cvtColor(fitted, cv2.COLOR_RGB2YUV_I420), np.uint8))


def _narrowed(picture: Pixels, width: int) -> Pixels:
    scale = min(1.0, width / picture.shape[1])
    return filters.resize(
        picture, (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    )


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))
