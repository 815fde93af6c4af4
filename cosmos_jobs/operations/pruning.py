"""Remove what nobody asks for any more: here, and on the machines of targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import Record
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations.listing import list_runs
from cosmos_jobs.operations.planning import plan
from cosmos_jobs.operations.session import Session, wait
from cosmos_jobs.plan.model import Action
from cosmos_jobs.state import prune as prune_module
from cosmos_jobs.state.prune import Pruned
from cosmos_jobs.targets.executors import is_here
from cosmos_jobs.targets.executors.base import Swept


def orphans(session: Session, paths: Sequence[str]) -> tuple[tuple[str, Record], ...]:
    """Return the runs that job files no longer ask for, each with the job that left it."""
    planned = plan(session, Selection(tuple(paths)))
    known = session.store.snapshot()
    return tuple(
        (change.job, known.runs[change.run_id])
        for change in planned.plan.changes
        if change.action is Action.ORPHAN
    )


def job_runs(session: Session, job: str) -> tuple[tuple[str, Record], ...]:
    """Return all runs of a job whose file is gone, each with the job's name.

    Raises UsageError when there is no such job, or its file is still there.
    """
    found = tuple((job, record) for record in list_runs(session, job=job))
    if not found:
        raise UsageError(f"the store has no job `{job}`", hint="see them: cosmos-jobs status")
    path = session.store.snapshot().jobs.get(job, "")
    if path and (session.project.root / path).exists():
        raise UsageError(
            f"the file of the job `{job}` is there: {path}",
            hint=f"prune what left it: cosmos-jobs prune {path}, or remove the file first",
        )
    return found


def jobs_without_file(session: Session) -> tuple[str, ...]:
    """Return the jobs of the store whose files are gone, but whose runs are there."""
    known = session.store.snapshot()
    alive = {job for record in known.runs.values() for job in record.jobs}
    return tuple(
        job
        for job, path in known.jobs.items()
        if job in alive and not (session.project.root / path).exists()
    )


def prune(session: Session, leaving: Iterable[tuple[str, Record]]) -> Pruned:
    """Take runs out of jobs, and remove those that no job asks for any more."""
    return prune_module.runs(session.project, session.store, leaving)


def prune_cache(session: Session) -> int:
    """Delete file digests and control maps; return the bytes that were freed."""
    return prune_module.cache(session.project)


def prune_remote(
    session: Session, target: str, *, delete: bool, connect_timeout_s: float | None = None
) -> Mapping[str, Sequence[Swept]]:
    """Return, by machine, what nobody needs there any more; with `delete` it goes.

    Needed are the batches in flight of this store and those that other
    clients have marked, with their inputs.
    """
    session = session.trying(connect_timeout_s)
    targets = [each for each in session.targets(target) if not is_here(each)]
    if not targets:
        raise UsageError(
            "no target of this project has hosts" if not target else f"{target} has no hosts",
            hint="this machine's own working files: cosmos-jobs prune",
        )
    return wait(
        prune_module.remote(
            session.project,
            session.store,
            targets,
            delete=delete,
        )
    )
