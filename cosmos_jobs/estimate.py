"""How long a plan will take, from what the store remembers of the same engine and target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from cosmos_jobs.model import Attempt, Estimate, Record, State


def seconds_per_run(records: Iterable[Record], engine: str, target: str) -> float | None:
    """Return the median over past batches of seconds per run, or None without a history."""
    batches: dict[str, list[Attempt]] = defaultdict(list)
    for record in records:
        last = record.last
        if last is not None and record.run.engine == engine and last.target == target:
            batches[last.batch].append(last)
    known = [seconds for attempts in batches.values() if (seconds := _seconds(attempts))]
    return median(known) if known else None


def estimate(
    runs: int,
    per_run_s: float | None,
    slots: int,
    gpus_per_slot: int,
    price_per_gpu_hour: float = 0.0,
) -> Estimate:
    """Return the estimate of `runs` runs, of which `slots` are made at a time."""
    if per_run_s is None:
        return Estimate(runs, runs)
    # Fewer runs than slots take as long as one run does.
    rounds = -(-runs // max(slots, 1))
    gpu_hours = runs * per_run_s * gpus_per_slot / 3600
    return Estimate(runs, 0, rounds * per_run_s, gpu_hours, gpu_hours * price_per_gpu_hour)


def total(costs: Iterable[tuple[str, Estimate]]) -> Estimate:
    """Return the sum of what is to be done, each with its target.

    One target does its work one after the other; targets work at the same time.
    """
    costs = tuple(costs)
    walls: dict[str, float] = defaultdict(float)
    for target, cost in costs:
        walls[target] += cost.wall_s
    return Estimate(
        sum(cost.runs for _, cost in costs),
        sum(cost.unknown for _, cost in costs),
        max(walls.values(), default=0.0),
        sum(cost.gpu_hours for _, cost in costs),
        sum(cost.price for _, cost in costs),
    )


def _seconds(attempts: list[Attempt]) -> float | None:
    """Return seconds per run of one finished batch, from its first start to its last end."""
    starts = [attempt.started for attempt in attempts if attempt.started is not None]
    ends = [attempt.finished for attempt in attempts if attempt.finished is not None]
    if not starts or not ends or any(each.state is not State.SUCCEEDED for each in attempts):
        return None
    return max(max(ends) - min(starts), 0.0) / len(attempts)
