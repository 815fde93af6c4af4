"""The store at one moment, as everything below it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.record import PromptRecord, Record, State


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """Which state there is, and where; `written` is in seconds since 1970, None if not noted."""

    place: str
    shared: bool
    lineage: str
    serial: int
    size: int
    prompts: int
    runs: int
    written: float | None = None
    client: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store at one moment: each table by id, and which store and which write it was.

    `states` repeats the runs' states and `sizes` the bytes of their videos:
    ten times cheaper to read than the records. `jobs` maps the names of jobs
    to their files, relative to the project root. `enhanced` are the texts that
    enhancers made.
    """

    runs: Mapping[str, Record]
    states: Mapping[str, State]
    prompts: Mapping[str, PromptRecord]
    batches: Mapping[str, Batch]
    jobs: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    enhanced: Mapping[str, Enhanced] = field(default_factory=dict)
    lineage: str = ""
    serial: int = 0
