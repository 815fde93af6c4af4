"""Carry plans out: what is published is taken, what is to be made is made and published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cosmos_jobs import engines
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import MAX_RUNS, Desired, Job
from cosmos_jobs.operations.base import wait
from cosmos_jobs.operations.jobs import JobFiles, sources
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Action, Applied, Planned
from cosmos_jobs.targets.executors import traits

if TYPE_CHECKING:
    from cosmos_jobs.apply.agenda import Agenda, Until
    from cosmos_jobs.apply.claim import Claim
    from cosmos_jobs.apply.publish import Brought
    from cosmos_jobs.apply.reconciler import Reconciler


class Applying(JobFiles):
    """What can be done with plans."""

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
        from cosmos_jobs.apply.agenda import Until

        planned = self.enhance(planned, max_runs=max_runs, connect_timeout_s=connect_timeout_s)
        self._check(planned, max_runs, max_gpu_hours)
        self._clear_old_places(planned.desired)
        reconciler = self._reconciler(
            notify,
            connect_timeout_s,
            fail_fast=fail_fast,
            with_logs=with_logs,
            is_published=not planned.selection.preview,
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
        """Make what is to be made, take what is published beside it, and publish what is not."""
        from asyncio import ensure_future

        from cosmos_jobs.apply.agenda import Until

        taken = frozenset(diff.taken(planned.plan))
        # What works on the output of one that is taken comes after it.
        later = taken | {each.run.id for each in planned.desired if each.after in taken}
        asked = taken
        if until is Until.SUBMITTED:
            # Who does not stay leaves to others what nothing waits for.
            asked = taken & {each.after for each in planned.desired}
        try:
            bringing = ensure_future(self._bring(reconciler, planned, asked))
            try:
                now = part(planned, lambda run_id: run_id not in later)
                started, held_back = await self._carry_out(reconciler, now, canary, until)
                brought = await bringing
            finally:
                bringing.cancel()
            left = taken - brought.came - brought.refused
            left |= {each.run.id for each in planned.desired if each.after in left}
            if brought.refused and not held_back:
                made = diff.without(planned.plan, brought.refused)
                planned = self._weighed(replace(planned, plan=made), self.store.snapshot())
                check(planned)
            if then := brought.came if held_back else later - left:
                rest = part(planned, lambda run_id: run_id in then)
                started |= (await self._carry_out(reconciler, rest, 0, until))[0]
            wanted = [each for each in _wanted(planned) if each not in left]
            if reconciler.publishing and until is Until.SETTLED:
                await reconciler.publishing.publish_missing(wanted)
            return self._outcome(planned, wanted, started, reconciler, held_back)
        finally:
            await reconciler.close()

    async def _bring(
        self, reconciler: Reconciler, planned: Planned, taken: Collection[str]
    ) -> Brought:
        from cosmos_jobs.apply.publish import Brought

        if reconciler.publishing is None:
            return Brought()
        runs = {each.run.id: each.run for each in planned.desired if each.run.id in taken}
        return await reconciler.publishing.bring(runs)

    async def _carry_out(
        self, reconciler: Reconciler, planned: Planned, canary: int, until: Until
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Make the runs of a plan; return those that were started, and those held back."""
        agenda = self._agenda(planned, canary, until)
        done = await reconciler.carry_out(self._claim(planned), agenda)
        return done.started, done.held_back

    def _agenda(self, planned: Planned, canary: int, until: Until) -> Agenda:
        from cosmos_jobs.apply.agenda import Agenda

        starts = {change.run_id: change.attempts for change in diff.starts(planned.plan)}
        return Agenda(
            wanted=_wanted(planned),
            until=until,
            starts=starts,
            # The first job that asks for a run says where it runs.
            targets={
                each.run.id: job.target
                for job in reversed(planned.jobs)
                for each in job.expansion.runs
            },
            after={each.run.id: each.after for each in planned.desired if each.after},
            canaries=_canaries(planned, starts, canary),
            retried=frozenset(
                name for name, each in self.project.targets.items() if traits(each).retries_lost
            ),
        )

    def _claim(self, planned: Planned) -> Claim:
        """Return what of the store the runs of a plan become; nothing starts by it."""
        from cosmos_jobs.apply.claim import Claim

        forced = (each for each in planned.plan.changes if each.action is Action.FORCE)
        prompts = sources(planned.jobs, planned.desired)
        return Claim(
            planned.desired,
            prompts,
            {},
            self._paths(planned.jobs),
            frozenset(each.run_id for each in forced),
            _standing(planned.jobs) & prompts.keys(),
        )

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


def _wanted(planned: Planned) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.run.id for each in planned.desired))


def part(planned: Planned, is_in: Callable[[str], bool]) -> Planned:
    """Return the plan of some of the runs."""
    desired = tuple(each for each in planned.desired if is_in(each.run.id))
    changes = tuple(each for each in planned.plan.changes if is_in(each.run_id))
    return replace(planned, desired=desired, plan=replace(planned.plan, changes=changes))


def _standing(jobs: Iterable[Job]) -> set[str]:
    """Return the prompts that an inference took from the store: no file can bring them again."""
    return {key for job in jobs if not job.spec.path for key in job.expansion.prompts}


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
