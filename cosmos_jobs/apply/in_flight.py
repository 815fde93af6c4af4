"""A batch in flight: a value with a phase, which what is seen of it moves on.

`advance` is pure, and nothing else makes one batch in flight of another: no
disk, network or clock. Times arrive in what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.record import Output, State
from cosmos_jobs.engines.base import Engine

FINAL = frozenset({Life.EXITED, Life.CANCELLED, Life.GONE, Life.REFUSED})
"""Lives that a batch does not leave again."""

NOWHERE = Status(Life.ABSENT)


class Phase(StrEnum):
    """How far a batch is.

    UNASSIGNED: any machine of its target may get it. ASSIGNED: one is to get
    it, or may have it from another process. SENT: we began to give it to that
    machine, which may have it. TAKEN: the machine said that it has it. RUNNING:
    it was seen there, at work or waiting for a GPU. ENDED: the machine has no
    more to say of it. SETTLED: nothing more will come of any of its runs.
    """

    UNASSIGNED = "unassigned"
    ASSIGNED = "assigned"
    SENT = "sent"
    TAKEN = "taken"
    RUNNING = "running"
    ENDED = "ended"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A batch that is followed.

    `machine` is empty while none has it. `known` are the batches that had its
    runs before. `is_ours` says whether this process claimed it, `is_looked_at`
    whether its machine was asked since it was last given to it, `sent` when we
    last began to give it to one, by the monotonic clock, and `is_taken` whether
    that has taken it. `outcomes` is what the engine says of runs, `outputs` the
    videos that are here; `ended` are the runs of which nothing more will come.
    `recorded` is the stage that the store knows. One that `is_stopped` was asked to end.
    """

    batch: Batch
    engine: Engine
    machine: str = ""
    is_ours: bool = False
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    status: Status = NOWHERE
    is_looked_at: bool = False
    sent: float | None = None
    submissions: int = 0
    is_taken: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    recorded: tuple[object, ...] = ()
    is_stopped: bool = False

    @property
    def id(self) -> str:
        """The batch's id."""
        return self.batch.id

    @property
    def phase(self) -> Phase:
        """How far it is: it follows from what was seen, so that the two never disagree."""
        if self.is_settled:
            return Phase.SETTLED
        if self.is_final:
            return Phase.ENDED
        if self.status.life is Life.RUNNING:
            return Phase.RUNNING
        if self.sent is not None:
            return Phase.TAKEN if self.is_taken else Phase.SENT
        return Phase.ASSIGNED if self.machine else Phase.UNASSIGNED

    @property
    def is_settled(self) -> bool:
        """Whether every run has come to its end."""
        return len(self.ended) == len(self.batch.runs)

    @property
    def is_final(self) -> bool:
        """Whether the machine has nothing more to say about it."""
        return self.status.life in FINAL

    @property
    def is_out(self) -> bool:
        """Whether a machine has it, or may have."""
        return self.sent is not None or self.status.life is not Life.ABSENT

    @property
    def is_collected(self) -> bool:
        """Whether it was looked at, and all that was done by then is here."""
        return self.is_settled or (self.is_looked_at and not self.due)

    @property
    def due(self) -> tuple[str, ...]:
        """The runs that are made, but not here."""
        return tuple(
            run
            for run, outcome in self.outcomes.items()
            if outcome.state is State.SUCCEEDED
            and run not in self.outputs
            and run not in self.ended
        )

    @property
    def stage(self) -> tuple[object, ...]:
        """What a change of makes news for all its runs."""
        return self.status.life, self.status.started, self.status.waits_for

    @property
    def news(self) -> tuple[str, ...]:
        """The runs of which something is known that is not recorded yet."""
        moved = self.stage != self.recorded
        if not self.outcomes and (self.status.life is Life.ABSENT or not (moved or self.is_final)):
            return ()
        return tuple(
            run for run in self.batch.runs if run not in self.ended and self._is_told(run, moved)
        )

    def _is_told(self, run: str, moved: bool) -> bool:
        outcome = self.outcomes.get(run)
        if outcome is not None:
            return outcome.state is not State.SUCCEEDED or run in self.outputs
        return self.status.life is not Life.ABSENT and (moved or self.is_final)

    def lane(self) -> Lane:
        """Return how far it is, for people."""
        last = next((each for each in reversed(self.status.log.splitlines()) if each.strip()), "")
        return Lane(
            batch=self.batch.id,
            target=self.batch.target,
            host=self.machine,
            gpu=self.status.gpu,
            done=len(self.outcomes),
            runs=len(self.batch.runs),
            started=self.status.started,
            waits_for=self.status.waits_for,
            tail=last.strip(),
        )


