"""How long to wait between two tries, or two looks at something that may have changed."""

from __future__ import annotations

import random
from dataclasses import dataclass

_ENOUGH = 64
"""After so many tries every pause is the longest; a larger power may be no float."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses in seconds, from the `shortest` to the `longest`, each longer by the factor `growth`.

    `spread` is the part of a pause that chance may take away: those who failed
    together do not try again together.
    """

    shortest: float
    longest: float
    growth: float = 2.0
    spread: float = 0.0

    def pause(self, number: int) -> float:
        """Return how long to wait after try `number`, counted from 0."""
        steady = min(self.longest, self.shortest * self.growth ** min(number, _ENOUGH))
        return steady * random.uniform(1 - self.spread, 1)  # noqa: S311 - nothing secret
