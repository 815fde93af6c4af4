"""Frames → H.264 in an mp4, the same bytes each time."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

FPS = 24

# One thread, because x264's output depends on their number; and an index at the
# start of the file, so that a browser plays it while it loads.
_CONTAINER = {"movflags": "+faststart"}
_TAGS = "colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m"


class Mp4:
    """An mp4 file under a temporary name; leaving the context puts it in place.

    `crf` is x264's quality: 0 is lossless, 23 its default.
    """

    def __init__(self, path: Path, width: int, height: int, crf: int, tune: str = "") -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options=_CONTAINER)
        options = {"crf": str(crf), "preset": "slow", "threads": "1", "x264-params": _TAGS}
        stream = self._container.add_stream(
            "libx264", rate=FPS, options=options | ({"tune": tune} if tune else {})
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        self._stream = stream
        self._count = 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append one frame, (height, width, 3), RGB."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1, FPS)
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if kind is not None:
            # PyAV opens the file with the first frame, so there may be none yet.
            self._partial.unlink(missing_ok=True)
            return
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self._path)
