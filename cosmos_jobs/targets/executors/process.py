"""Batches as detached processes of a host: files say what they made, the process whether it lives.

`run.sh` begins with `mkdir claim`, so that a batch that is started twice runs
once, leases GPUs by `flock`, and writes `exit` last, by rename. A pid is only
believed together with the process's birth (its start time and the boot it
belongs to).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from cosmos_jobs.config.project import Target
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.targets.executors import launcher, script
from cosmos_jobs.targets.executors.base import Order, Swept
from cosmos_jobs.targets.executors.batch_dir import CLAIM_GRACE_S, NO_GPU, Folders, statuses
from cosmos_jobs.targets.hosts.base import Host

KILL_GRACE_S = 10


class ProcessExecutor(Folders):
    """Runs batches as processes of `host`, one of the machines of `target`."""

    at_once = 1

    def __init__(
        self,
        host: Host,
        target: Target,
        client: str,
        owner: str,
        kill_grace_s: int = KILL_GRACE_S,
        *,
        secrets: Collection[str] = (),
    ) -> None:
        super().__init__(host, target, client, owner, secrets=secrets)
        self._kill_grace_s = kill_grace_s
        self._gpus = target.gpus or (NO_GPU,)

    async def submit(self, orders: Sequence[Order]) -> None:
        """Write each batch's folder and start it, in one round trip."""
        for order in orders:
            await self._start(order)

    async def _start(self, order: Order) -> None:
        batch = order.batch
        contents = self._contents(order, self._leasing(order))
        values = {"folder": f"{self._batches}/{batch.id}", "owner": self._owner}
        exports = "\n".join(script.exporting_references(order.installation, order.secrets))
        await self._run(
            script.script("submit", values, f"{exports}\n{script.writing(contents)}"),
            f"start {batch.id}",
        )

    def _leasing(self, order: Order) -> Mapping[str, object]:
        """Return the values by which run.sh waits for GPUs, and for a server that has the model."""
        return {
            "scheduler": "",
            "gpus": " ".join(self._gpus),
            "queue": hashlib.sha256(" ".join(self._gpus).encode()).hexdigest()[:12],
            "need": self._target.gpus_per_batch if self._target.gpus else 1,
            "server": script.server_key(order.command, order.installation),
            "patience": launcher.KILL_AFTER_S,
        }

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand; one that nobody started is ABSENT."""
        values = {"gpus": " ".join(self._gpus), "grace": CLAIM_GRACE_S}
        said = await self._look(batches, ("processes",), values)
        told = statuses(said.split("\n"), self._secrets)
        return {batch: Status(Life.ABSENT) for batch in batches} | told

    async def cancel(self, batches: Sequence[str], *, kill: bool = True) -> frozenset[str]:
        """End the batches; when this returns none of their processes lives.

        Without `kill` only those end that nobody has started: they never will be.
        Return those that others need too: they are left alone, and no longer marked as ours.
        """
        values = {
            "root": self._target.root,
            "batches": " ".join(batches),
            "owner": self._owner,
            "grace": self._kill_grace_s,
            "kill": "yes" if kill else "",
        }
        # Twice: the batches, and then the servers that worked them.
        timeout_s = 60 + 2 * self._kill_grace_s + len(batches) / 4
        said = await self._run(script.script("cancel", values), "cancel", timeout_s)
        return frozenset(line.removeprefix("shared ") for line in said.splitlines())

    async def sweep(self, needed: Collection[str], *, delete: bool) -> Sequence[Swept]:
        """Return the batches and inputs that nobody needs any more; with `delete` they go."""
        return await self._swept(needed, script.text("processes"), delete=delete)
