"""How a record moves between states: pending → queued → running → what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.job import Desired
from cosmos_jobs.core.record import IN_FLIGHT, Attempt, Output, Record, State


def adopt(record: Record | None, desired: Desired, files: Mapping[str, str]) -> Record:
    """Return the record of a desired run, new or known, with its place in the job noted.

    `files` are the paths of the files among its parameters. A run that no job
    asks for has no place.
    """
    place = {desired.job: desired.place} if desired.job else {}
    if record is None:
        return Record(desired.run, place, files=files)
    if place.items() <= record.jobs.items() and files == record.files:
        return record
    return replace(record, jobs={**record.jobs, **place}, files=files)


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
    never_begun = outcome.state is State.PENDING if outcome else status.life is Life.REFUSED
    if never_begun:
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
        gpu_name=status.facts.get("gpu_name", ""),
        crashed=outcome is not None and outcome.crashed,
    )
    attempts = (*record.attempts[:-1], attempt)
    made = output if state is State.SUCCEEDED else None
    if attempt.crashed and not any(each.crashed for each in record.attempts):
        # Perhaps the fault was another's: it gets a second chance, by itself.
        state, reason = State.PENDING, f"crashed its batch: {reason}"
    return replace(record, state=state, reason=reason, attempts=attempts, output=made)


def is_suspect(record: Record) -> bool:
    """Return whether a run took its last batch with it, and so gets one of its own."""
    return record.last is not None and record.last.crashed


def unseen(record: Record, batch: Batch, reason: str) -> Record:
    """Return the record while its batch's host does not answer: its state is as last seen."""
    last = record.last
    if last is None or last.batch != batch.id or record.state not in IN_FLIGHT:
        return record
    return replace(record, reason=reason)


def _never_begun(record: Record) -> Record:
    """Return the record as before its last attempt, which was none: it costs it nothing.

    The batch is remembered: its machine has it down for the run.
    """
    *attempts, last = record.attempts
    passed = (*record.passed, last.batch)
    return replace(record, state=State.PENDING, reason="", attempts=tuple(attempts), passed=passed)


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
            return State.FAILED, failures.explain(status)
        case Life.CANCELLED:
            return State.CANCELLED, failures.cancelled(status)
        case Life.GONE:
            return State.LOST, failures.lost(status)
    return record.state, record.reason
