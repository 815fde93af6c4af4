"""Every extension point on one page: Engine, Executor, Host.

An engine is pure: it says how a batch is run and reads what it left. An
executor queues batches on a host. A host is a machine's shell and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cosmos_jobs.model import Batch, Command, Outcome, Prompt, Run, Status


@dataclass(frozen=True, slots=True)
class Task:
    """A run as an engine gets it: with its prompt, and its input files' paths on the host."""

    run: Run
    prompt: Prompt
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine finds on a target: its Python, and a folder that outlives batches."""

    python: str
    cache: str


class Engine(Protocol):
    """How a model is called. All of it is pure: values in, values out."""

    @property
    def name(self) -> str:
        """The name that job files use."""
        ...

    def batch_key(self, run: Run) -> str:
        """Return what runs must share to be made by one process."""
        ...

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return how the tasks are run in a batch's folder, whose `out/` they fill."""
        ...

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return, for each run, the files below `out/` that tell its outcome once they exist."""
        ...

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return the outcomes that can be told by now.

        `texts` are the contents of the markers that exist. When the batch has
        exited there is an outcome for every run.
        """
        ...

    def progress(self, log: str) -> int:
        """Return how many frames the batch has made, from the end of its log."""
        ...


class Executor(Protocol):
    """How batches are queued on a host. Every method may be repeated without harm."""

    @property
    def slots(self) -> int:
        """How many batches run at a time."""
        ...

    async def submit(self, batch: Batch, command: Command) -> None:
        """Start a batch; one that was ever claimed, by anyone, is not started again."""
        ...

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand, in one round trip."""
        ...

    async def read(self, batch: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the texts of small files below a batch's `out/`."""
        ...

    async def cancel(self, batches: Sequence[str]) -> None:
        """End the batches: one that is waiting never starts, one that runs is killed."""
        ...

    def path(self, batch: str, name: str) -> str:
        """Return where a file below a batch's `out/` is on the host."""
        ...


@dataclass(frozen=True, slots=True)
class Completed:
    """What a script printed; `exit_code` is None when its channel died without one."""

    exit_code: int | None
    stdout: str
    stderr: str


class Host(Protocol):
    """A machine, reached by its shell and its files. Paths are the host's, absolute."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        """Run a POSIX shell script to its end."""
        ...

    async def spawn(self, script: str) -> None:
        """Start the script file detached, with no terminal: it outlives us."""
        ...

    async def write(self, contents: Mapping[str, bytes]) -> None:
        """Write small files, each whole or not at all; folders are made."""
        ...

    async def read(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Return the contents of those small files that exist."""
        ...

    async def put(self, source: Path, target: str, sha256: str) -> None:
        """Bring a file to the host unless it is there: verified, renamed into place, read-only."""
        ...

    async def get(self, source: str, target: Path) -> str:
        """Fetch a file, renamed into place; return the sha256 that both sides agree on."""
        ...
