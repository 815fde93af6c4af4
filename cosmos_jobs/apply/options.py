"""How a plan is carried out: one value, from who asks for it to the loop that does it."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_jobs.core.job import MAX_RUNS


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How a plan is carried out.

    It is refused when it would start more than `max_runs`, or take more than
    `max_gpu_hours`, None for no limit. With `fail_fast` the first failure stops
    the others. `canary` runs of each kind of batch are made first, 0 for none.
    With `detach` nobody waits for runs once the machines have them. `with_logs`
    tells what engines say.
    """

    max_runs: int = MAX_RUNS
    max_gpu_hours: float | None = None
    fail_fast: bool = False
    canary: int = 0
    detach: bool = False
    with_logs: bool = False


DEFAULTS = ApplyOptions()
