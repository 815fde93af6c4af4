"""Operations on what the store knows: read it, reproduce it, remove what nobody asks for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from cosmos_jobs import engines
from cosmos_jobs.artifacts.outputs import MANIFEST
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record, State
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations.base import unique
from cosmos_jobs.operations.jobs import JobFiles
from cosmos_jobs.plan.model import Action

if TYPE_CHECKING:
    from cosmos_jobs.state.prune import Pruned


STREAM_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Overview:
    """How many runs of each job are in which state, where batches are, and what changed."""

    jobs: Mapping[str, Mapping[State, int]]
    lanes: tuple[Lane, ...]
    changed: tuple[Record, ...] = ()


class Records(JobFiles):
    """What can be done with what was made."""

    def status(self) -> dict[str, dict[State, int]]:
        """Return, for each job in the store, how many of its runs are in which state."""
        jobs: dict[str, dict[State, int]] = {}
        for record in self.store.snapshot().runs.values():
            for job in record.jobs:
                counts = jobs.setdefault(job, dict.fromkeys(State, 0))
                counts[record.state] += 1
        return dict(sorted(jobs.items()))

    def in_flight(self) -> tuple[Lane, ...]:
        """Return where the batches in flight are, as last seen: no machine is asked."""
        known = self.store.snapshot()
        batches: dict[str, list[Record]] = {}
        for run_id, state in known.states.items():
            if state in IN_FLIGHT and (last := known.runs[run_id].last):
                batches.setdefault(last.batch, []).append(known.runs[run_id])
        return tuple(_lane(known.batches[key], found) for key, found in batches.items())

    def overview(self) -> Overview:
        """Return how all jobs stand, and the batches in flight, as last seen."""
        return Overview(self.status(), self.in_flight())

    def stream_status(self, every_s: float = STREAM_EVERY_S) -> Iterator[Overview]:
        """Yield how all stands now, and after each change, until nothing is in flight.

        It looks at the store alone, each `every_s` seconds: it waits for what
        an apply or a watch elsewhere writes. `changed` are the runs whose state
        is another one than in the overview before.
        """
        known = self.store.snapshot()
        yield self.overview()
        while IN_FLIGHT.intersection(known.states.values()):
            time.sleep(every_s)
            before, known = known, self.store.snapshot()
            changed = tuple(
                known.runs[run_id]
                for run_id, state in known.states.items()
                if before.states.get(run_id) is not state
            )
            if changed or known.serial != before.serial:
                yield replace(self.overview(), changed=changed)

    def list_prompts(
        self, *, job: str = "", prompt: str = "", states: Collection[State] = ()
    ) -> tuple[PromptRecord, ...]:
        """Return all prompts by name and id, or those that have a run as for `list_runs`."""
        known = self.store.snapshot().prompts
        ids = [unique(prompt, known, "prompt")] if prompt else list(known)
        if job or states:
            having = {
                each.run.prompt_id for each in self.list_runs(job=job, prompt=prompt, states=states)
            }
            ids = [each for each in ids if each in having]
        prompts = (known[each] for each in ids)
        return tuple(sorted(prompts, key=lambda each: (each.name, each.prompt.id)))

    def list_runs(
        self,
        *,
        job: str = "",
        prompt: str = "",
        states: Collection[State] = (),
        stars: int = 0,
    ) -> tuple[Record, ...]:
        """Return the runs of a job, of a prompt and in one of `states`, where given.

        With `stars` they have at least so many. The prompt's id may be
        shortened; UsageError when it names none or many.
        """
        known = self.store.snapshot()
        prompt = unique(prompt, known.prompts, "prompt") if prompt else ""
        # By state first: reading a record is what costs.
        ids = (each for each, state in known.states.items() if not states or state in states)
        return tuple(
            record
            for record in (known.runs[run_id] for run_id in ids)
            if (not job or job in record.jobs)
            and (not prompt or record.run.prompt_id == prompt)
            and (record.rating or 0) >= stars
        )

    def manifest(self, record: Record) -> Mapping[str, Any]:
        """Return the provenance of a run that was made; empty for one that was not."""
        try:
            found: Mapping[str, Any] = orjson.loads(
                (self.outputs.folder(record.run.id) / MANIFEST).read_bytes()
            )
        except (OSError, orjson.JSONDecodeError):
            return {}
        return found

    def reproduce(self, run_id: str) -> str:
        """Return a shell script that makes a run again, on a machine of the target that made it.

        Raises UsageError for a run that has no video here.
        """
        from cosmos_jobs.apply import reproduce

        record = self.get_run(run_id)
        manifest = self.manifest(record)
        prompt = self.prompt_of(record)
        if not manifest or prompt is None:
            raise UsageError(
                f"{record.run.id} is not made yet, or its manifest is gone",
                hint="make it first: cosmos-jobs apply; or fetch it: cosmos-jobs fetch",
            )
        target = self.project.named(manifest["target"])
        engine = engines.get(record.run.engine)
        return reproduce.script(engine, target, record, prompt, manifest)

    def orphans(self, paths: Sequence[str]) -> tuple[tuple[str, Record], ...]:
        """Return the runs that job files no longer ask for, each with the job that left it."""
        planned = self.plan(Selection(tuple(paths)))
        known = self.store.snapshot()
        return tuple(
            (change.job, known.runs[change.run_id])
            for change in planned.plan.changes
            if change.action is Action.ORPHAN
        )

    def job_runs(self, job: str) -> tuple[tuple[str, Record], ...]:
        """Return all runs of a job whose file is gone, each with the job's name.

        Raises UsageError when there is no such job, or its file is still there.
        """
        found = tuple((job, record) for record in self.list_runs(job=job))
        if not found:
            raise UsageError(f"the store has no job `{job}`", hint="see them: cosmos-jobs status")
        path = self.store.snapshot().jobs.get(job, "")
        if path and (self.project.root / path).exists():
            raise UsageError(
                f"the file of the job `{job}` is there: {path}",
                hint=f"prune what left it: cosmos-jobs prune {path}, or remove the file first",
            )
        return found

    def jobs_without_file(self) -> tuple[str, ...]:
        """Return the jobs of the store whose files are gone, but whose runs are there."""
        known = self.store.snapshot()
        alive = {job for record in known.runs.values() for job in record.jobs}
        return tuple(
            job
            for job, path in known.jobs.items()
            if job in alive and not (self.project.root / path).exists()
        )

    def prune(self, leaving: Iterable[tuple[str, Record]]) -> Pruned:
        """Take runs out of jobs, and remove those that no job asks for any more."""
        # Hosts bring asyncio, 30 ms, which a plan does without.
        from cosmos_jobs.state import prune

        return prune.runs(self.project, self.store, leaving)

    def prune_cache(self) -> int:
        """Delete file digests and control maps; return the bytes that were freed."""
        from cosmos_jobs.state import prune

        return prune.cache(self.project)


def _lane(batch: Batch, waiting: Sequence[Record]) -> Lane:
    last = waiting[0].last
    assert last is not None  # noqa: S101 - it is in flight
    return Lane(
        batch.id,
        batch.target,
        batch.host,
        last.gpu,
        len(batch.runs) - len(waiting),
        len(batch.runs),
        last.started,
        waiting[0].reason,
        "",
    )
