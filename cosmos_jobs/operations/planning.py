"""Plan: what job files, runs to upscale or runs to make again ask for, against what is known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs import engines
from cosmos_jobs.config.project import shown
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Desired, Job, Selection, Source
from cosmos_jobs.core.record import UNMADE, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.jobs import adhoc, adhoc_upscale
from cosmos_jobs.jobs import load as job_files
from cosmos_jobs.jobs import upscale as upscaling
from cosmos_jobs.operations import limits
from cosmos_jobs.operations.listing import full_id
from cosmos_jobs.operations.session import Session, publishing, unique
from cosmos_jobs.plan import batching, estimate
from cosmos_jobs.plan.diff import diff, starts
from cosmos_jobs.plan.model import Estimate, Planned
from cosmos_jobs.targets import executors

Hashing = Callable[[str, int, int], None]

NOTHING: Mapping[str, str] = {}


def validate(
    session: Session,
    paths: Sequence[str],
    *,
    hashing: Hashing | None = None,
    since: str | None = None,
) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
    """Return the jobs of those files that hold, and every problem of all of them.

    With `since`, a git ref, it is as in Selection.
    """
    return job_files.load(session.project, paths, progress=hashing, since=since)


def plan(session: Session, selection: Selection, *, hashing: Hashing | None = None) -> Planned:
    """Return what apply would do; nothing but the cache is written.

    Raises InvalidFiles with every problem of every file, UsageError when
    `only` matches nothing.
    """
    jobs, problems = load(session, selection, hashing)
    return of_jobs(session, selection, jobs, problems)


def load(
    session: Session, selection: Selection, hashing: Hashing | None = None
) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
    """Return the selected jobs that hold, and every problem of all of them."""
    return job_files.load(
        session.project,
        selection.paths,
        target=selection.target,
        preview=selection.preview,
        progress=hashing,
        enhanced=session.store.snapshot().enhanced,
        since=selection.since,
    )


def upscale(
    session: Session,
    sources: Sequence[str],
    *,
    weight: float = upscaling.WEIGHT,
    words: str = "",
    engine: str = "",
    target: str = "",
    force: bool = False,
) -> Planned:
    """Return the plan that makes 4K videos of runs (by id) and video files.

    Without `words` a run's own prompt is taken; a file needs them. Without
    an `engine` the model makes them, unless preview made the run or is the
    project's engine. Raises UsageError for what cannot be upscaled.
    """
    wish = adhoc_upscale.Wish(weight, words, engine)
    sources = [full_id(session, each) for each in sources]
    made = adhoc_upscale.Upscaling(session.project, session.store.snapshot(), session.outputs, wish)
    job = made.job(sources, target)
    return of_jobs(session, Selection(tuple(sources), target=job.target, force=force), (job,), ())


def retrying(
    session: Session, run_ids: Sequence[str], target: str = "", *, is_choice: bool = True
) -> Planned:
    """Return the plan that starts runs again, where they ran last, or on `target`.

    Job files say what they ask for now; a run that no file ever asked for
    is as the store has it. Raises UsageError for one that no job file asks for
    any more, unless it is not the user's own choice, and when that was on
    several targets.
    """
    known = session.store.snapshot()
    root = session.project.root
    alone: list[str] = []
    paths: dict[str, None] = {}
    for run_id in run_ids:
        asking = known.runs[run_id].jobs.keys()
        files = (known.jobs.get(job, "") for job in asking)
        there = next((path for path in files if path and (root / path).exists()), None)
        if there is not None:
            paths[str(root / there)] = None
        elif not asking or not all(known.jobs.get(job) for job in asking):
            # Nobody's, or asked for without a file.
            alone.append(run_id)
        elif is_choice:
            raise UsageError(
                f"the job file that asked for {run_id} is gone", hint="restore it, then retry"
            )
    where = target or _last_target(session, run_ids, known)
    jobs, problems = (
        job_files.load(session.project, tuple(paths), target=where, enhanced=known.enhanced)
        if paths
        else ((), ())
    )
    if alone:
        jobs = (*jobs, adhoc.again(known, alone, root, where))
    asked = {each.run.id for job in jobs for each in job.expansion.runs}
    only = tuple(run_id for run_id in run_ids if is_choice or run_id in asked)
    if not only:
        raise UsageError(
            "no job asks for any of these runs", hint="name them: cosmos-jobs retry rs_…"
        )
    return of_jobs(
        session, Selection(tuple(paths), target=where, only=only, force=True), jobs, problems
    )


def _last_target(session: Session, run_ids: Sequence[str], known: Snapshot) -> str:
    """Return the one target where runs were last; UsageError when there are several."""
    last = sorted({each.target for run_id in run_ids if (each := known.runs[run_id].last)})
    if len(last) > 1:
        raise UsageError(
            f"these runs were on several targets: {', '.join(last)}",
            hint="say where they are to run now: --target NAME, or name fewer",
        )
    return "".join(last)


def of_jobs(
    session: Session,
    selection: Selection,
    jobs: tuple[Job, ...],
    problems: tuple[Diagnostic, ...],
    refused: Mapping[str, str] = NOTHING,
) -> Planned:
    """Return the plan of jobs, where nothing is wrong with them.

    `refused` says why a text could not be had, by what awaits it. Raises as `plan`.
    """
    known = session.store.snapshot()
    problems = (*problems, *_taken(session, jobs, known))
    if any(each.severity is Severity.ERROR for each in problems):
        raise InvalidFiles("nothing was planned and nothing was changed", problems)
    every = selected(jobs, selection.only)
    desired = tuple(each for each in every if not each.awaits)
    missing = _missing(session, desired, known)
    made = diff(
        every,
        sources(jobs, desired),
        known,
        missing=missing,
        force=selection.force,
        # What no file asks for has never left one.
        partial=bool(selection.only) or not any(job.spec for job in jobs),
        refused=refused,
        published=_published(session, selection, desired, missing),
    )
    return weighed(
        session,
        Planned(
            selection=selection,
            jobs=jobs,
            desired=desired,
            plan=made,
            warnings=problems,
            estimate=Estimate(),
            refusals=(),
        ),
        known,
    )


def weighed(session: Session, planned: Planned, known: Snapshot) -> Planned:
    """Return a plan with what it takes, and what keeps it from being carried out."""
    jobs, made = planned.jobs, planned.plan
    started = {(change.job, change.run_id) for change in starts(made)}
    history = estimate.History(known)
    costs = {job.name: _cost(session, job, started, history) for job in jobs}
    unchecked = limits.unchecked(session.project, jobs, costs)
    problems = (*planned.warnings, *(x for x in unchecked if x not in planned.warnings))
    refusals = tuple(
        why
        for job in jobs
        for why in limits.refusals(job, session.project.targets[job.target], costs[job.name])
    )
    total = estimate.total((job.target, costs[job.name]) for job in jobs)
    return replace(planned, warnings=problems, estimate=total, refusals=refusals)


def _published(
    session: Session,
    selection: Selection,
    desired: Iterable[Desired],
    missing: Collection[str],
) -> frozenset[str]:
    """Return the runs whose output is published, of those that are to be made."""
    if selection.force or selection.preview:
        return frozenset()
    states = session.store.snapshot().states
    ids = dict.fromkeys(each.run.id for each in desired)
    wanted = [each for each in ids if each in missing or states.get(each, State.PENDING) in UNMADE]
    published = publishing(session, lambda event: session.say(event.reason)) if wanted else None
    if published is None:
        return frozenset()
    try:
        return published.find(wanted)
    finally:
        published.let_go()


def _missing(session: Session, desired: Iterable[Desired], known: Snapshot) -> frozenset[str]:
    """Return the runs that succeeded, but whose video is gone or has another size.

    Where the state is shared, a run that has no folder here was made elsewhere.
    """
    lost = session.outputs.lost((each.run.id for each in desired), known)
    shared = bool(session.project.state)
    return frozenset(each for each in lost if not shared or session.outputs.folder(each).exists())


def _cost(
    session: Session, job: Job, starts: Collection[tuple[str, str]], history: estimate.History
) -> Estimate:
    """Return what those runs of a job take that are among `starts`: jobs and run ids."""
    name, prompts = job.name, job.expansion.prompts
    runs = [each.run for each in job.expansion.runs if (name, each.run.id) in starts]
    if not runs:
        return Estimate()
    target = session.project.targets[job.target]
    frames = {
        prompt_id: color.frames
        for prompt_id, source in prompts.items()
        if (color := source.files.get("color"))
    }
    slots = executors.traits(target).slots * max(1, len(target.hosts))
    adapters = {engine: engines.get(engine) for engine in {run.engine for run in runs}}
    by_id = {run.id: run for run in runs}
    batches = batching.group(
        runs,
        {},
        job.target,
        lambda run: adapters[run.engine].batch_key(run, prompts[run.prompt_id].prompt),
        max_batch=target.max_batch,
        slots=slots,
    )
    return estimate.estimate(
        [
            [(by_id[run_id], frames.get(by_id[run_id].prompt_id, 0)) for run_id in batch.runs]
            for batch in batches
        ],
        history,
        history.machine(job.target, target.gpu, target.gpus_per_batch if target.gpus else 0),
        slots=slots,
        price_per_gpu_hour=target.price_per_gpu_hour or 0.0,
    )


def job_paths(root: Path, jobs: Iterable[Job]) -> dict[str, str]:
    """Return the files of jobs, relative to the project where they are in it; "" for none."""
    root = root.resolve()
    jobs = tuple(job for job in jobs if job.name)
    paths = {job.name: Path(job.file).resolve() for job in jobs if job.spec}
    return {job.name: shown(paths[job.name], root) if job.name in paths else "" for job in jobs}


def _taken(session: Session, jobs: Iterable[Job], known: Snapshot) -> Iterator[Diagnostic]:
    """Report jobs whose name belongs to another file that is still there.

    Else what that file asks for would look as if it had left the job.
    """
    specs = tuple(job.spec for job in jobs if job.spec)
    paths = job_paths(session.project.root, jobs)
    for spec in specs:
        name, at = spec.name, ("name",)
        first = known.jobs.get(name, paths[name])
        if not first and any(name in record.jobs for record in known.runs.values()):
            message = f"the job name `{name}` belongs to runs that no job file asked for"
            hint = f"choose another name, or remove those: cosmos-jobs prune --job {name}"
            yield spec.source.diagnostic(at, "duplicate-job", message, hint=hint)
        elif first and first != paths[name] and (session.project.root / first).exists():
            message = f"the job name `{name}` belongs to {first}"
            hint = "choose another name, or remove that file"
            yield spec.source.diagnostic(at, "duplicate-job", message, hint=hint)


def sources(jobs: Iterable[Job], desired: Iterable[Desired]) -> dict[str, Source]:
    """Return the prompts of the desired runs."""
    prompts = {key: source for job in jobs for key, source in job.expansion.prompts.items()}
    wanted = dict.fromkeys(each.run.prompt_id for each in desired)
    return {key: prompts[key] for key in wanted}


def selected(jobs: Sequence[Job], only: Sequence[str]) -> tuple[Desired, ...]:
    """Return the runs that are meant; UsageError for a name that matches nothing."""
    every = tuple(each for job in jobs for each in job.expansion.runs)
    # Without a job, as none differs, there is no name that could be wrong.
    if not only or not jobs:
        return every
    ids = {each.run.id for each in every if not each.awaits}
    only = [unique(name, ids, "run") if name.startswith("rs_") else name for name in only]
    for name in only:
        if not any(_is(each, name) for each in every):
            names = {each.prompt for each in every}
            near = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                f"no prompt or run `{name}` in these job files",
                hint=f"did you mean `{near[0]}`?"
                if near
                else f"prompts: {', '.join(sorted(names))}",
            )
    return tuple(each for each in every if any(_is(each, name) for name in only))


def _is(each: Desired, name: str) -> bool:
    return name in (each.prompt, each.run.id)
