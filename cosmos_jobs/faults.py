"""Why a batch ended without making its runs, and what to do about it."""

from __future__ import annotations

from cosmos_jobs.model import Status

KILLED = 137
OUT_OF_MEMORY = ("CUDA out of memory", "OutOfMemoryError", "Cannot allocate memory", "MemoryError")

# What run.sh writes into `fault`: a word, and what it is about.
_FAULTS = {
    "no-folder": ("the engine's folder {} is not there", "correct `path`"),
    "no-program": ("the program {} is not there", "install it, or correct `venv`"),
    "no-image": ("the Docker image {} is not there", "on that machine: docker pull {}"),
    "no-docker": ("Docker does not answer: {}", "start it, or join the group `docker`"),
    "timeout": ("stopped after {} s, the time limit of its batch", "raise run_timeout_s"),
    "disk-full": ("the disk of that machine is full", "free some: cosmos-jobs prune --remote"),
}


def hint(why: str) -> str:
    """Return what to do about a machine that cannot do what it was asked to, in its own words."""
    room = "free some: cosmos-jobs prune --remote; " if "No space left" in why else ""
    return f"{room}look closer: cosmos-jobs doctor; then repeat: nothing is lost"


def explain(status: Status) -> str:
    """Return why a batch that has exited left a run unmade: the reason, and a hint below it."""
    kind, _, about = status.fault.partition(" ")
    if kind in _FAULTS:
        reason, hint = (text.format(about) for text in _FAULTS[kind])
        return f"{reason}\n{hint}; check it: cosmos-jobs doctor"
    said = next((line.strip() for line in reversed(status.log.splitlines()) if line.strip()), "")
    last = f": {said[:300]}" if said else ""
    if any(sign in status.log for sign in OUT_OF_MEMORY):
        hint = "ask for less: a lower resolution, fewer frames"
        return f"the engine ran out of memory{last}\n{hint}"
    if status.exit_code == KILLED:
        return f"the engine was killed, perhaps out of memory (code {KILLED}){last}"
    if status.exit_code == 0:
        return f"the engine left no result{last}"
    return f"the engine exited with code {status.exit_code}{last}"
