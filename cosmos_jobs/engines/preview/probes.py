"""Input videos, looked at once each; what is wrong with one is told by its role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cosmos_jobs.engines.preview import video
from cosmos_jobs.engines.preview.requests import Source
from cosmos_jobs.engines.preview.video import Video, VideoError


class Probes:
    """Input videos that were looked at, by content."""

    def __init__(self) -> None:
        self._seen: dict[str, Video | VideoError] = {}

    def look(self, source: Source, role: str) -> Video:
        """Return what a video holds; raises VideoError, naming the role."""
        if source.sha256 not in self._seen:
            try:
                self._seen[source.sha256] = video.probe(source.path)
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
