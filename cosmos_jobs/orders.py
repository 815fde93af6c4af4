"""Make orders of batches: their inputs are brought to a machine, their command is composed."""

from __future__ import annotations

import math
import time
from pathlib import Path

from cosmos_jobs import documents, estimate
from cosmos_jobs.documents import Described
from cosmos_jobs.model import Batch, Outcome, Snapshot, State
from cosmos_jobs.project import Project, Target
from cosmos_jobs.protocols import Order, Setup, Task, Upload
from cosmos_jobs.sites import Site
from cosmos_jobs.watches import Watch

TRUSTED_S = 1800
"""How long an input that is on a machine is taken to be there: unused ones may be pruned."""

MIN_LIMIT_S = 600
"""No batch is stopped earlier because of an estimate."""


class Orders:
    """Makes the orders of a project; what it has brought to a machine it does not bring again."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._present: dict[Site, dict[str, float]] = {}
        self._per_run_s: dict[tuple[str, str], float | None] = {}

    async def make(self, site: Site, watch: Watch, known: Snapshot) -> Order | None:
        """Return the order of a batch, its inputs in place; None when no run of it can be made.

        A run whose inputs cannot be had fails by itself. Raises EngineError
        when the target does not have the engine.
        """
        batch, engine = watch.batch, watch.batch.engine
        installation = site.target.installed(engine)
        tasks = await self._with_inputs(site, watch, self._tasks(site, batch, known))
        if not tasks:
            return None
        setup = Setup(site.target.python(engine), self._cache(site))
        return Order(
            batch,
            watch.engine.command(tasks, setup),
            installation,
            self._description(batch, known),
            watch.known,
            self._project.secrets(installation),
            self._limit_s(site.target, batch, known),
            {sha256 for task in tasks for sha256 in task.prompt.inputs.values()},
        )

    def _cache(self, site: Site) -> str:
        here = self._project.cache / "controls"
        return str(here) if site.is_here else f"{site.target.root}/cache"

    def _tasks(self, site: Site, batch: Batch, known: Snapshot) -> list[tuple[Task, list[Upload]]]:
        """Return the runs of a batch that are still wanted, each with the files that it needs."""
        tasks = []
        for run_id in batch.runs:
            if run_id in known.states:
                run = known.runs[run_id].run
                prompt = known.prompts[run.prompt_id]
                uploads = {
                    role: self._upload(site, path, prompt.prompt.inputs[role])
                    for role, path in prompt.files.items()
                }
                inputs = {role: upload.target for role, upload in uploads.items()}
                tasks.append((Task(run, prompt.prompt, inputs), list(uploads.values())))
        return tasks

    def _upload(self, site: Site, path: str, sha256: str) -> Upload:
        target = f"{site.target.root}/inputs/{sha256}{Path(path).suffix}"
        return Upload(self._project.root / path, target, sha256)

    async def _with_inputs(
        self, site: Site, watch: Watch, tasks: list[tuple[Task, list[Upload]]]
    ) -> list[Task]:
        present, now = self._present.setdefault(site, {}), time.monotonic()
        uploads = {upload.target: upload for _, each in tasks for upload in each}
        missing = [
            upload
            for target, upload in uploads.items()
            if now - present.get(target, -math.inf) > TRUSTED_S
        ]
        wrong = await site.host.put(missing) if missing else {}
        present |= {upload.target: now for upload in missing if upload.target not in wrong}
        ready = []
        for task, _ in tasks:
            problem = next((wrong[each] for each in task.inputs.values() if each in wrong), "")
            if problem:
                watch.outcomes[task.run.id] = Outcome(State.FAILED, problem)
            else:
                ready.append(task)
        return ready

    def _description(self, batch: Batch, known: Snapshot) -> bytes:
        records = [known.runs[run_id] for run_id in batch.runs if run_id in known.states]
        prompts = {record.run.prompt_id: known.prompts[record.run.prompt_id] for record in records}
        described = Described(batch, self._project.client, tuple(records), tuple(prompts.values()))
        return documents.describe(described)

    def _limit_s(self, target: Target, batch: Batch, known: Snapshot) -> int | None:
        """Return how long a batch may take: what was set, else a multiple of what is expected."""
        if target.run_timeout_s is not None:
            return math.ceil(len(batch.runs) * target.run_timeout_s)
        key = batch.engine, target.name
        if key not in self._per_run_s:
            self._per_run_s[key] = estimate.seconds_per_run(known.runs.values(), *key)
        per_run_s = self._per_run_s[key]
        if per_run_s is None:
            return None
        return max(MIN_LIMIT_S, math.ceil(len(batch.runs) * per_run_s * target.timeout_factor))
