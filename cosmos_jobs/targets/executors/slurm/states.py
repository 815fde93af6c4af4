"""What Slurm says of the elements of our arrays, and what that means for their batches.

States and reasons are those of `man squeue`. Files come first: a batch whose
`exit` is written has ended, whatever Slurm says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Life, Status

Key: TypeAlias = tuple[str, str]
"""An element: the name of its array, and its number in it."""

AWAY = "Slurm's controller, which does not answer"

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
    | {"RESV_DEL_HOLD"}
)
AT_WORK = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    | {"POWER_UP_NODE", "UPDATE_DB"}
)

LOST = {
    "NODE_FAIL": failures.NODE_FAILED,
    "BOOT_FAIL": failures.NODE_FAILED,
    "PREEMPTED": failures.PREEMPTED,
    "REVOKED": failures.REQUEUED,
    "REQUEUED": failures.REQUEUED,
}
FAILED = {
    "TIMEOUT": failures.TIME_LIMIT,
    "OUT_OF_MEMORY": failures.OUT_OF_MEMORY,
    "DEADLINE": failures.DEADLINE,
}

_REASONS = {
    "Priority": "jobs that come first",
    "Resources": "free nodes",
    "JobArrayTaskLimit": "others of its array: max_running",
    "BeginTime": "the time at which it may begin",
    "Dependency": "another job",
    "Licenses": "a licence",
    "Reservation": "its reservation",
    "JobHeldUser": "its user, who holds it back",
    "JobHeldAdmin": "an administrator, who holds it back",
    "PartitionDown": "its partition, which is down",
    "PartitionInactive": "its partition, which is inactive",
    "PartitionTimeLimit": "a longer time limit of its partition",
    "PartitionNodeLimit": "nodes that its partition does not have",
    "BadConstraints": "nodes that do not exist: its constraints fit none",
    "ReqNodeNotAvail": "nodes that are down or reserved",
    "Cleaning": "its last start to be cleaned up",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch is in Slurm, by its files; `job` is empty while its number is not known.

    `restarts` is how often Slurm had put it back before it began, None where it
    has not begun. One that `is_requeued` began a second time, and did nothing.
    """

    key: Key
    job: str
    restarts: int | None = None
    is_cancelled: bool = False
    is_requeued: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether its run.sh has written its pid."""
        return self.restarts is not None


@dataclass(frozen=True, slots=True)
class Told:
    """What Slurm says of an element: its state, "" when it knows nothing of it, and the reason.

    `by` is who cancelled it, where that is told, `restarts` how often Slurm has
    put it back into the queue, `age_s` the seconds since it ended.
    """

    state: str
    reason: str = ""
    exit_code: int | None = None
    by: str = ""
    restarts: int = 0
    age_s: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether Slurm still has to do with it."""
        return self.state in WAITING or self.state in AT_WORK


def places(lines: Iterable[str]) -> dict[str, Place]:
    """Return where batches are, by what a poll printed of their files."""
    found = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "element":
            batch, array, index, job, begun, mark = rest.split()
            found[batch] = Place(
                (array, index),
                "" if job == "-" else job,
                None if begun == "-" else int(begun),
                mark == "cancelled",
                mark == "requeued",
            )
    return found


def queue(lines: Iterable[str]) -> dict[Key, Told]:
    """Return the elements that squeue lists: name, number, job, state, restarts and reason."""
    found = {}
    for line in lines:
        parts = line.removeprefix("queue ").split("|")
        if line.startswith("queue ") and len(parts) == 7:
            name, index, _, state, restarts, reason, _ = parts
            found[name, index] = Told(state, reason.strip(), restarts=_count(restarts))
    return found


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0


def history(lines: Iterable[str]) -> dict[Key, Told]:
    """Return the elements that `sacct` or `scontrol show job` tells of."""
    found: dict[Key, Told] = {}
    now = ""
    for line in lines:
        kind, _, rest = line.partition(" ")
        match kind:
            case "now":
                now = rest
            case "sacct":
                found |= _accounted(rest, now)
            case "scontrol":
                found |= _shown(rest, now)
    return found


