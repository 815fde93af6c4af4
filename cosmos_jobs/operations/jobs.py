"""Operations on job files: validate, plan, enhance; and plan what is upscaled without one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs import engines
from cosmos_jobs.config import project as projects
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import MAX_RUNS, Desired, Job, Selection, Source
from cosmos_jobs.core.record import State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.enhancers.base import Request
from cosmos_jobs.errors import AnswerIsNo, EngineError, InvalidFiles, UsageError
from cosmos_jobs.jobs import load
from cosmos_jobs.jobs import upscale as upscaling
from cosmos_jobs.operations.base import unique
from cosmos_jobs.operations.enhancing import Enhancing
from cosmos_jobs.plan import batching, diff, estimate
from cosmos_jobs.plan.model import Action, Change, Estimate, Planned
from cosmos_jobs.targets import executors

if TYPE_CHECKING:
    pass

UNMADE = frozenset({None, State.PENDING, State.FAILED, State.LOST, State.CANCELLED})

Hashing = Callable[[str, int, int], None]

NOTHING: Mapping[str, str] = {}


class JobFiles(Enhancing):
    """What can be done with job files."""

    def validate(
        self, paths: Sequence[str], *, hashing: Hashing | None = None, since: str | None = None
    ) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
        """Return the jobs of those files that hold, and every problem of all of them.

        With `since`, a git ref, it is as in Selection.
        """
        return load.load(self.project, paths, progress=hashing, since=since)

    def plan(self, selection: Selection, *, hashing: Hashing | None = None) -> Planned:
        """Return what apply would do; nothing but the cache is written.

        Raises InvalidFiles with every problem of every file, UsageError when
        `only` matches nothing.
        """
        jobs, problems = load.load(
            self.project,
            selection.paths,
            target=selection.target,
            preview=selection.preview,
            progress=hashing,
            enhanced=self.store.snapshot().enhanced,
            since=selection.since,
        )
        return self._planned(selection, jobs, problems)

    def _planned(
        self,
        selection: Selection,
        jobs: tuple[Job, ...],
        problems: tuple[Diagnostic, ...],
        refused: Mapping[str, str] = NOTHING,
    ) -> Planned:
        known = self.store.snapshot()
        problems = (*problems, *self._taken(jobs, known))
        if any(each.severity is Severity.ERROR for each in problems):
            raise InvalidFiles("nothing was planned and nothing was changed", problems)
        every = _selected(jobs, selection.only)
        desired = tuple(each for each in every if not each.awaits)
        missing = self._missing(desired, known)
        made = diff.diff(
            every,
            sources(jobs, desired),
            known,
            missing=missing,
            force=selection.force,
            # What no file asks for has never left one.
            partial=bool(selection.only) or not any(job.spec.path for job in jobs),
            refused=refused,
            published=self._published(selection, desired, known, missing),
        )
        return self._weighed(
            Planned(selection, jobs, desired, made, problems, Estimate(), ()), known
        )

    def _weighed(self, planned: Planned, known: Snapshot) -> Planned:
        """Return a plan with what it takes, and what keeps it from being carried out."""
        jobs, made = planned.jobs, planned.plan
        starts = {(change.job, change.run_id) for change in diff.starts(made)}
        history = estimate.History(known)
        costs = {job.spec.name: self._cost(job, starts, history) for job in jobs}
        unchecked = _unchecked(self.project, jobs, costs)
        problems = (*planned.warnings, *(x for x in unchecked if x not in planned.warnings))
        refusals = tuple(
            why
            for job in jobs
            for why in _refusals(job, self.project.targets[job.target], costs[job.spec.name])
        )
        total = estimate.total((job.target, costs[job.spec.name]) for job in jobs)
        return replace(planned, warnings=problems, estimate=total, refusals=refusals)

    def _published(
        self,
        selection: Selection,
        desired: Iterable[Desired],
        known: Snapshot,
        missing: Collection[str],
    ) -> frozenset[str]:
        """Return the runs whose output is published, of those that are to be made."""
        if selection.force or selection.preview:
            return frozenset()
        ids = dict.fromkeys(each.run.id for each in desired)
        wanted = [each for each in ids if each in missing or known.states.get(each) in UNMADE]
        publishing = self._publishing(lambda event: self._say(event.reason)) if wanted else None
        if publishing is None:
            return frozenset()
        try:
            return publishing.find(wanted)
        finally:
            publishing.let_go()

    def enhance(
        self,
        planned: Planned,
        *,
        max_runs: int = MAX_RUNS,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> Planned:
        """Write the prompts in more detail that a plan awaits, and return the plan then.

        The texts are kept: the same prompts are not asked about again. What has
        none, and why, is in the plan. Raises AnswerIsNo when there are too many
        runs, or a job file has changed in between, EngineError and HostError
        when an enhancer can answer nothing.
        """
        asked = _awaited(planned)
        if not asked:
            return planned
        self._check(planned, max_runs, None)
        refused: dict[str, str] = {}
        for wanted, sources in asked.items():
            enhancer, _ = self._enhancer(wanted, connect_timeout_s)
            requests = [_request(key, source) for key, source in sources.items()]
            answers = self._ask(enhancer, requests)
            reasons = {key: each.reason for key, each in answers.items() if not each.text}
            refused |= {key: f"{enhancer.name}: {why}" for key, why in reasons.items()}
        selection = planned.selection
        jobs, problems = load.load(
            self.project,
            selection.paths,
            target=selection.target,
            preview=selection.preview,
            enhanced=self.store.snapshot().enhanced,
            since=selection.since,
        )
        if [job.spec for job in jobs] != [job.spec for job in planned.jobs]:
            raise AnswerIsNo(
                "a job file has changed while its prompts were enhanced; nothing was started",
                hint="look again: cosmos-jobs plan",
            )
        return self._planned(selection, jobs, problems, refused)

    def _check(self, planned: Planned, max_runs: int, max_gpu_hours: float | None) -> None:
        """Raise what keeps a plan from being carried out: no engine, or a limit."""
        for job in planned.jobs:
            for engine in _engines(job):
                self.project.targets[job.target].installed(engine)
        _within_limits(planned, max_runs, max_gpu_hours)

    def upscale(
        self,
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
        from cosmos_jobs.jobs import adhoc

        wish = adhoc.Wish(weight, words, engine)
        sources = [self._named_run(each) for each in sources]
        made = adhoc.Upscaling(self.project, self.store.snapshot(), self.outputs, wish)
        job = made.job(sources, target)
        return self._planned(Selection(tuple(sources), job.target, force=force), (job,), ())

    def _missing(self, desired: Iterable[Desired], known: Snapshot) -> frozenset[str]:
        """Return the runs that succeeded, but whose video is gone or has another size.

        Where the state is shared, a run that has no folder here was made elsewhere.
        """
        gone = self.outputs.lost((each.run.id for each in desired), known)
        shared = bool(self.project.state)
        return frozenset(each for each in gone if not shared or self.outputs.folder(each).exists())

    def _cost(
        self, job: Job, starts: Collection[tuple[str, str]], history: estimate.History
    ) -> Estimate:
        """Return what those runs of a job take that are among `starts`: jobs and run ids."""
        name, prompts = job.spec.name, job.expansion.prompts
        runs = [each.run for each in job.expansion.runs if (name, each.run.id) in starts]
        if not runs:
            return Estimate()
        target = self.project.targets[job.target]
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
            target.max_batch,
            slots=slots,
        )
        return estimate.estimate(
            [
                [(by_id[run_id], frames.get(by_id[run_id].prompt_id, 0)) for run_id in batch.runs]
                for batch in batches
            ],
            history,
            history.machine(job.target, target.gpu, target.gpus_per_batch if target.gpus else 0),
            slots,
            target.price_per_gpu_hour or 0.0,
        )

    def _paths(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Return the files of jobs, relative to the project where they are in it; "" for none."""
        root = self.project.root.resolve()
        jobs = tuple(job for job in jobs if job.spec.name)
        paths = {job.spec.name: Path(job.spec.path).resolve() for job in jobs if _has_file(job)}
        shown = {name: projects.shown(path, root) for name, path in paths.items()}
        return {job.spec.name: shown.get(job.spec.name, "") for job in jobs}

    def _taken(self, jobs: Iterable[Job], known: Snapshot) -> Iterator[Diagnostic]:
        """Report jobs whose name belongs to another file that is still there.

        Else what that file asks for would look as if it had left the job.
        """
        jobs = tuple(filter(_has_file, jobs))
        paths = self._paths(jobs)
        for job in jobs:
            name, at = job.spec.name, ("name",)
            first = known.jobs.get(name, paths[name])
            if not first and any(name in record.jobs for record in known.runs.values()):
                message = f"the job name `{name}` belongs to runs that no job file asked for"
                hint = f"choose another name, or remove those: cosmos-jobs prune --job {name}"
                yield job.spec.source.diagnostic(at, "duplicate-job", message, hint=hint)
            elif first and first != paths[name] and (self.project.root / first).exists():
                message = f"the job name `{name}` belongs to {first}"
                hint = "choose another name, or remove that file"
                yield job.spec.source.diagnostic(at, "duplicate-job", message, hint=hint)


