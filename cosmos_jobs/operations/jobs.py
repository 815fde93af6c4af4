"""Operations on job files: validate, plan, apply; and on what is upscaled without one."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs import batching, engines, estimate, jobfiles, plan, upscaling
from cosmos_jobs import project as projects
from cosmos_jobs.errors import AnswerIsNo, EngineError, InvalidFiles, UsageError
from cosmos_jobs.model import (
    CONNECT_TIMEOUT_S,
    MAX_RUNS,
    Action,
    Applied,
    Change,
    Desired,
    Diagnostic,
    Estimate,
    Event,
    Job,
    Planned,
    Record,
    Selection,
    Severity,
    Snapshot,
    Source,
    State,
)
from cosmos_jobs.operations.base import unique, wait
from cosmos_jobs.operations.enhancing import Enhancing
from cosmos_jobs.project import Project, Target
from cosmos_jobs.protocols import Request

if TYPE_CHECKING:
    from cosmos_jobs.reconcile import Reconciler, Until

PATIENCE = 3
"""How often an apply takes up again what was left unfinished, while nothing gets made."""

PENDING = frozenset({State.PENDING})
UNMADE = frozenset({None, State.PENDING, State.FAILED, State.LOST, State.CANCELLED})
UNFINISHED = PENDING | {State.LOST, State.CANCELLED}

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
        return jobfiles.load(self.project, paths, progress=hashing, since=since)

    def plan(self, selection: Selection, *, hashing: Hashing | None = None) -> Planned:
        """Return what apply would do; nothing but the cache is written.

        Raises InvalidFiles with every problem of every file, UsageError when
        `only` matches nothing.
        """
        jobs, problems = jobfiles.load(
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
        made = plan.diff(
            every,
            _sources(jobs, desired),
            known,
            missing=missing,
            force=selection.force,
            # What no file asks for has never left one.
            partial=bool(selection.only) or not any(job.spec.path for job in jobs),
            refused=refused,
            published=self._published(desired, known, missing, force=selection.force),
        )
        return self._weighed(
            Planned(selection, jobs, desired, made, problems, Estimate(), ()), known
        )

    def _weighed(self, planned: Planned, known: Snapshot) -> Planned:
        """Return a plan with what it takes, and what keeps it from being carried out."""
        jobs, made = planned.jobs, planned.plan
        starts = {(change.job, change.run_id) for change in plan.starts(made)}
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
        self, desired: Iterable[Desired], known: Snapshot, missing: Collection[str], *, force: bool
    ) -> frozenset[str]:
        """Return the runs whose output others have published, of those that are to be made."""
        publishing = None if force else self._publishing(self._say)
        if publishing is None:
            return frozenset()
        ids = dict.fromkeys(each.run.id for each in desired)
        wanted = [each for each in ids if each in missing or known.states.get(each) in UNMADE]
        try:
            return publishing.find(wanted)
        finally:
            publishing.close()

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
        jobs, problems = jobfiles.load(
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
        from cosmos_jobs import unwritten

        wish = unwritten.Wish(weight, words, engine)
        sources = [self._named_run(each) for each in sources]
        made = unwritten.Upscaling(self.project, self.store.snapshot(), self.outputs, wish)
        job = made.job(sources, target)
        return self._planned(Selection(tuple(sources), job.target, force=force), (job,), ())

    def apply(
        self,
        planned: Planned,
        notify: Callable[[Event], None],
        *,
        max_runs: int = MAX_RUNS,
        max_gpu_hours: float | None = None,
        fail_fast: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        canary: int = 0,
        detach: bool = False,
        with_logs: bool = False,
    ) -> Applied:
        """Carry a plan out, wait for all its runs, and return what came of them.

        With `canary` the first runs of each kind of batch are made first, and
        the others only if all of these succeed. Prompts that are to be enhanced are
        so first, and those without a text are left. With `detach` it returns as
        soon as the machines have all the work. `with_logs` tells what the
        engines say, too. Raises AnswerIsNo, with nothing
        started, when a limit refuses, HostError when no machine of a target
        answers, and KeyboardInterrupt on Ctrl-C, with what was running here ended.
        """
        # asyncio takes 50 ms to import, and a plan needs none of it.
        from cosmos_jobs.reconcile import Until

        planned = self.enhance(planned, max_runs=max_runs, connect_timeout_s=connect_timeout_s)
        self._check(planned, max_runs, max_gpu_hours)
        self._clear_old_places(planned.desired)
        reconciler = self._reconciler(
            notify, connect_timeout_s, fail_fast=fail_fast, with_logs=with_logs
        )
        until = Until.SUBMITTED if detach else Until.SETTLED

        def check(now: Planned) -> None:
            self._check(now, max_runs, max_gpu_hours)

        return wait(self._perform(reconciler, planned, check, canary, until))

    async def _perform(
        self,
        reconciler: Reconciler,
        planned: Planned,
        check: Callable[[Planned], None],
        canary: int,
        until: Until,
    ) -> Applied:
        """Take what is published, make the rest, and publish what is not yet."""
        try:
            asked = plan.taken(planned.plan)
            refused = set(asked) - await reconciler.bring(asked)
            if refused:
                made = plan.without(planned.plan, refused)
                planned = self._weighed(replace(planned, plan=made), self.store.snapshot())
                check(planned)
            applied = await self._carry_out(reconciler, planned, canary, until)
            await reconciler.publish_missing(each.run.id for each in applied.records)
            return applied
        finally:
            await reconciler.close()

    def take_published(
        self,
        paths: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> int:
        """Take what others have published of the runs that job files ask for.

        Nothing is started. Returns how many runs came; raises as `plan` does.
        """
        planned = self.plan(Selection(tuple(paths)))
        reconciler = self._reconciler(notify, connect_timeout_s)
        return wait(self._take(reconciler, planned))

    async def _take(self, reconciler: Reconciler, planned: Planned) -> int:
        from cosmos_jobs.reconcile import Until

        try:
            came = await reconciler.bring(plan.taken(planned.plan))
            desired = tuple(each for each in planned.desired if each.run.id in came)
            made = replace(planned.plan, changes=())
            mine = replace(planned, desired=desired, plan=made)
            await self._round(reconciler, mine, {}, (), Until.LOOKED)
            self._outcome(mine, came, frozenset(), reconciler, frozenset())
            return len(came)
        finally:
            await reconciler.close()

    async def _carry_out(
        self, reconciler: Reconciler, planned: Planned, canary: int, until: Until
    ) -> Applied:
        from cosmos_jobs.reconcile import Until

        wanted = tuple(dict.fromkeys(each.run.id for each in planned.desired))
        starts = {change.run_id: change.attempts for change in plan.starts(planned.plan)}
        started: frozenset[str] = frozenset()
        held_back: frozenset[str] = frozenset()
        if first := _canaries(planned, starts, canary):
            started = await self._round(reconciler, planned, first, tuple(first), Until.SETTLED)
            known = self.store.snapshot()
            if any(known.states.get(run_id) is not State.SUCCEEDED for run_id in first):
                held_back = frozenset(starts.keys() - first.keys())
                return self._outcome(planned, wanted, started, reconciler, held_back)
            starts = {run_id: n for run_id, n in starts.items() if run_id not in first}
        patience = PATIENCE
        while patience:
            before = self._made(wanted)
            ready = self._ready(planned, starts)
            started |= await self._round(reconciler, planned, ready, wanted, until)
            waiting = {run_id: n for run_id, n in starts.items() if run_id not in ready}
            starts = waiting | self._left_over(wanted, started)
            if reconciler.gave_up or not self._ready(planned, starts):
                break
            patience = PATIENCE if self._made(wanted) > before else patience - 1
        return self._outcome(planned, wanted, started, reconciler, held_back)

    async def _round(
        self,
        reconciler: Reconciler,
        planned: Planned,
        starts: Mapping[str, int],
        wanted: Sequence[str],
        until: Until,
    ) -> frozenset[str]:
        """Claim the runs of `starts`, each with its attempts so far, and follow all wanted ones."""
        from cosmos_jobs.claims import Claim

        # The first job that asks for a run says where it runs.
        targets = {
            each.run.id: job.target for job in reversed(planned.jobs) for each in job.expansion.runs
        }
        forced = (each for each in planned.plan.changes if each.action is Action.FORCE)
        sources = _sources(planned.jobs, planned.desired)
        claimed = await reconciler.claim(
            Claim(
                planned.desired,
                sources,
                {run_id: (targets[run_id], tried) for run_id, tried in starts.items()},
                self._paths(planned.jobs),
                frozenset(each.run_id for each in forced),
                _standing(planned.jobs) & sources.keys(),
            )
        )
        await reconciler.settle(wanted, until)
        return claimed

    def _outcome(
        self,
        planned: Planned,
        wanted: Iterable[str],
        started: frozenset[str],
        reconciler: Reconciler,
        held_back: frozenset[str],
    ) -> Applied:
        known = self.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in wanted if run_id in known.runs)
        for record in records:
            self.outputs.link(record)
        waits = (each for each in planned.plan.changes if each.action is Action.WAIT)
        awaited = frozenset(change.run_id for change in waits) - started
        return Applied(
            planned,
            started,
            awaited,
            records,
            held_back,
            reconciler.troubles(),
            reconciler.traffic(),
        )

    def _clear_old_places(self, desired: Iterable[Desired]) -> None:
        """Remove the links of runs whose place in their job is now another one."""
        known = self.store.snapshot()
        for each in desired:
            record = known.runs.get(each.run.id)
            place = record.jobs.get(each.job, each.place) if record else each.place
            if record and place != each.place:
                suffix = self.outputs.video(record).suffix
                self.outputs.unlink(record, [self.outputs.place(each.job, place, suffix)])

    def _ready(self, planned: Planned, starts: Mapping[str, int]) -> dict[str, int]:
        """Return the runs that can start now: those that work on another's output need it."""
        after = {each.run.id: each.after for each in planned.desired if each.after}
        if not after:
            return dict(starts)
        states = self.store.snapshot().states
        made = {each for each in after.values() if states.get(each) is State.SUCCEEDED}
        # What is to be made anew is as good as not made.
        ready = made - starts.keys()
        return {
            run_id: attempts
            for run_id, attempts in starts.items()
            if run_id not in after or after[run_id] in ready
        }

    def _made(self, wanted: Collection[str]) -> int:
        """Return how many of the runs are made."""
        states = self.store.snapshot().states
        return sum(states.get(run_id) is State.SUCCEEDED for run_id in wanted)

    def _left_over(self, wanted: Collection[str], started: Collection[str]) -> dict[str, int]:
        """Return the runs to take up again, with attempts.

        They are those that another apply had in flight and did not finish,
        our own that a machine refused, as others had them meanwhile, that a
        crash kept from beginning, that a scheduler took back, or that work on
        what was made just now.
        """
        known = self.store.snapshot()
        records = (known.runs[each] for each in wanted if each in known.states)
        left = (each for each in records if self._is_left(each, each.run.id in started))
        return {record.run.id: len(record.attempts) for record in left}

    def _is_left(self, record: Record, is_ours: bool) -> bool:
        if not is_ours or record.state is not State.LOST:
            return record.state in (PENDING if is_ours else UNFINISHED)
        # A machine that loses what it is given is looked at first; a scheduler means to.
        target = self.project.targets.get(record.last.target) if record.last else None
        return target is not None and target.slurm is not None

    def _missing(self, desired: Iterable[Desired], known: Snapshot) -> frozenset[str]:
        """Return the runs that succeeded, but whose video is gone or has another size.

        Where the state is shared, a run that has no folder here was made elsewhere.
        """
        gone = self._gone((each.run.id for each in desired), known)
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
        slots = target.slots * max(1, len(target.hosts))
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


