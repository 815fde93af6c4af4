"""Operations to look at what was made: measure it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cosmos_jobs.model import Record, State
from cosmos_jobs.operations.flight import Flight

if TYPE_CHECKING:
    from cosmos_jobs.metrics import Measured


class Results(Flight):
    """What can be done to choose among videos."""

    def evaluate(
        self, names: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
    ) -> tuple[tuple[Record, ...], dict[str, Measured]]:
        """Measure the videos of runs, jobs or job files, or all; return these runs, and by run id.

        Runs without a video are left out. What was measured before is not
        measured again. `progress` is told the runs done and the runs in all.
        Raises UsageError for a name that is none.
        """
        from cosmos_jobs.evaluate import Evaluation

        known = self.store.snapshot()
        chosen = self.select(names, frozenset(State))
        records = tuple(known.runs[each] for each in chosen if known.runs[each].output)
        silent = progress or (lambda done, total: None)
        return records, Evaluation(self.project, known).measure(records, silent)

    def measured(self, records: Sequence[Record]) -> dict[str, Measured]:
        """Return what was measured of runs before, by run id: no video is read."""
        from cosmos_jobs.evaluate import Evaluation

        return Evaluation(self.project, self.store.snapshot()).recall(records)

    def ranked(self, records: Sequence[Record], by: str) -> tuple[Record, ...]:
        """Return runs by their `rating` or a metric, the best first, those without it last."""
        from cosmos_jobs import evaluate

        if by == "rating":
            return tuple(sorted(records, key=lambda each: -(each.rating or 0)))
        return evaluate.ranked(records, self.measured(records), by)