def _has_file(job: Job) -> bool:
    return bool(job.spec.name and job.spec.path)


def sources(jobs: Iterable[Job], desired: Iterable[Desired]) -> dict[str, Source]:
    """Return the prompts of the desired runs."""
    prompts = {key: source for job in jobs for key, source in job.expansion.prompts.items()}
    wanted = dict.fromkeys(each.run.prompt_id for each in desired)
    return {key: prompts[key] for key in wanted}


def _selected(jobs: Sequence[Job], only: Sequence[str]) -> tuple[Desired, ...]:
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


def _awaited(planned: Planned) -> dict[str, dict[str, Source]]:
    """Return the prompts that selected runs await the text of: by enhancer, and by its id."""
    if not any(_is_awaiting(each) for each in planned.plan.changes):
        return {}
    found: dict[str, dict[str, Source]] = {}
    selected = {(each.job, each.place) for each in _selected(planned.jobs, planned.selection.only)}
    for job in planned.jobs:
        by = {prompt.name: prompt.enhance for prompt in job.spec.prompts}
        for each in job.expansion.runs:
            # What works on another's output has that one's text.
            if each.awaits and not each.after and (each.job, each.place) in selected:
                source = job.expansion.prompts[each.run.prompt_id]
                found.setdefault(by[each.prompt] or "", {})[each.awaits] = source
    return found