def _standing(jobs: Iterable[Job]) -> set[str]:
    """Return the prompts that an inference took from the store: no file can bring them again."""
    return {key for job in jobs if not job.spec.path for key in job.expansion.prompts}


def _sources(jobs: Iterable[Job], desired: Iterable[Desired]) -> dict[str, Source]:
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
    return change.action is Action.UNKNOWN and change.reason == plan.AFTER_ENHANCE


def _request(key: str, source: Source) -> Request:
    color, prompt = source.files["color"], source.prompt
    return Request(key, prompt.text, prompt.negative, color.path, color.sha256)


def _canaries(planned: Planned, starts: Mapping[str, int], count: int) -> dict[str, int]:
    """Return the first `count` runs of each kind of batch that are to start."""
    seen: Counter[tuple[str, str, str]] = Counter()
    first: dict[str, int] = {}
    for job in planned.jobs:
        for each in job.expansion.runs:
            if each.run.id not in starts or each.run.id in first or each.after:
                continue
            engine, prompt = each.run.engine, job.expansion.prompts[each.run.prompt_id].prompt
            kind = job.target, engine, engines.get(engine).batch_key(each.run, prompt)
            if seen[kind] < count:
                seen[kind] += 1
                first[each.run.id] = starts[each.run.id]
    return first


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
    runs = len(plan.starts(planned.plan)) + sum(map(_is_awaiting, planned.plan.changes))
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
