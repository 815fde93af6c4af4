"""The loop of an apply: perform the next steps, see what came of them, until it is over."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from cosmos_jobs.apply import adopt, record
from cosmos_jobs.apply.agenda import Agenda, Until
from cosmos_jobs.apply.claim import Claim, Claims
from cosmos_jobs.apply.log_stream import Logs, tell_log
from cosmos_jobs.apply.options import DEFAULTS, ApplyOptions
from cosmos_jobs.apply.performing import STOP_TIMEOUT_S, Performer
from cosmos_jobs.apply.publish import Publishing
from cosmos_jobs.apply.restore import Restorer
from cosmos_jobs.apply.steps import TICK_S, End, Step, Stop, next_steps
from cosmos_jobs.apply.submit import Submissions
from cosmos_jobs.apply.tell import Teller
from cosmos_jobs.apply.tracker import Tracker
from cosmos_jobs.config.project import Project
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.events import Event
from cosmos_jobs.errors import CosmosJobsError, HostError
from cosmos_jobs.state.store import Store
from cosmos_jobs.targets.fleet import Access, Fleet

BREATH_S = 0.01
"""Steps that end at almost the same time are followed by the next ones together."""


class Reconciler:
    """Makes the world agree with the store's claims; may be stopped and begun again anywhere."""

    def __init__(
        self,
        project: Project,
        store: Store,
        notify: Callable[[Event], None],
        options: ApplyOptions = DEFAULTS,
        *,
        publishing: Publishing | None = None,
    ) -> None:
        self._store = store
        self._teller = Teller(notify)
        self._fleet = Fleet(project, Access(self._teller.say))
        self._claims = Claims(project, store, self._fleet)
        self._logs = (
            Logs(project.cache / "logs.json", self._teller.log) if options.with_logs else None
        )
        self.publishing = publishing
        """What publishes outputs, where that is done."""
        self._tracker = Tracker(self._fleet, self._claims.claimed, self._claims.held)
        self._restorer = Restorer(project, store, self._fleet, self._tracker, publishing)
        self._performer = Performer(
            self._tracker,
            store,
            self._teller,
            claims=self._claims,
            submissions=Submissions(project),
            restorer=self._restorer,
            collector=self._restorer.collector,
            logs=self._logs,
            fail_fast=options.fail_fast,
        )
        self._tasks: dict[Step, asyncio.Task[None]] = {}

    async def carry_out(self, claim: Claim, agenda: Agenda) -> Agenda:
        """Claim what an agenda has to start, follow it to its end, and return what came of it.

        `claim` says what of the store the jobs' runs become. Stops as `settle` does.
        """
        self._performer.claim = claim
        known = await self._performer.read()
        return await self._follow(agenda.begun(known.states))

    async def settle(
        self,
        wanted: Collection[str],
        until: Until = Until.SETTLED,
        timeout_s: float | None = None,
    ) -> None:
        """Work until none of the `wanted` runs is in flight, whoever claimed it, or `until`.

        Returns also when what is left is on machines that do not answer, and
        after `timeout_s`, with all work going on.
        Cancelled (Ctrl-C), it ends the batches of its own that run on this
        machine, leaves those on others at work, withdraws what no machine has
        yet, records what came of all, and lets the cancellation pass.
        """
        await self._follow(Agenda(wanted=tuple(wanted), until=until), timeout_s)

    async def cancel(self, run_ids: Collection[str]) -> None:
        """End the batches in flight of these runs, and record what they made.

        A batch that others need too goes on, without us; one on a machine that
        the project no longer has is given up. Raises HostError, once all other
        machines have been asked, when one cannot be.
        """
        self._tracker.follow(Agenda(wanted=tuple(run_ids)))
        self._tracker.stop = Stop.ALL
        try:
            await self._loop(math.inf)
        finally:
            await self._dismiss()
        given_up = [batch for batch, _ in self._tracker.homeless.values()]
        self._teller.changed(await record.give_up(self._store, given_up))
        self._tracker.homeless.clear()
        if self._performer.trouble:
            raise self._performer.trouble

    async def _follow(self, agenda: Agenda, timeout_s: float | None = None) -> Agenda:
        self._tracker.follow(agenda)
        self._tracker.stop = Stop.NO
        try:
            await self._loop(math.inf if timeout_s is None else time.monotonic() + timeout_s)
        except asyncio.CancelledError:
            self._teller.say("stopping; Ctrl-C again quits at once")
            if self.publishing:
                self.publishing.drop()
            await self._dismiss()
            self._tracker.stop = Stop.HERE
            await self._loop(math.inf)
            raise
        finally:
            await self._dismiss()
        await record.note_trouble(self._store, self._tracker.troubled())
        return self._tracker.agenda

    async def _loop(self, deadline: float) -> None:
        """Perform steps until there is nothing more to do, or until the `deadline`."""
        while time.monotonic() < deadline or not self._tracker.is_known:
            for step in self._next():
                if isinstance(step, End):
                    return
                work = self._performer.perform(step, self._tasks.keys())
                self._tasks[step] = asyncio.create_task(work)
            if tasks := [*self._tasks.values()]:
                await asyncio.wait(tasks, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(BREATH_S)
            self._check_tasks()

    def _next(self) -> tuple[Step, ...]:
        tracker = self._tracker
        limits = tracker.limits(self._tasks.keys())
        return next_steps(tracker.in_flight, tracker.machines(), limits)

    def _check_tasks(self) -> None:
        """Raise what went wrong in a step."""
        for step in [step for step, task in self._tasks.items() if task.done()]:
            self._tasks.pop(step).result()

    async def _dismiss(self) -> None:
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- work beside the loop -----------------------------------------------------------------

    async def claim(self, claim: Claim) -> frozenset[str]:
        """Record what the jobs desire, and queue runs; return those that are queued now."""
        return await self._claims.make(claim)

    async def adopt(self, target: str) -> frozenset[str]:
        """Queue what the machines of a target have of runs that the store lost; return these."""
        found: frozenset[str] = frozenset()
        for machine in self._fleet.of(target):
            try:
                found |= await adopt.batches(self._store, machine)
            except HostError as error:
                self._tracker.leave(machine, error)
        return found

    async def bring_back(self, run_ids: Collection[str]) -> None:
        """Fetch outputs that were made and are not here, where they are published or were made."""
        await self._restorer.bring_back(run_ids)

    async def log(self, batch: Batch, tell: Callable[[bytes], None], *, follow: bool) -> None:
        """Tell a batch's log part by part, with `follow` until it has ended."""
        machine = self._fleet.machine_of(batch)
        if machine is None:
            raise HostError(f"no machine has {batch.id} yet", hint="start it: cosmos-jobs watch")
        await tell_log(machine, batch.id, tell, follow=follow)

    async def close(self) -> None:
        """Tell the machines which batches we are done with, and let go of them."""
        for machine, batches in self._tracker.finished.items():
            if not machine.is_silent:
                with suppress(HostError, TimeoutError):
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await machine.batches.release(batches)
        await self._fleet.close()
        if self.publishing:
            await self.publishing.close()
        if self._logs:
            known = await self._performer.read()
            self._logs.forget({batch.id for batch in known.batches.values() if batch.done})

    def troubles(self) -> tuple[CosmosJobsError, ...]:
        """Return why machines were left alone, and why something is not published or taken."""
        troubles = [machine.trouble for machine in self._fleet.all() if machine.trouble]
        lost = {error.message: error for _, error in self._tracker.homeless.values()}
        published = self.publishing.troubles() if self.publishing else ()
        return (*troubles, *lost.values(), *published)

    def traffic(self) -> tuple[str, ...]:
        """Return what went over each connection."""
        hosts = (machine.host for machine in self._fleet.all())
        return tuple(f"{host.name}: {host.traffic}" for host in hosts if host.traffic is not None)