# --- what is seen of a batch --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assigned:
    """The store notes which machine gets it: the `batch` says so.

    Where another process noted that, it is no longer ours.
    """

    batch: Batch
    machine: str
    by_us: bool


@dataclass(frozen=True, slots=True)
class Polled:
    """Its machine was asked: how it stands, the `texts` that were read, what the engine says."""

    status: Status
    texts: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The output of a run is here, checked."""

    run: str
    output: Output


@dataclass(frozen=True, slots=True)
class Dropped:
    """Runs were pruned, or are asked for by others only: they are none of ours."""

    runs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The store knows a stage, and that nothing more will come of some runs."""

    stage: tuple[object, ...]
    ended: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Failure:
    run: str
    reason: str


class InputMissing(_Failure):
    """The inputs of a run cannot be had: it fails by itself."""


class Damaged(_Failure):
    """What a run made did not arrive as a video, and will not."""


@dataclass(frozen=True, slots=True)
class _At:
    at: float
    """A time of the monotonic clock."""


class Sent(_At):
    """We begin to give it to its machine."""


class Submitted(_At):
    """Its machine has taken it."""


class NothingToSend(_At):
    """No run of it can be made: there is nothing to give to a machine."""


@dataclass(frozen=True, slots=True)
class _Fact:
    pass


class Freed(_Fact):
    """Its machine gets nothing more: another one may have it, unless that one may have it."""


class Refused(_Fact):
    """Its machine answers, and has not taken it."""


class Cancelled(_Fact):
    """It never starts, or it goes on for others who need it: for us it has ended."""


class Stopped(_Fact):
    """It was asked to end, or left at work where it is not to end."""


Observation: TypeAlias = (
    Assigned
    | Freed
    | Sent
    | Submitted
    | Refused
    | InputMissing
    | NothingToSend
    | Polled
    | Fetched
    | Damaged
    | Dropped
    | Recorded
    | Cancelled
    | Stopped
)


def advance(batch: InFlight, seen: Observation) -> InFlight:
    """Return the batch after what was seen of it; to see the same twice changes nothing more."""
    match seen:
        case Assigned():
            ours = batch.is_ours and seen.by_us
            return replace(
                batch, batch=seen.batch, machine=seen.machine, is_ours=ours, submissions=0
            )
        case Freed():
            is_free = batch.is_ours and not batch.is_out
            return replace(batch, machine="") if is_free else batch
        case Polled():
            return _polled(batch, seen)
        case Fetched(run, output):
            return replace(batch, outputs={**batch.outputs, run: output})
        case InputMissing(run, reason) | Damaged(run, reason):
            return replace(batch, outcomes={**batch.outcomes, run: Outcome(State.FAILED, reason)})
        case Dropped(runs):
            gone = runs.intersection(batch.batch.runs) - batch.ended
            return replace(batch, ended=batch.ended | gone) if gone else batch
        case Recorded():
            return replace(batch, recorded=seen.stage, ended=batch.ended | seen.ended)
        case Cancelled():
            return replace(batch, status=Status(Life.CANCELLED))
        case Stopped():
            return replace(batch, is_stopped=True)
    return _sent(batch, seen)


def _sent(batch: InFlight, seen: Sent | Submitted | Refused | NothingToSend) -> InFlight:
    match seen:
        case Sent(at):
            return replace(batch, sent=at, submissions=batch.submissions + 1)
        case Submitted(at):
            # What a look has seen in between is of no account.
            return replace(batch, sent=at, is_looked_at=False, is_taken=True)
        case Refused():
            return replace(batch, sent=None, is_taken=False)
        case NothingToSend(at):
            return replace(batch, sent=at, is_taken=True)


def _polled(batch: InFlight, seen: Polled) -> InFlight:
    # What was decided stays: also that what a run made did not arrive.
    outcomes = {**seen.outcomes, **batch.outcomes}
    return replace(
        batch,
        status=seen.status,
        is_looked_at=True,
        texts={**batch.texts, **seen.texts} if seen.texts else batch.texts,
        outcomes=outcomes,
    )
