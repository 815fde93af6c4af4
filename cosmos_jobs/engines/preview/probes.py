"""Input videos, looked at once each; what is wrong with one is told by its role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Size, VideoError
from cosmos_jobs.engines.preview.requests import Source


@dataclass(frozen=True, slots=True)
class Video:
    """What is read of a video file: `frames` from its first on, upright `size`, exact `fps`."""

    path: Path
    frames: int
    size: Size
    fps: Fraction


def probe(path: Path) -> Video:
    """Look at a video file without decoding more than its first frame.

    Raises VideoError if it cannot be opened, has no frames or ends early.
    """
    seen = media.whole(path)
    return Video(path, seen.packets.shown, seen.upright, seen.rate)


class Probes:
    """Input videos that were looked at, by content."""

    def __init__(self) -> None:
        self._seen: dict[str, Video | VideoError] = {}

    def look(self, source: Source, role: str) -> Video:
        """Return what a video holds; raises VideoError, naming the role."""
        if source.sha256 not in self._seen:
            try:
                self._seen[source.sha256] = probe(source.path)
            except VideoError as error:
                self._seen[source.sha256] = error
        seen = self._seen[source.sha256]
        if isinstance(seen, VideoError):
            raise VideoError(f"the {role} video {seen}") from seen
        return seen


@contextmanager
def named(role: str) -> Iterator[None]:
    """Complete the message of a VideoError with the video that it is about."""
    try:
        yield
    except VideoError as error:
        raise VideoError(f"the {role} video {error}") from error
