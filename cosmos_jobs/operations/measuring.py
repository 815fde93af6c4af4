"""Measure videos, recall what was measured, and sort runs by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cosmos_jobs.checks import evaluate as evaluation
from cosmos_jobs.checks.evaluate import Evaluation
from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.core.record import Record, State
from cosmos_jobs.operations.listing import select
from cosmos_jobs.operations.session import Session


def evaluate(
    session: Session, names: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[Record, ...], dict[str, Measured]]:
    """Measure the videos of runs, jobs or job files, or all; return these runs, and by run id.

    Runs without a video are left out. What was measured before is not
    measured again. `progress` is told the runs done and the runs in all.
    Raises UsageError for a name that is none.
    """
    known = session.store.snapshot()
    chosen = select(session, names, frozenset(State))
    records = tuple(known.runs[each] for each in chosen if known.runs[each].output)
    silent = progress or (lambda done, total: None)
    return records, Evaluation(session.project, known).measure(records, silent)


def measured(session: Session, records: Sequence[Record]) -> dict[str, Measured]:
    """Return what was measured of runs before, by run id: no video is read."""
    return Evaluation(session.project, session.store.snapshot()).recall(records)


def ranked(session: Session, records: Sequence[Record], by: str) -> tuple[Record, ...]:
    """Return runs by their `rating` or a metric, the best first, those without it last."""
    if by == "rating":
        return tuple(sorted(records, key=lambda each: -(each.rating or 0)))
    return evaluation.ranked(records, measured(session, records), by)
