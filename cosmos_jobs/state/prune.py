"""Remove what is no longer wanted: runs that left their jobs, working files, the cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.record import IN_FLIGHT, Record
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan import lifecycle
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.executors import traits
from cosmos_jobs.targets.executors.base import Swept
from cosmos_jobs.targets.fleet import Access, open_machines
from cosmos_jobs.targets.hosts.local import sweep


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was done: runs removed, runs that other jobs keep, runs in flight left alone, bytes."""

    removed: int
    kept: int
    in_flight: int
    freed: int


def runs(project: Project, store: Store, leaving: Iterable[tuple[str, Record]]) -> Pruned:
    """Take runs out of jobs; `leaving` names each with the job that it leaves.

    A run that no job asks for any more goes with its files. One in flight is
    left alone, unless its target is no longer in the project: nobody can look
    after it. The working files of batches that have ended go too.
    """
    outputs = Outputs(project.outputs)
    left, in_flight = _given_up(store, leaving, project.targets)
    removed = [record for record, _, _ in left if not record.jobs]
    for record, job, place in left:
        outputs.unlink(record, [outputs.place(job, place, outputs.video(record).suffix)])
    freed = sum(outputs.size(record.run.id) for record in removed)
    for record in removed:
        outputs.remove(record)
    freed += _working_files(project, store.snapshot())
    return Pruned(len(removed), len(left) - len(removed), in_flight, freed)


def cache(project: Project) -> int:
    """Delete file digests and control maps; return the bytes that were freed. Raises OSError."""
    if not project.cache.is_dir():
        return 0
    freed = sum(each.stat().st_size for each in project.cache.rglob("*") if each.is_file())
    shutil.rmtree(project.cache)
    return freed


async def remote(
    project: Project,
    store: Store,
    targets: Sequence[Target],
    *,
    delete: bool,
) -> dict[str, Sequence[Swept]]:
    """Return, by machine, the batches and inputs that nobody needs; with `delete` they go."""
    access = Access(lambda line: None)
    swept = {}
    for target in targets:
        for machine in open_machines(project, target, access):
            # As late as can be: another apply of this project may be at work.
            batches = store.snapshot().batches.values()
            needed = [batch.id for batch in batches if not batch.done]
            try:
                swept[machine.name] = await machine.sweep(needed, delete=delete)
            finally:
                await machine.host.close()
    return swept


def _given_up(
    store: Store, leaving: Iterable[tuple[str, Record]], targets: Mapping[str, object]
) -> tuple[list[tuple[Record, str, str]], int]:
    """Take runs out of jobs in the store; return what is left of each, its job and old place."""
    leaving = tuple(leaving)

    def give_up(change: Transaction) -> tuple[list[tuple[Record, str, str]], int]:
        left: list[tuple[Record, str, str]] = []
        in_flight = 0
        for job, known in leaving:
            record = change.run(known.run.id)
            if record is None or job not in record.jobs:
                continue
            if record.state in IN_FLIGHT and record.last and record.last.target in targets:
                in_flight += 1
                continue
            without = lifecycle.leave(record, job)
            left.append((without, job, record.jobs[job]))
            change.put_runs([without])
        change.remove("runs", [record.run.id for record, _, _ in left if not record.jobs])
        return left, in_flight

    return store.change(give_up)


def _working_files(project: Project, known: Snapshot) -> int:
    """Delete the files of batches that have ended, below the project's own folder only.

    Another project may work in a folder outside, and only its store knows its batches.
    """
    working = [batch for batch in known.batches.values() if not batch.done]
    records = [known.runs[run] for batch in working for run in batch.runs if run in known.runs]
    prompts = [known.prompts[record.run.prompt_id].prompt for record in records]
    inputs = {sha256 for prompt in prompts for sha256 in prompt.inputs.values()}
    # Which batches a cluster still has, its scheduler must be asked: see `remote`.
    own = (target for target in project.targets.values() if not traits(target).queues_elsewhere)
    roots = {Path(target.root).resolve() for target in own}
    return sum(
        sweep(root, {batch.id for batch in working}, inputs)
        for root in roots
        if root.is_relative_to(project.root.resolve())
    )
