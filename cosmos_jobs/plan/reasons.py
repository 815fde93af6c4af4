"""Why a plan does to a run what it does, as values; `cli.views.reasons` has the words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cosmos_jobs.core.record import State


class Cause(StrEnum):
    """What kind of reason it is."""

    NEW = "new"
    BEHIND = "behind"  # new, and works on the output of another run
    CHANGED = "changed"  # new, and takes the place of a run that differs
    UP_TO_DATE = "up-to-date"
    SHARED = "shared"  # another job of the plan asks for the same run
    DAMAGED = "damaged"
    FORCED = "forced"
    IN_FLIGHT = "in-flight"
    ENDED = "ended"
    TOLD = "told"  # a machine, a guardrail or an enhancer said it in words
    PUBLISHED = "published"
    NOT_TAKEN = "not-taken"
    AFTER_ENHANCE = "after-enhance"
    REPLACED = "replaced"
    GONE = "gone"


class Part(StrEnum):
    """In which part of it a run differs from the one at its place before."""

    ENGINE = "engine"
    CONTRACT = "contract"
    PARAMETER = "parameter"
    WEIGHT = "weight"
    FILE = "file"
    NO_FILE = "no-file"
    PROMPT = "prompt"
    TEXT = "text"
    NEGATIVE = "negative"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of a run that is another one now: `name` says which, where there are several."""

    part: Part
    name: str = ""
    old: object = None
    new: object = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: with the `state` of the run's record, and what differs, where that is the cause.

    `said` are the words of a machine, a guardrail or an enhancer; of SHARED the other job.
    """

    cause: Cause
    said: str = ""
    state: State | None = None
    differences: tuple[Difference, ...] = ()


NEW = Reason(Cause.NEW)
"""Nobody knows the run yet."""

UP_TO_DATE = Reason(Cause.UP_TO_DATE)
