"""Batches as detached processes of a host: files say what they made, the process whether it lives.

`run.sh` begins with `mkdir claim`, so that a batch that is started twice runs
once, leases GPUs by `flock`, and writes `exit` last, by rename. A pid is only
believed together with the process's birth (its start time and the boot it
belongs to).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cosmos_jobs.config.project import Target
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.executors.batch_dir import CLAIM_GRACE_S, NO_GPU, BatchDirectory
from cosmos_jobs.targets.executors.process import traits

KILL_GRACE_S = 10


class ProcessExecutor:
    """Runs batches as processes of one of the machines of `target`."""

    def __init__(
        self, batches: BatchDirectory, target: Target, kill_grace_s: int = KILL_GRACE_S
    ) -> None:
        self.traits = traits(target)
        self._batches = batches
        self._target = target
        self._kill_grace_s = kill_grace_s
        self._gpus = target.gpus or (NO_GPU,)

    @property
    def judge(self) -> str:
        """Shell text that says whether the process of a batch lives."""
        return scripts.text("process/judge")

    async def submit(self, submissions: Sequence[Submission]) -> None:
        """Write each batch's folder and start it, in one round trip."""
        for submission in submissions:
            await self._start(submission)

    async def _start(self, submission: Submission) -> None:
        batch = submission.batch.id
        contents = self._batches.contents(
            submission, self._leasing(submission), "process/lease", "process/warm"
        )
        values = {"folder": self._batches.layout.batch(batch), "owner": self._batches.owner}
        exports = "\n".join(
            scripts.exporting_references(submission.installation, submission.secrets)
        )
        functions = f"{exports}\n{scripts.writing(contents)}"
        script = scripts.script("process/submit", values, functions)
        await self._batches.run(script, f"start {batch}")

    def _leasing(self, submission: Submission) -> Mapping[str, object]:
        """Return the values by which run.sh waits for GPUs, and for a server that has the model."""
        return {
            "gpus": " ".join(self._gpus),
            "queue": hashlib.sha256(" ".join(self._gpus).encode()).hexdigest()[:12],
            "need": self._target.gpus_per_batch if self._target.gpus else 1,
            "server": scripts.server_key(submission.command, submission.installation),
            "patience": launcher.KILL_AFTER_S,
        }

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand; one that nobody started is ABSENT."""
        values = {"gpus": " ".join(self._gpus), "grace": CLAIM_GRACE_S}
        told = self._batches.statuses(await self._batches.look(batches, self.judge, values))
        return {batch: Status(Life.ABSENT) for batch in batches} | told

    async def cancel(self, batches: Sequence[str], *, kill: bool = True) -> frozenset[str]:
        """End the batches; when this returns none of their processes lives.

        Without `kill` only those end that nobody has started: they never will be.
        Return those that others need too: they are left alone, and no longer marked as ours.
        """
        values = {
            "root": self._batches.root,
            "batches": " ".join(batches),
            "owner": self._batches.owner,
            "grace": self._kill_grace_s,
            "kill": "yes" if kill else "",
        }
        # Twice: the batches, and then the servers that worked them.
        timeout_s = 60 + 2 * self._kill_grace_s + len(batches) / 4
        script = scripts.script("process/cancel", values, scripts.text("lib"))
        said = await self._batches.run(script, "cancel", timeout_s)
        return frozenset(line.removeprefix("shared ") for line in said.splitlines())
