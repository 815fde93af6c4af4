"""Why a batch ended without making its runs, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from cosmos_jobs.core.batch import Status

SIGNALLED = 128
"""Exit codes above it are those of processes that a signal has ended: 128 + its number."""
KILLED = SIGNALLED + 9
TIMEOUT = "timeout"
DISK_FULL = "disk-full"

NODE_FAILED, PREEMPTED, REQUEUED = "node-failed", "preempted", "requeued"
FORGOTTEN, NO_EXIT, CANCELLED_BY = "forgotten", "no-exit", "cancelled-by"
TIME_LIMIT, OUT_OF_MEMORY, DEADLINE = "time-limit", "out-of-memory", "deadline"
JOB_FAILED = "job-failed"

OF_ONE_RUN = frozenset({TIMEOUT, TIME_LIMIT, OUT_OF_MEMORY})
"""Faults that the run is to blame for that a batch was at; each time they cost the same."""

# What run.sh writes into `fault`, or Slurm says: a word, and what it is about.
_FAULTS = {
    "no-folder": ("the engine's folder {} is not there", "correct `path`"),
    "no-program": ("the program {} is not there", "install it, or correct `venv`"),
    "no-image": ("the Docker image {} is not there", "on that machine: docker pull {}"),
    "no-docker": ("Docker does not answer: {}", "start it, or join the group `docker`"),
    TIMEOUT: ("stopped after {} s, the time limit of its batch", "raise run_timeout_s"),
    DISK_FULL: ("the disk of that machine is full", "free some: cosmos-jobs prune --remote"),
    "no-image-file": ("the image {} is not there", "correct `image`"),
    TIME_LIMIT: (
        "stopped at the time limit of its Slurm job {}",
        "raise `time` of `slurm`, or lower max_batch",
    ),
    OUT_OF_MEMORY: ("its Slurm job {} ran out of memory", "raise `mem` of `slurm`"),
    DEADLINE: ("stopped at the deadline of its Slurm job {}", "look at `extra` of `slurm`"),
    JOB_FAILED: (
        "its Slurm job {} failed before the engine had ended",
        "do all nodes see `root`? else look at its log there, in arrays/",
    ),
}

# Why what was begun is gone.
_LOST = {
    NODE_FAILED: "its node failed",
    PREEMPTED: "it was preempted: other jobs came first",
    REQUEUED: "Slurm put it back into its queue, and what it was at is lost",
    FORGOTTEN: "Slurm knows nothing of its job any more",
    NO_EXIT: "its job ended without a word",
}


class Cause(StrEnum):
    """What kind of trouble an engine's last words tell of."""

    MEMORY = "out of memory"
    CHECKPOINT = "missing checkpoint"
    VIDEO = "unreadable video"
    VALUE = "bad value"
    OTHER = ""


# In this order: an unreadable video is often told by a ValueError.
_SIGNS: Mapping[Cause, re.Pattern[str]] = {
    Cause.MEMORY: re.compile(
        r"CUDA out of memory|OutOfMemoryError|Cannot allocate memory|MemoryError"
    ),
    Cause.CHECKPOINT: re.compile(
        r"(?i)(FileNotFoundError|No such file|not found|does not exist|404|gated|401)"
        r".*(checkpoint|Cosmos3-|\.pt\b|\.pth\b|safetensors|huggingface|\bHF\b|hf_hub)"
        r"|(checkpoint|\.pt\b|\.pth\b|safetensors).*(not found|does not exist|No such file)"
        r"|GatedRepoError|RepositoryNotFoundError|LocalEntryNotFoundError"
    ),
    Cause.VIDEO: re.compile(
        r"(?i)(could not|cannot|can't|failed to|unable to|error)\b.{0,40}"
        r"\b(open|read|decode|load|reading|opening|decoding|loading)\b.{0,60}"
        r"(video|\.mp4|frame|stream)"
        r"|InvalidDataError|moov atom|DECORDError|VideoReader"
    ),
    Cause.VALUE: re.compile(
        r"^(\[rank\d+\]:)?\s*(\w+\.)*(ValueError|KeyError|TypeError|ValidationError)\b"
    ),
}

_HINTS = {
    Cause.MEMORY: "ask for less: a lower resolution, fewer frames",
    Cause.CHECKPOINT: "download the model's checkpoints on that machine, and accept its licence",
    Cause.VIDEO: "look at the input: cosmos-jobs preview FILE",
    Cause.VALUE: "look at the run's parameters: cosmos-jobs show RUN",
}

_EXCEPTION = re.compile(
    r"^(\[rank\d+\]:)?\s*(\w+\.)*(?!ChildFailedError)\w*(Error|Exception|Interrupt)\b(:|$)"
)
"""An exception as Python prints it, but not torchrun's of a process that died."""
_SIGNALLED = re.compile(r"Signal \d+ \(SIG\w+\) received")


def hint(why: str) -> str:
    """Return what to do about a machine that cannot do what it was asked to, in its own words."""
    room = "free some: cosmos-jobs prune --remote; " if "No space left" in why else ""
    return f"{room}look closer: cosmos-jobs doctor; then repeat: nothing is lost"


def fault(status: Status) -> str:
    """Return the word for what the machine found wrong with a batch, empty when nothing was."""
    return status.fault.partition(" ")[0]


def cause(line: str) -> Cause:
    """Return what kind of trouble a line, an exception as Python prints it, tells of."""
    return next((cause for cause, sign in _SIGNS.items() if sign.search(line)), Cause.OTHER)


def described(line: str) -> str:
    """Return an exception's line for people: its kind before it, and a hint below."""
    kind = cause(line)
    shown = line.strip()[:300]
    return f"{kind}: {shown}\n{_HINTS[kind]}" if kind else shown


def explain(status: Status) -> str:
    """Return why a batch that has exited left a run unmade: the reason, and a hint below it."""
    kind, _, about = status.fault.partition(" ")
    if kind in _FAULTS:
        reason, hint = (text.format(about) for text in _FAULTS[kind])
        return f"{reason}\n{hint}; check it: cosmos-jobs doctor"
    said = last_words(status.log)
    if cause(said):
        return described(said)
    last = f": {said[:300]}" if said else ""
    if status.exit_code == KILLED:
        more = "\nraise `mem` of `slurm`" if "slurm_job" in status.facts else ""
        return f"the engine was killed, perhaps out of memory (code {KILLED}){last}{more}"
    if status.exit_code == 0:
        return f"the engine left no result{last}"
    return f"the engine exited with code {status.exit_code}{last}"


def lost(status: Status) -> str:
    """Return why a batch is gone that was begun."""
    return _LOST.get(fault(status), "its process is gone: killed, or the machine restarted")


def cancelled(status: Status) -> str:
    """Return why a batch was stopped: by us, or with Slurm's own means by somebody else."""
    kind, _, by = status.fault.partition(" ")
    how = f", in Slurm, by {by}" if kind == CANCELLED_BY else ""
    return f"stopped before it was made{how}"


def died(status: Status) -> bool:
    """Return whether an engine's process died without an exception that says why."""
    killed = status.exit_code is not None and status.exit_code > SIGNALLED
    return (
        killed
        or bool(_SIGNALLED.search(status.log))
        or not _EXCEPTION.search(last_words(status.log))
    )


def last_words(log: str) -> str:
    """Return the line of a log that says best why it ended: its last exception, or last line."""
    # Slurm only repeats the exit code.
    said = (line.strip() for line in log.splitlines())
    lines = [line for line in said if line and not line.startswith("srun: error:")]
    raised = (line for line in reversed(lines) if _EXCEPTION.search(line))
    return next(raised, lines[-1] if lines else "")
