"""What happens during an apply, as it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cosmos_jobs.core.record import State


class Kind(StrEnum):
    """What an event tells."""

    SUBMITTED = "submitted"
    STARTED = "started"
    FINISHED = "finished"
    PROGRESS = "progress"
    NOTE = "note"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A batch in flight: the machine and GPUs that it is on, how many of its runs are made.

    `waits_for` says what it waits for while it has not `started` (seconds
    since 1970), `tail` is the last line of its log.
    """

    batch: str
    target: str
    host: str
    gpu: str
    done: int
    runs: int
    started: float | None
    waits_for: str
    tail: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: to a run, or, with a `reason` only, to a machine (NOTE).

    LOG is a line of an engine's log, behind its batch.

    SUBMITTED has the batch that a run was given to a machine in, PROGRESS the
    frames made so far by the batches at work, and where each is.
    """

    kind: Kind
    run_id: str = ""
    state: State = State.PENDING
    reason: str = ""
    frames: int = 0
    lanes: tuple[Lane, ...] = ()
