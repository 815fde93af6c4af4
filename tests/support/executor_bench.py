"""Executors of every kind, driven batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cosmos_jobs.config.project import Installation, Slurm, Target
from cosmos_jobs.core.batch import Batch, Command, Life, Status
from cosmos_jobs.targets.executors.base import Executor, Submission, Swept
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.executors.process.executor import ProcessExecutor
from cosmos_jobs.targets.executors.slurm.executor import SlurmExecutor
from cosmos_jobs.targets.hosts.base import Host
from tests.support.processes import working_in
from tests.support.waiting import until

Value = TypeVar("Value")

BATCH = Batch("ba_0000000000000001", "any", "gpu", ("rs_0000000000000001",))
SECOND = Batch("ba_0000000000000002", "any", "gpu", ("rs_0000000000000002",))
AGAIN = Batch("ba_0000000000000003", "any", "gpu", BATCH.runs)
"""Another batch with the same run."""


class Bench:
    """An executor with what a test asks of it, and that of a colleague, on the same machine."""

    def __init__(self, host: Host, root: Path, slurm: Slurm | None = None, **settings: Any) -> None:
        self.root = root
        self.folder = root / "batches" / BATCH.id
        self._host = host
        self._runner = asyncio.Runner()
        self.executor: Executor
        self.colleague: Executor
        self.batches = BatchDirectory(host, str(root), client="ann@here", owner="owner1")
        self.theirs = BatchDirectory(host, str(root), client="bob@there", owner="owner2")
        self.said: list[str] = []
        target = Target("gpu", str(root), slurm=slurm, **settings)
        if slurm:
            self.executor = SlurmExecutor(self.batches, target, self.said.append)
            self.colleague = SlurmExecutor(self.theirs, target)
        else:
            self.executor = ProcessExecutor(self.batches, target, kill_grace_s=1)
            self.colleague = ProcessExecutor(self.theirs, target, kill_grace_s=1)

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)

    def close(self) -> None:
        folders = self.root.glob("batches/ba_*")
        self.run(self.executor.cancel([each.name for each in folders]))
        self.quit()

    def quit(self) -> None:
        """Let go of the machine; what runs there goes on."""
        self.run(self._host.close())
        self._runner.close()

    def submit(self, *argv: str, env: Mapping[str, str] | None = None) -> None:
        self.order(Command(argv, {}, env or {}))

    def order(
        self,
        command: Command,
        installation: Installation | None = None,
        *,
        batch: Batch = BATCH,
        **more: Any,
    ) -> None:
        order = Submission(batch, command, installation or Installation(), **more)
        self.run(self.executor.submit([order]))

    def poll(self, batch: Batch = BATCH) -> Status:
        return self.run(self.executor.poll([batch.id]))[batch.id]

    def cancel(self) -> None:
        self.run(self.executor.cancel([BATCH.id]))

    def sweep(self, needed: Collection[str] = (), *, delete: bool) -> Sequence[Swept]:
        return self.run(self.batches.sweep(needed, self.executor.judge, delete=delete))

    def wait(self, met: Callable[[Status], object], batch: Batch = BATCH) -> Status:
        seen: list[Status] = []

        def came() -> bool:
            seen[:] = [self.poll(batch)]
            return bool(met(seen[0]))

        until(came, why=lambda: seen)
        return seen[0]

    def living(self, words: str) -> list[int]:
        """Return the processes of our batches that have `words` on their command line."""
        return working_in(self.root, words)

    def ended(self, batch: Batch = BATCH) -> Status:
        return self.wait(lambda status: status.life is Life.EXITED, batch)
