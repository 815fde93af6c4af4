"""A plan, what it costs, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.job import Desired, Job, Selection
from cosmos_jobs.core.record import Record
from cosmos_jobs.errors import CosmosJobsError
from cosmos_jobs.plan.reasons import Reason


class Action(StrEnum):
    """What apply will do about a run.

    TAKE: others have published its output. ENHANCE: its prompt is enhanced
    first, then it is known what becomes of it; UNKNOWN: there is no such text.
    """

    CREATE = "create"
    RETRY = "retry"
    FORCE = "force"
    ENHANCE = "enhance"
    UNKNOWN = "unknown"
    WAIT = "wait"
    TAKE = "take"
    KEEP = "keep"
    BLOCKED = "blocked"
    ORPHAN = "orphan"

    @property
    def told(self) -> Action:
        """The action that documents and sums name: they know neither TAKE nor ENHANCE."""
        return _TOLD.get(self, self)


_TOLD = {Action.TAKE: Action.KEEP, Action.ENHANCE: Action.UNKNOWN}

STARTS = frozenset({Action.CREATE, Action.RETRY, Action.FORCE})
"""The actions that start a run."""

WITHOUT_TEXT = frozenset({Action.ENHANCE, Action.UNKNOWN})
"""The actions for a run whose prompt has no enhanced text: it has no id."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: what happens to a run of a job, and why.

    One WITHOUT_TEXT has no run id yet.
    `attempts` is how often it was tried so far; apply starts it only while that still holds.
    """

    action: Action
    run_id: str
    job: str
    place: str
    reason: Reason
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What apply will do, against which store: `lineage` and `serial` say which."""

    changes: tuple[Change, ...]
    lineage: str
    serial: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Wall seconds, GPU hours and price of the runs that a plan starts.

    `unknown` counts the runs that nothing tells about: they are in no sum.
    `low` and `high` are factors on the others: the range of what was measured.
    `tables` of the runs go by NVIDIA's tables, which leave out guardrails and
    the load of the model; the others by at most `batches` past ones.
    """

    runs: int = 0
    unknown: int = 0
    wall_s: float = 0.0
    gpu_hours: float = 0.0
    price: float = 0.0
    low: float = 1.0
    high: float = 1.0
    tables: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan with the jobs that it is for, the warnings of their files and its cost.

    `desired` are the selected runs, job by job, without those that await an
    enhanced text; `refusals` say why apply will not carry the plan out.
    """

    selection: Selection
    jobs: tuple[Job, ...]
    desired: tuple[Desired, ...]
    plan: Plan
    warnings: tuple[Diagnostic, ...]
    estimate: Estimate
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of an apply: the record of every desired run.

    It `started` some; others were in flight already, and it `awaited` them.
    Those `held_back` were not started, as a canary did not succeed. `troubles`
    are machines that were left alone, and why; `traffic` is what went over
    the connections. Of runs whose prompt could not be enhanced `planned` says why.
    """

    planned: Planned
    started: frozenset[str]
    awaited: frozenset[str]
    records: tuple[Record, ...]
    held_back: frozenset[str] = frozenset()
    troubles: tuple[CosmosJobsError, ...] = ()
    traffic: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of runs that were in flight; `troubles` and `traffic` as in Applied."""

    records: tuple[Record, ...]
    troubles: tuple[CosmosJobsError, ...] = ()
    traffic: tuple[str, ...] = ()
