"""Video files as streams of frames: never a whole video in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from cosmos_jobs.engines.preview.buckets import Size
from cosmos_jobs.engines.preview.maps import Pixels

_DECODER_THREADS = 4  # each holds a frame: bounded on machines with many cores

# All decoders paint over broken data. Most say nothing unless they are strict; this one marks the
# frames (on several threads, measured), and strict it would refuse whole recordings for an odd
# message between the pictures, which cameras write and no player minds.
_MARK_DAMAGE = ("h264",)


class VideoError(Exception):
    """A video cannot be used; raised here, the message begins with the verb."""


@dataclass(frozen=True, slots=True)
class Video:
    """What a video file holds: `frames` that can be read, upright `size`, exact `fps`."""

    path: Path
    frames: int
    size: Size
    fps: Fraction


@dataclass(frozen=True, slots=True)
class Codec:
    """How frames are encoded: the format of their pixels, in the file too, and x264's options.

    The number of threads is fixed because x264's output depends on it.
    """

    encoder: str
    pixels: str
    options: tuple[tuple[str, str], ...]
    color_range: ColorRange
    threads: int


# Lossless is qp 0 without conversion of colours. The presets are the ones that were quickest to
# encode and decode together, measured on maps of a real recording at 960×704.
LOSSLESS_GREY = Codec(
    encoder="libx264",
    pixels="gray",
    options=(("preset", "superfast"), ("qp", "0"), ("bf", "0")),
    color_range=ColorRange.JPEG,
    threads=4,
)
LOSSLESS_RGB = Codec(
    encoder="libx264rgb",
    pixels="rgb24",
    options=(("preset", "ultrafast"), ("qp", "0"), ("bf", "0")),
    color_range=ColorRange.JPEG,
    threads=4,
)
VIEWING = Codec(
    encoder="libx264",
    pixels="yuv420p",
    options=(("preset", "superfast"), ("crf", "20"), ("bf", "0")),
    color_range=ColorRange.MPEG,
    threads=1,
)


def probe(path: Path) -> Video:
    """Look at a video file without decoding more than its first frame.

    Raises VideoError if it cannot be opened, has no frames or ends early.
    """
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise VideoError("has no frame rate")
        count = _count(container, stream)
    first = next(frames(path, 1))
    height, width = rgb(first).shape[:2]
    return Video(path, count, (width, height), Fraction(rate))


def frames(path: Path, limit: int) -> Iterator[av.VideoFrame]:
    """Decode exactly the first `limit` frames of a file, one after the other.

    Raises VideoError where the file ends or breaks before that. Damage that
    reads as other valid video cannot be noticed: with bits flipped in 120 places
    of H.264 files, 110 were noticed, 3 harmless and 7 not noticed (CAVLC, one
    bit); of 12 places in HEVC, 9 were not.
    """
    done = 0
    with _opened(path) as (container, stream):
        try:
            for frame in islice(container.decode(stream), limit):
                if frame.is_corrupt:
                    raise VideoError(f"is damaged at frame {done}")
                yield frame
                done += 1
        except av.FFmpegError as error:
            # Decoders work ahead: the frame that breaks is a few after the last that came.
            raise VideoError(f"is damaged after frame {done}: {error.strerror}") from error
    if done < limit:
        raise VideoError(f"can be decoded only in part: {done} of {limit} frames")


def rgb(frame: av.VideoFrame) -> Pixels:
    """Return a frame as (height, width, 3), RGB, turned upright as players show it."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), np.uint8)


def grey(frame: av.VideoFrame) -> Pixels:
    """Return the (height, width) levels of a frame that was written as LOSSLESS_GREY."""
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


class Writer:
    """Writes an mp4 with a constant frame rate, playable from its first byte on."""

    def __init__(self, path: Path, size: Size, fps: Fraction, codec: Codec) -> None:
        self._codec = codec
        self._tick = 1 / fps
        self._frames = 0
        self._broken: av.FFmpegError | None = None
        options = {"movflags": "+faststart"}
        self._container = av.open(path, "w", format="mp4", options=options)
        self._stream = self._add_stream(size, fps)

    def write(self, image: Pixels) -> None:
        """Append one image, in the format of the codec's pixels; raises av.FFmpegError.

        Once it has raised, it raises again.
        """
        if self._broken:
            # FFmpeg would crash: a file whose header could not be written takes no pictures.
            raise self._broken
        frame = av.VideoFrame.from_ndarray(image, format=self._codec.pixels)
        frame.pts = self._frames
        frame.time_base = self._tick
        frame.color_range = self._codec.color_range
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            self._broken = error
            raise
        self._frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def _add_stream(self, size: Size, fps: Fraction) -> VideoStream:
        codec = self._codec
        added = self._container.add_stream(codec.encoder, rate=fps, options=dict(codec.options))
        stream = cast(VideoStream, added)
        stream.width, stream.height = size
        stream.pix_fmt = codec.pixels
        context = stream.codec_context
        context.time_base = self._tick
        context.thread_count = codec.threads
        context.color_range = codec.color_range
        if codec.pixels == "yuv420p":
            # cv2 converts by BT.601; without a tag, players take HD for BT.709.
            context.colorspace = Colorspace.ITU601
        return stream


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise VideoError("has no picture")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError("has a codec that cannot be decoded here")
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _DECODER_THREADS
            if stream.codec_context.name not in _MARK_DAMAGE:
                stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        # The text of these errors holds the path; the reader knows the video by its role.
        raise VideoError(f"cannot be read: {error.strerror or type(error).__name__}") from error


def _count(container: InputContainer, stream: VideoStream) -> int:
    shown = hidden = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise VideoError(f"is damaged at frame {shown}")
        hidden += packet.is_discard
        shown += packet.size > 0 and not packet.is_discard
    if shown + hidden < stream.frames:
        raise VideoError(f"ends early: {shown} of {stream.frames} frames are there")
    if shown == 0:
        raise VideoError("has no frames")
    return shown
