"""WorkflowOperations: the one interface of the command line and of Python users."""

from __future__ import annotations

import difflib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from cosmos_jobs import estimate, jobfiles, lifecycle, plan
from cosmos_jobs.errors import AnswerIsNo, InvalidFiles, UsageError
from cosmos_jobs.model import (
    IN_FLIGHT,
    Action,
    Applied,
    Desired,
    Diagnostic,
    Estimate,
    Event,
    Job,
    Planned,
    PromptRecord,
    Record,
    Selection,
    Severity,
    Snapshot,
    Source,
    State,
)
from cosmos_jobs.outputs import Outputs
from cosmos_jobs.project import Project
from cosmos_jobs.store import Store

MAX_RUNS = 1000
"""How many runs one apply starts at most, unless told otherwise."""

ROUNDS = 3
"""How often an apply takes over what another one left unfinished."""

UNFINISHED = frozenset({State.PENDING, State.LOST, State.CANCELLED})

Hashing = Callable[[str, int, int], None]


class WorkflowOperations:
    """Everything that can be done in a project; every method may be called again at any time."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.store = Store(project.store)
        self.outputs = Outputs(project.outputs)

    # --- job files ------------------------------------------------------------------------

    def validate(
        self, paths: Sequence[str], *, hashing: Hashing | None = None
    ) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
        """Return the jobs of those files that hold, and every problem of all of them."""
        return jobfiles.load(self.project, paths, progress=hashing)

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
        )
        if any(each.severity is Severity.ERROR for each in problems):
            raise InvalidFiles("nothing was planned and nothing was changed", problems)
        desired = _selected(jobs, selection.only)
        known = self.store.snapshot()
        made = plan.diff(
            desired,
            _sources(jobs, desired),
            known,
            missing=self._missing(desired, known),
            force=selection.force,
            partial=bool(selection.only),
        )
        starts = Counter(change.job for change in plan.starts(made))
        costs = {job.spec.name: self._cost(job, starts[job.spec.name], known) for job in jobs}
        refusals = tuple(why for job in jobs for why in _refusals(job, costs[job.spec.name]))
        total = estimate.total((job.target, costs[job.spec.name]) for job in jobs)
        return Planned(selection, jobs, desired, made, problems, total, refusals)

    def apply(
        self,
        planned: Planned,
        notify: Callable[[Event], None],
        *,
        max_runs: int = MAX_RUNS,
        fail_fast: bool = False,
    ) -> Applied:
        """Carry a plan out, wait for all its runs, and return what came of them.

        Raises AnswerIsNo, with nothing started, when a limit refuses, and
        KeyboardInterrupt on Ctrl-C, with what was running here ended.
        """
        # asyncio takes 50 ms to import, and a plan needs none of it.
        import asyncio

        from cosmos_jobs.reconcile import Reconciler

        _within_limits(planned, max_runs)
        reconciler = Reconciler(self.project, self.store, notify, fail_fast=fail_fast)
        wanted = tuple(dict.fromkeys(each.run.id for each in planned.desired))
        # The first job that asks for a run says where it runs.
        targets = {
            each.run.id: job.target for job in reversed(planned.jobs) for each in job.expansion.runs
        }
        starts = {change.run_id: change.attempts for change in plan.starts(planned.plan)}
        started: frozenset[str] = frozenset()
        self._clear_old_places(planned.desired)
        for _ in range(ROUNDS):
            started |= reconciler.claim(
                planned.desired,
                _sources(planned.jobs, planned.desired),
                {run_id: (targets[run_id], tried) for run_id, tried in starts.items()},
            )
            asyncio.run(reconciler.settle(wanted))
            starts = self._left_by_others(set(wanted) - started)
            if not starts:
                break
        known = self.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in wanted if run_id in known.runs)
        for record in records:
            self.outputs.link(record)
        return Applied(planned, started, records)

    def _clear_old_places(self, desired: Iterable[Desired]) -> None:
        """Remove the links of runs whose place in their job is now another one."""
        known = self.store.snapshot()
        for each in desired:
            record = known.runs.get(each.run.id)
            place = record.jobs.get(each.job, each.place) if record else each.place
            if record and place != each.place:
                self.outputs.unlink(record, [self.outputs.place(each.job, place)])

    def _left_by_others(self, run_ids: Collection[str]) -> dict[str, int]:
        """Return the runs that another apply had in flight and did not finish, with attempts."""
        known = self.store.snapshot()
        left = (known.runs[each] for each in run_ids if known.states.get(each) in UNFINISHED)
        return {record.run.id: len(record.attempts) for record in left}

    def _missing(self, desired: Iterable[Desired], known: Snapshot) -> frozenset[str]:
        """Return the runs that succeeded, but whose video is not there any more."""
        folder = str(self.project.outputs / "runs")
        return frozenset(
            each.run.id
            for each in desired
            if known.states.get(each.run.id) is State.SUCCEEDED
            and not os.path.exists(f"{folder}/{each.run.id}/output.mp4")  # noqa: PTH110 - 10,000
        )

    def _cost(self, job: Job, runs: int, known: Snapshot) -> Estimate:
        """Return what the `runs` runs of a job that start will take."""
        if not runs:
            return Estimate()
        target = self.project.targets[job.target]
        engine = job.expansion.runs[0].run.engine
        per_run_s = estimate.seconds_per_run(known.runs.values(), engine, job.target)
        return estimate.estimate(runs, per_run_s, target.slots, target.gpus)

    # --- reading --------------------------------------------------------------------------

    def status(self) -> dict[str, dict[State, int]]:
        """Return, for each job in the store, how many of its runs are in which state."""
        jobs: dict[str, dict[State, int]] = {}
        for record in self.store.snapshot().runs.values():
            for job in record.jobs:
                counts = jobs.setdefault(job, dict.fromkeys(State, 0))
                counts[record.state] += 1
        return dict(sorted(jobs.items()))

    def list_prompts(self) -> tuple[PromptRecord, ...]:
        """Return all prompts, by name and id."""
        prompts = self.store.snapshot().prompts.values()
        return tuple(sorted(prompts, key=lambda each: (each.name, each.prompt.id)))

    def list_runs(
        self, *, job: str = "", prompt: str = "", states: Collection[State] = ()
    ) -> tuple[Record, ...]:
        """Return the runs of a job, of a prompt (its id) and in one of `states`, where given."""
        return tuple(
            record
            for record in self.store.snapshot().runs.values()
            if (not job or job in record.jobs)
            and (not prompt or record.run.prompt_id == prompt)
            and (not states or record.state in states)
        )

    def get_run(self, run_id: str) -> Record:
        """Return a run; its id may be shortened. Raises UsageError when it names none or many."""
        known = self.store.snapshot()
        return known.runs[_unique(run_id, known.runs, "run")]

    def get_prompt(self, prompt_id: str) -> PromptRecord:
        """Return a prompt, as `get_run` does a run."""
        known = self.store.snapshot()
        return known.prompts[_unique(prompt_id, known.prompts, "prompt")]

    def prompt_of(self, record: Record) -> PromptRecord | None:
        """Return the prompt of a run."""
        return self.store.snapshot().prompts.get(record.run.prompt_id)

    # --- prune ----------------------------------------------------------------------------

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
        """Return all runs of a job, each with its name; UsageError when there are none."""
        found = tuple((job, record) for record in self.list_runs(job=job))
        if not found:
            raise UsageError(f"the store has no job `{job}`", hint="see them: cosmos-jobs status")
        return found

    def prune(self, orphans: Iterable[tuple[str, Record]]) -> int:
        """Take runs out of jobs; return the bytes freed.

        A run that no job asks for any more goes with its files; one in flight
        is left alone. Working files of batches that have ended go too.
        """
        freed = 0
        for left, place in self._given_up(orphans):
            self.outputs.unlink(left, [place])
            if not left.jobs:
                freed += self.outputs.size(left.run.id)
                self.outputs.remove(left)
        return freed + self._sweep()

    def _given_up(self, orphans: Iterable[tuple[str, Record]]) -> list[tuple[Record, Path]]:
        """Take runs out of jobs in the store; return what is left of each and its old link."""
        done = []
        with self.store.transaction() as change:
            for job, orphan in orphans:
                record = change.run(orphan.run.id)
                if record is None or record.state in IN_FLIGHT or job not in record.jobs:
                    continue
                left = lifecycle.leave(record, job)
                done.append((left, self.outputs.place(job, record.jobs[job])))
                change.put_runs([left])
            change.remove("runs", [left.run.id for left, _ in done if not left.jobs])
        return done

    def _sweep(self) -> int:
        # It brings asyncio, 30 ms, which a plan does without.
        from cosmos_jobs.hosts.local import sweep

        known = self.store.snapshot()
        working = [batch for batch in known.batches.values() if not batch.done]
        runs = [known.runs[run] for batch in working for run in batch.runs if run in known.runs]
        prompts = [known.prompts[record.run.prompt_id].prompt for record in runs]
        inputs = {sha256 for prompt in prompts for sha256 in prompt.inputs.values()}
        return sum(
            sweep(Path(target.root), {batch.id for batch in working}, inputs)
            for target in self.project.targets.values()
        )

    def prune_cache(self) -> int:
        """Delete file digests and control maps; return the bytes that were freed."""
        files = [each for each in self.project.cache.rglob("*") if each.is_file()]
        freed = sum(each.stat().st_size for each in files)
        shutil.rmtree(self.project.cache, ignore_errors=True)
        return freed


def _sources(jobs: Iterable[Job], desired: Iterable[Desired]) -> dict[str, Source]:
    """Return the prompts of the desired runs."""
    prompts = {key: source for job in jobs for key, source in job.expansion.prompts.items()}
    wanted = dict.fromkeys(each.run.prompt_id for each in desired)
    return {key: prompts[key] for key in wanted}


def _selected(jobs: Sequence[Job], only: Sequence[str]) -> tuple[Desired, ...]:
    """Return the runs that are meant; UsageError for a name that matches nothing."""
    every = tuple(each for job in jobs for each in job.expansion.runs)
    if not only:
        return every
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
    return name in (each.prompt, each.run.id) or (
        name.startswith("rs_") and each.run.id.startswith(name)
    )


def _refusals(job: Job, cost: Estimate) -> Iterator[str]:
    """Say which limits of its job file the runs that start exceed."""
    limits, name = job.spec.limits, job.spec.name
    if limits.max_runs is not None and cost.runs > limits.max_runs:
        yield f"{name} starts {cost.runs:,} runs; its limits.max_runs is {limits.max_runs:,}"
    if limits.max_gpu_hours is not None and cost.gpu_hours > limits.max_gpu_hours:
        yield (
            f"{name} takes about {cost.gpu_hours:.1f} GPU hours;"
            f" its limits.max_gpu_hours is {limits.max_gpu_hours:g}"
        )


def _within_limits(planned: Planned, max_runs: int) -> None:
    if planned.refusals:
        raise AnswerIsNo(
            "; ".join(planned.refusals), hint="raise the limit in the job file, or use --only"
        )
    runs = len(plan.starts(planned.plan))
    if runs > max_runs:
        raise AnswerIsNo(
            f"this would start {runs:,} runs; one apply starts at most {max_runs:,}",
            hint=f"allow it: --max-runs {runs}, or take a part of it: --only PROMPT",
        )


def _unique(given: str, ids: Collection[str], kind: str) -> str:
    if given in ids:
        return given
    found = [each for each in ids if each.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"`{given}` could be {len(found)} {kind}s; give more of the id")
    raise UsageError(f"there is no {kind} `{given}`", hint=f"see them: cosmos-jobs list {kind}s")
