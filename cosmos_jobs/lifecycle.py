"""How a record moves between states: pending → queued → running → what came of it."""

from __future__ import annotations

from dataclasses import replace

from cosmos_jobs import faults
from cosmos_jobs.model import (
    IN_FLIGHT,
    Attempt,
    Batch,
    Desired,
    Life,
    Outcome,
    Output,
    Record,
    State,
    Status,
)


def adopt(record: Record | None, desired: Desired) -> Record:
    """Return the record of a desired run, new or known, with its place in the job noted."""
    if record is None:
        return Record(desired.run, {desired.job: desired.place})
    if record.jobs.get(desired.job) == desired.place:
        return record
    return replace(record, jobs={**record.jobs, desired.job: desired.place})


def leave(record: Record, job: str) -> Record:
    """Return the record after `job` has given it up."""
    return replace(record, jobs={name: at for name, at in record.jobs.items() if name != job})


def queue(record: Record, batch: Batch) -> Record:
    """Return the record as claimed by a batch: from here on no other apply claims it."""
    attempt = Attempt(batch.id, batch.target, State.QUEUED)
    return replace(
        record,
        state=State.QUEUED,
        reason="",
        attempts=(*record.attempts, attempt),
        output=None,
    )


def observe(
    record: Record,
    batch: Batch,
    status: Status,
    outcome: Outcome | None,
    output: Output | None,
    now: float,
    host: str = "",
) -> Record:
    """Return the record after a look at its batch on `host` at the time `now`.

    `outcome` is what the engine made of the run, None while it is still to
    come; `output` is the video once it has been fetched and verified. A
    success without an output is not one yet. A record that is not in flight
    in this batch stays as it is, so that looking twice changes nothing.
    """
    last = record.last
    if last is None or last.batch != batch.id or record.state not in IN_FLIGHT:
        return record
    if status.life is Life.REFUSED and outcome is None:
        return _never_begun(record)
    state, reason = _state(record, status, outcome, output)
    if state is record.state and reason == record.reason:
        return record
    attempt = replace(
        last,
        state=state,
        reason=reason,
        started=status.started,
        finished=None if state in IN_FLIGHT else status.finished or now,
        exit_code=status.exit_code,
        host=host,
        gpu=status.gpu,
    )
    attempts = (*record.attempts[:-1], attempt)
    made = output if state is State.SUCCEEDED else None
    return replace(record, state=state, reason=reason, attempts=attempts, output=made)


def unseen(record: Record, batch: Batch, reason: str) -> Record:
    """Return the record while its batch's host does not answer: its state is as last seen."""
    last = record.last
    if last is None or last.batch != batch.id or record.state not in IN_FLIGHT:
        return record
    return replace(record, reason=reason)


def _never_begun(record: Record) -> Record:
    """Return the record as before its last attempt: others were quicker, and may have made it."""
    return replace(record, state=State.PENDING, reason="", attempts=record.attempts[:-1])


def _state(
    record: Record, status: Status, outcome: Outcome | None, output: Output | None
) -> tuple[State, str]:
    if outcome is not None and outcome.state is State.SUCCEEDED:
        return (State.SUCCEEDED, "") if output else (record.state, record.reason)
    if outcome is not None:
        return outcome.state, outcome.reason
    match status.life:
        case Life.RUNNING if status.started is None:
            return State.QUEUED, status.waits_for and f"waits for {status.waits_for}"
        case Life.RUNNING:
            return State.RUNNING, ""
        case Life.EXITED:
            return State.FAILED, faults.explain(status)
        case Life.CANCELLED:
            return State.CANCELLED, "stopped before it was made"
        case Life.GONE:
            return State.LOST, "its process is gone: killed, or the machine restarted"
    return record.state, record.reason