def _accounted(line: str, now: str) -> Mapping[Key, Told]:
    name, job, state, code, end = line.split("|") if line.count("|") == 4 else ("",) * 5
    state, _, by = state.partition(" by ")
    told = Told(state.strip(), exit_code=_code(code), by=by, age_s=_since(end, now))
    return {(name, index): told for index in _indices(job.partition("_")[2].strip("[]"))}


def _shown(line: str, now: str) -> Mapping[Key, Told]:
    # Values may hold spaces, but those that we read do not.
    values = dict(word.split("=", 1) for word in line.split() if "=" in word)
    told = Told(
        values.get("JobState", ""),
        values.get("Reason", ""),
        _code(values.get("ExitCode", "")),
        restarts=_count(values.get("Restarts", "")),
        age_s=_since(values.get("EndTime", ""), now),
    )
    name = values.get("JobName", "")
    return {(name, index): told for index in _indices(values.get("ArrayTaskId", ""))}


def _indices(text: str) -> Iterator[str]:
    """Yield the elements of `3` or of `0,2,4-6%2`, as Slurm tells those that have not begun."""
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            yield from map(str, range(int(first), int(last or first) + 1))


def ended(place: Place, told: Mapping[Key, Told]) -> Told:
    """Return how an element has ended that is not in the queue, by the history of its array.

    One that is cancelled before it begins leaves no record of its own.
    """
    if place.key in told:
        return told[place.key]
    is_known = any(array == place.key[0] for array, _ in told)
    return Told("CANCELLED" if is_known and not place.has_begun else "")


def _since(then: str, now: str) -> float | None:
    """Return the seconds between two times of one clock; None where one is not told."""
    try:
        return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
    except ValueError:
        return None


def _code(text: str) -> int | None:
    """Return the exit code that `CODE:SIGNAL` means, as a shell has it."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match:
        return None
    return failures.SIGNALLED + int(match[2]) if match[2] != "0" else int(match[1])


def waiting(told: Told) -> str:
    """Return what an element waits for, in words and in Slurm's own."""
    reason = told.reason.strip("() ")
    if reason in ("", "None"):
        return ""
    # Some go on with the names of nodes, and some are whole sentences.
    word = reason.partition(",")[0]
    return f"{_REASONS[word]} ({word})" if word in _REASONS else f"Slurm ({reason})"


def judged(status: Status, place: Place, told: Told | None) -> Status:
    """Return how a batch stands that its files leave open; `told` is None while it is not asked."""
    if status.life is not Life.RUNNING:
        return status
    was_put_back = told is not None and place.has_begun and told.restarts > (place.restarts or 0)
    if place.is_requeued or was_put_back:
        return _lost(status, failures.REQUEUED)
    if told is None or told.state in AT_WORK:
        return status
    if told.state in WAITING:
        # It has begun since Slurm was asked.
        return status if place.has_begun else replace(status, waits_for=waiting(told))
    return _ended(status, place, told)


def _lost(status: Status, fault: str) -> Status:
    return replace(status, life=Life.GONE, fault=fault)


def _ended(status: Status, place: Place, told: Told) -> Status:
    if place.is_cancelled:
        return replace(status, life=Life.CANCELLED)
    if told.state == "CANCELLED":
        fault = f"{failures.CANCELLED_BY} {told.by or 'somebody else'}"
        return replace(status, life=Life.CANCELLED, fault=fault)
    if told.state in LOST:
        return _lost(status, LOST[told.state])
    if told.state in ("", "COMPLETED"):
        return _lost(status, failures.FORGOTTEN if not told.state else failures.NO_EXIT)
    fault = FAILED.get(told.state, failures.JOB_FAILED)
    code = told.exit_code or 1
    about = f"{place.job}_{place.key[1]}"
    return replace(status, life=Life.EXITED, exit_code=code, fault=f"{fault} {about}")
