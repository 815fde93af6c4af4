"""What the program says on its standard output while it works."""

from __future__ import annotations

import time

_PAUSE_S = 0.5


class Log:
    """Prints a line for every run that ends, and now and then how far the frames are.

    Only the main thread calls it.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._expected = self._encoded = 0
        self._last = 0.0

    def expect(self, frames: int) -> None:
        """Set how many frames of outputs there are to encode."""
        self._expected = frames

    def encoded(self, frames: int) -> None:
        """Count frames of outputs."""
        self._encoded += frames
        self._now_and_then(f"progress {self._encoded} of {self._expected}")

    def computed(self, done: int, total: int) -> None:
        """Say how far one pass over an input video is."""
        self._now_and_then(f"maps {done} of {total}")

    def made(self, run: str, frames: int) -> None:
        """Say that a run is complete."""
        _say(f"made {run} {frames} frames")

    def failed(self, run: str, reason: str) -> None:
        """Say that a run failed, and why."""
        self.failures += 1
        _say(f"failed {run} {reason}")

    def _now_and_then(self, line: str) -> None:
        now = time.monotonic()
        if now - self._last >= _PAUSE_S:
            self._last = now
            _say(line)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201, this is the log