def _is_awaiting(change: Change) -> bool:
    return change.action is Action.UNKNOWN and change.reason == diff.AFTER_ENHANCE


def _request(key: str, source: Source) -> Request:
    color, prompt = source.files["color"], source.prompt
    return Request(key, prompt.text, prompt.negative, color.path, color.sha256)


def _is(each: Desired, name: str) -> bool:
    return name in (each.prompt, each.run.id)


def _engines(job: Job) -> tuple[str, ...]:
    """Return the engines of a job's runs: what upscales them may be another one."""
    return tuple(dict.fromkeys(each.run.engine for each in job.expansion.runs))


def _refusals(job: Job, target: Target, cost: Estimate) -> Iterator[str]:
    """Say which engines the target lacks, and which limits of the job file are exceeded."""
    limits, name = job.spec.limits, job.spec.name
    try:
        for engine in _engines(job):
            target.installed(engine)
    except EngineError as error:
        yield error.message
    if limits.max_runs is not None and cost.runs > limits.max_runs:
        yield f"{name} starts {cost.runs:,} runs; its limits.max_runs is {limits.max_runs:,}"
    if limits.max_gpu_hours is not None and cost.gpu_hours > limits.max_gpu_hours:
        yield (
            f"{name} takes about {_shown(cost.gpu_hours)} GPU hours;"
            f" its limits.max_gpu_hours is {limits.max_gpu_hours:g}"
        )


def _within_limits(planned: Planned, max_runs: int, max_gpu_hours: float | None) -> None:
    if planned.refusals:
        raise AnswerIsNo(
            "; ".join(planned.refusals), hint="raise the limit in the job file, or use --only"
        )
    # What is known after enhance is new, but for rare cases.
    runs = len(diff.starts(planned.plan)) + sum(map(_is_awaiting, planned.plan.changes))
    if runs > max_runs:
        raise AnswerIsNo(
            f"this would start {runs:,} runs; one apply starts at most {max_runs:,}",
            hint=f"allow it: --max-runs {runs}, or take a part of it: --only PROMPT",
        )
    hours = planned.estimate.gpu_hours
    if max_gpu_hours is not None and hours > max_gpu_hours:
        enough = math.ceil(hours * 10) / 10
        raise AnswerIsNo(
            f"this would take about {_shown(hours)} GPU hours; --max-gpu-hours is"
            f" {max_gpu_hours:g}",
            hint=f"allow it: --max-gpu-hours {enough:g}, or take a part of it: --only PROMPT",
        )


def _shown(hours: float) -> str:
    """Return hours as told: `2.8`, and few ones as exactly as makes sense, `0.023`."""
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _unchecked(
    project: Project, jobs: Iterable[Job], costs: Mapping[str, Estimate]
) -> Iterator[Diagnostic]:
    """Say of which job files the limit in GPU hours cannot be checked, as no one knows them."""
    for job in jobs:
        unknown = costs[job.spec.name].unknown
        limited = job.spec.limits.max_gpu_hours is not None and project.targets[job.target].gpus
        if unknown and limited:
            yield job.spec.source.diagnostic(
                ("limits", "max_gpu_hours"),
                "unchecked-limit",
                f"this limit is not checked for {unknown:,} of its runs: nobody knows yet how"
                " long they take",
                hint="make a few first: --canary 1",
                severity=Severity.WARNING,
            )
