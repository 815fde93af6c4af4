"""Carry plans out: what is published is taken, what is to be made is made and published."""

from __future__ import annotations

from asyncio import ensure_future
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cosmos_jobs import engines
from cosmos_jobs.apply.agenda import Agenda, Until
from cosmos_jobs.apply.claim import Claim
from cosmos_jobs.apply.options import DEFAULTS, ApplyOptions
from cosmos_jobs.apply.publish import Brought
from cosmos_jobs.apply.reconciler import Reconciler
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import MAX_RUNS, Desired, Job
from cosmos_jobs.operations import planning
from cosmos_jobs.operations.enhancing import enhance
from cosmos_jobs.operations.limits import check
from cosmos_jobs.operations.session import Session, publishing, wait
from cosmos_jobs.plan.diff import starts as starting
from cosmos_jobs.plan.diff import taken as to_take
from cosmos_jobs.plan.diff import without
from cosmos_jobs.plan.model import Action, Applied, Planned
from cosmos_jobs.targets.executors import traits

T = TypeVar("T")


def apply(
    session: Session,
    planned: Planned,
    notify: Callable[[Event], None],
    *,
    max_runs: int = MAX_RUNS,
    max_gpu_hours: float | None = None,
    fail_fast: bool = False,
    connect_timeout_s: float | None = None,
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
    options = ApplyOptions(
        max_runs=max_runs,
        max_gpu_hours=max_gpu_hours,
        fail_fast=fail_fast,
        canary=canary,
        detach=detach,
        with_logs=with_logs,
    )
    return carry_out(session.trying(connect_timeout_s), planned, notify, options)


def carry_out(
    session: Session, planned: Planned, notify: Callable[[Event], None], options: ApplyOptions
) -> Applied:
    """Carry a plan out as `apply` does, and as `options` say."""
    planned = enhance(session, planned, max_runs=options.max_runs)
    check(session.project, planned, options)
    _clear_old_places(session, planned.desired)
    loop = reconciler(session, notify, options, is_published=not planned.selection.preview)
    until = Until.SUBMITTED if options.detach else Until.SETTLED
    return complete(loop, Rounds(session, loop, until).perform(planned, options))


def reconciler(
    session: Session,
    notify: Callable[[Event], None],
    options: ApplyOptions = DEFAULTS,
    *,
    is_published: bool = True,
) -> Reconciler:
    """Return the loop that follows what is in flight, and publishes what it makes."""
    return Reconciler(
        session.project,
        session.store,
        notify,
        options,
        publishing=publishing(session, notify) if is_published else None,
    )


def complete(loop: Reconciler, work: Coroutine[Any, Any, T]) -> T:
    """Do work of a loop to its end; whatever comes of it, the loop lets go of its machines."""

    async def done() -> T:
        try:
            return await work
        finally:
            await loop.close()

    return wait(done())


@dataclass(frozen=True, slots=True)
class Rounds:
    """What a plan takes: rounds of runs that are made, until nothing more can be."""

    session: Session
    reconciler: Reconciler
    until: Until = Until.SETTLED

    async def perform(self, planned: Planned, options: ApplyOptions) -> Applied:
        """Make what is to be made, take what is published beside it, and publish what is not."""
        taken = frozenset(to_take(planned.plan))
        # What works on the output of one that is taken comes after it.
        later = taken | {each.run.id for each in planned.desired if each.after in taken}
        now = part(planned, lambda run_id: run_id not in later)
        bringing = ensure_future(self.bring(planned, self._asked(planned, taken)))
        try:
            started, held_back = await self.make(now, options.canary)
            brought = await bringing
        finally:
            bringing.cancel()
        left = taken - brought.came - brought.refused
        left |= {each.run.id for each in planned.desired if each.after in left}
        if brought.refused and not held_back:
            planned = self._without(planned, brought.refused)
            check(self.session.project, planned, options)
        if then := brought.came if held_back else later - left:
            rest = part(planned, lambda run_id: run_id in then)
            started |= (await self.make(rest))[0]
        wanted = [each for each in _wanted(planned) if each not in left]
        if self.reconciler.publishing and self.until is Until.SETTLED:
            await self.reconciler.publishing.publish_missing(wanted)
        return self.outcome(planned, wanted, started, held_back)

    def _asked(self, planned: Planned, taken: Collection[str]) -> Collection[str]:
        """Return the outputs to bring; who does not stay leaves what nothing waits for."""
        if self.until is not Until.SUBMITTED:
            return taken
        bases = {each.after for each in planned.desired}
        return bases.intersection(taken)

    def _without(self, planned: Planned, refused: Collection[str]) -> Planned:
        """Return the plan that makes what could not be taken."""
        made = replace(planned, plan=without(planned.plan, refused))
        return planning.weighed(self.session, made, self.session.store.snapshot())

    async def bring(self, planned: Planned, taken: Collection[str]) -> Brought:
        """Take what is published of the runs of a plan."""
        if self.reconciler.publishing is None:
            return Brought()
        runs = {each.run.id: each.run for each in planned.desired if each.run.id in taken}
        return await self.reconciler.publishing.bring(runs)

    async def make(
        self, planned: Planned, canary: int = 0
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Make the runs of a plan; return those that were started, and those held back."""
        done = await self.reconciler.carry_out(self._claim(planned), self._agenda(planned, canary))
        return done.started, done.held_back

    def _agenda(self, planned: Planned, canary: int) -> Agenda:
        starts = {change.run_id: change.attempts for change in starting(planned.plan)}
        targets = self.session.project.targets
        return Agenda(
            wanted=_wanted(planned),
            until=self.until,
            starts=starts,
            # The first job that asks for a run says where it runs.
            targets={
                each.run.id: job.target
                for job in reversed(planned.jobs)
                for each in job.expansion.runs
            },
            after={each.run.id: each.after for each in planned.desired if each.after},
            canaries=_canaries(planned, starts, canary),
            retried=frozenset(name for name, each in targets.items() if traits(each).retries_lost),
        )

    def _claim(self, planned: Planned) -> Claim:
        """Return what of the store the runs of a plan become; nothing starts by it."""
        forced = (each for each in planned.plan.changes if each.action is Action.FORCE)
        prompts = planning.sources(planned.jobs, planned.desired)
        return Claim(
            desired=planned.desired,
            sources=prompts,
            starts={},
            paths=planning.job_paths(self.session.project.root, planned.jobs),
            forced=frozenset(each.run_id for each in forced),
            standing=_standing(planned.jobs) & prompts.keys(),
        )

    def outcome(
        self,
        planned: Planned,
        wanted: Iterable[str],
        started: frozenset[str],
        held_back: frozenset[str] = frozenset(),
    ) -> Applied:
        """Return what came of the runs of a plan that were wanted."""
        known = self.session.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in wanted if run_id in known.runs)
        for record in records:
            self.session.outputs.link(record)
        waits = (each for each in planned.plan.changes if each.action is Action.WAIT)
        awaited = frozenset(change.run_id for change in waits) - started
        return Applied(
            planned=planned,
            started=started,
            awaited=awaited,
            records=records,
            held_back=held_back,
            troubles=self.reconciler.troubles(),
            traffic=self.reconciler.traffic(),
        )


def _clear_old_places(session: Session, desired: Iterable[Desired]) -> None:
    """Remove the links of runs whose place in their job is now another one."""
    known = session.store.snapshot()
    for each in desired:
        record = known.runs.get(each.run.id)
        place = record.jobs.get(each.job, each.place) if record else each.place
        if record and place != each.place:
            suffix = session.outputs.video(record).suffix
            session.outputs.unlink(record, [session.outputs.place(each.job, place, suffix)])


def _wanted(planned: Planned) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.run.id for each in planned.desired))


def part(planned: Planned, is_in: Callable[[str], bool]) -> Planned:
    """Return the plan of some of the runs."""
    desired = tuple(each for each in planned.desired if is_in(each.run.id))
    changes = tuple(each for each in planned.plan.changes if is_in(each.run_id))
    return replace(planned, desired=desired, plan=replace(planned.plan, changes=changes))


def _standing(jobs: Iterable[Job]) -> set[str]:
    """Return the prompts that an inference took from the store: no file can bring them again."""
    return {key for job in jobs if job.name and not job.spec for key in job.expansion.prompts}


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
