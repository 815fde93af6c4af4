"""Writes video files frame by frame: maps without loss, and what people look at."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from cosmos_jobs.artifacts.media import Pixels, Size


@dataclass(frozen=True, slots=True, kw_only=True)
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
