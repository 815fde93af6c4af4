"""What is known of runs and prompts, and where a run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cosmos_jobs.core.run import Prompt, Run
from cosmos_jobs.core.safe_path import SafePath


class State(StrEnum):
    """Where a run stands.

    A guardrail's refusal is BLOCKED and never retried by itself; LOST means
    that the host itself says the work is gone.
    """

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    LOST = "lost"


IN_FLIGHT = frozenset({State.QUEUED, State.RUNNING})

UNBEGUN = frozenset({State.PENDING, State.QUEUED})

BROKEN = frozenset({State.FAILED, State.LOST})
"""The run or its machine went wrong."""

REFUSED_OR_BROKEN = BROKEN | {State.BLOCKED}
"""It ended without an output, and nobody cancelled it."""

RETRIED = BROKEN | {State.CANCELLED}
"""`retry` and the next apply start it again."""

UNSUCCESSFUL = RETRIED | {State.BLOCKED}
"""It ended without an output."""

UNMADE = RETRIED | {State.PENDING}
"""An apply that wants it starts it."""

UNFINISHED = frozenset({State.PENDING, State.LOST, State.CANCELLED})
"""It came to no result of its own: an apply that follows it takes it up again."""

WORST_FIRST = (
    State.FAILED,
    State.BLOCKED,
    State.LOST,
    State.CANCELLED,
    State.PENDING,
    State.SUCCEEDED,
)
"""Which of its runs' states says how a prompt stands, when none is in flight."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run. Times are seconds since 1970, the host's; `exit_code` is the batch's.

    `gpu` are the ids of the GPUs that it had on `host`, `gpu_name` what these
    are. One that `crashed` took its whole batch with it.
    """

    batch: str
    target: str
    state: State
    started: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    host: str = ""
    gpu: str = ""
    reason: str = ""
    gpu_name: str = ""
    crashed: bool = False


VIDEO = SafePath("output.mp4")
"""What a run's output is called, unless it is an image."""


@dataclass(frozen=True, slots=True)
class Output:
    """A finished video or image, `outputs/runs/<run id>/<name>`: sha256, bytes, frames."""

    sha256: str
    size: int
    frames: int
    name: SafePath = VIDEO


@dataclass(frozen=True, slots=True)
class Record:
    """What the store knows about a run; `jobs` maps each job that asks for it to its place.

    `files` maps parameters whose value is a file to its path as last seen.
    `passed` are the batches that it was given to and that never came to it.
    `rating` are the stars, 1–5, that somebody gave it, `note` is what they wrote.
    """

    run: Run
    jobs: Mapping[str, str]
    state: State = State.PENDING
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    output: Output | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    rating: int | None = None
    note: str = ""

    @property
    def batches(self) -> frozenset[str]:
        """The batches that it was ever given to."""
        return frozenset((*(attempt.batch for attempt in self.attempts), *self.passed))

    @property
    def last(self) -> Attempt | None:
        """The newest attempt: the one in flight, or the one that decided the state."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecord:
    """What the store knows about a prompt; `files` maps roles to paths as last seen.

    One that was enhanced has the prompt that it was made of as its `parent`,
    and was made by the `enhancer`.
    """

    prompt: Prompt
    name: str
    video: str
    files: Mapping[str, str]
    frames: int
    parent: str = ""
    enhancer: str = ""


@dataclass(frozen=True, slots=True)
class Enhancement:
    """What came of a prompt that was to be enhanced: its new `text`, and the prompt that has it.

    Without a text the `reason` says why; with the text that it had, why it was left.
    """

    before: PromptRecord
    text: str
    reason: str = ""
    after: PromptRecord | None = None
