"""Wait for what happens, and not for a time in which it should have happened."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60
"""How long a busy machine may take for what takes no time."""


def until(
    met: Callable[[], object],
    seconds: float = PATIENCE_S,
    why: Callable[[], object] = lambda: "waited in vain",
) -> None:
    """Wait until something is so; `why` says what is the case where it does not come."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, why()
        time.sleep(0.01)
