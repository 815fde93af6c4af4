"""Pending runs become batches: one engine process each, so that the model loads once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cosmos_jobs.core import identity
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.run import Run


def group(
    runs: Sequence[Run],
    attempts: Mapping[str, int],
    target: str,
    key: Callable[[Run], str],
    max_batch: int,
    before: Mapping[str, str] | None = None,
    *,
    slots: int = 1,
) -> tuple[Batch, ...]:
    """Return batches of at most `max_batch` runs that share an engine and its `key`.

    Where there are fewer of them than the `slots` that could work at the same
    time they are smaller: to load the model once more costs less than an idle GPU.

    Runs keep their order within a batch, except that those of one prompt, and
    so of one input video, stand together. `attempts` says how often each run
    was tried before, `before` in which batches of others: that makes a retry's
    batch another one.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.engine, key(run)), []).append(run)
    batches = []
    pieces = -(-slots // max(len(groups), 1))
    for (engine, _), members in groups.items():
        size = min(max_batch, -(-len(members) // pieces))
        first = {run.prompt_id: index for index, run in reversed([*enumerate(members)])}
        members.sort(key=lambda run: first[run.prompt_id])
        for start in range(0, len(members), size):
            ids = tuple(run.id for run in members[start : start + size])
            tried = {run_id: attempts.get(run_id, 0) for run_id in ids}
            others = {run_id: held for run_id in ids if (held := (before or {}).get(run_id))}
            batches.append(Batch(identity.batch_id(tried, others), engine, target, ids))
    return tuple(batches)
