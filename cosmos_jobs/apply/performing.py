"""Perform the steps of an apply: each asks a machine or the store, and tells what it saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from cosmos_jobs.apply import record
from cosmos_jobs.apply.claim import Claim, Claims
from cosmos_jobs.apply.collect import Collector, look
from cosmos_jobs.apply.in_flight import (
    Cancelled,
    Dropped,
    InFlight,
    NothingToSend,
    Refused,
    Sent,
    Stopped,
    Submitted,
)
from cosmos_jobs.apply.log_stream import Logs
from cosmos_jobs.apply.restore import Restorer
from cosmos_jobs.apply.steps import (
    TICK_S,
    Assign,
    Begin,
    Cancel,
    Fetch,
    Leave,
    Look,
    Review,
    Step,
    Stop,
    Submit,
    Sync,
    Withdraw,
)
from cosmos_jobs.apply.submit import Submissions
from cosmos_jobs.apply.tell import Teller
from cosmos_jobs.apply.tracker import Tracker
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import HostError, NoContact
from cosmos_jobs.state.store import Store
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.fleet import Machine

WRITE_SHARE = 0.04
"""The longest share of time that the processor spends writing the store."""

GATHER_S = 20.0
"""How long batches that are ready wait for the others that are to be submitted with them."""

MAX_SUBMISSIONS = 6
STOP_TIMEOUT_S = 20.0


class Performer:
    """Performs steps, and has the tracker see what comes of them."""

    def __init__(
        self,
        tracker: Tracker,
        store: Store,
        teller: Teller,
        *,
        claims: Claims,
        submissions: Submissions,
        collector: Collector,
        restorer: Restorer,
        logs: Logs | None,
        fail_fast: bool,
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._teller = teller
        self._claims = claims
        self._submissions = submissions
        self._collector = collector
        self._logs = logs
        self._restorer = restorer
        self._fail_fast = fail_fast
        self.claim: Claim | None = None
        """What of the store a round's runs become; the agenda says which are to start."""
        self.trouble: HostError | None = None
        """Why batches could not be ended."""

    async def perform(self, step: Step, under_way: Collection[Step]) -> None:
        """Do a step to its end. Raises what is no trouble of one machine."""
        match step:
            case Sync():
                await self.sync()
            case Begin():
                await self._begin()
            case Review():
                await self._review()
            case Withdraw():
                await self._withdraw(step.batches)
            case Leave():
                self._stopped(step.batches)
            case Look() | Fetch() | Assign() | Submit() | Cancel():
                await self._at_machine(step, self._tracker.machine(step.machine), under_way)

    async def _at_machine(
        self,
        step: Look | Fetch | Assign | Submit | Cancel,
        machine: Machine,
        under_way: Collection[Step],
    ) -> None:
        match step:
            case Look():
                await self._look(machine, step.batches)
            case Fetch():
                await self.fetch(machine, step.batch, step.run)
            case Assign():
                await self._assign(machine, step.batches)
            case Submit():
                await self._submit(machine, step.batches)
            case Cancel():
                await self._cancel(machine, step, under_way)

    def _batches(self, batch_ids: Collection[str]) -> list[InFlight]:
        found = self._tracker.in_flight
        return [found[batch_id] for batch_id in batch_ids if batch_id in found]

    # --- the store ------------------------------------------------------------------------

    async def sync(self) -> None:
        """Write what is new in one transaction and tell it; then read what others have written."""
        began, took_s = time.monotonic(), 0.0
        news = [each for each in self._tracker.in_flight.values() if each.news]
        if news:
            written = await record.write(self._store, news)
            took_s = written.took_s
            for batch_id, recorded in written.seen.items():
                self._tracker.see(batch_id, recorded)
            self._tracker.finish(written.seen)
            self._teller.changed(written.records)
            if self._fail_fast and any(each.state is State.FAILED for each in written.records):
                self._tracker.give_up()
        self._tracker.read(await self.read())
        self._teller.progress(self._tracker.in_flight.values(), self._tracker.followed)
        # A write every tick must not take more than its share of the processor's time.
        self._tracker.sync_at = began + max(TICK_S, took_s / WRITE_SHARE)

    async def read(self) -> Snapshot:
        """Read the store; one that is shared may take long to answer."""
        return await asyncio.to_thread(self._store.snapshot)

    async def _begin(self) -> None:
        """Queue the runs that are next, once all that they work on is here."""
        agenda = self._tracker.agenda
        await self._restorer.bring_back(agenda.bases)
        starts = {run: (agenda.targets[run], n) for run, n in (agenda.claims or {}).items()}
        queued: frozenset[str] = frozenset()
        if self.claim:
            queued = await self._claims.make(replace(self.claim, starts=starts))
        self._tracker.follow(agenda.claimed(queued))

    async def _review(self) -> None:
        known = await self.read()
        self._tracker.follow(self._tracker.agenda.reviewed(known, gave_up=self._tracker.gave_up))

    async def _assign(self, machine: Machine, batch_ids: Sequence[str]) -> None:
        noted = await record.assign(self._store, self._batches(batch_ids), machine.name)
        for each in self._batches(batch_ids):
            batch = noted.get(each.id)
            if batch is None:
                self._tracker.see(each.id, Dropped(frozenset(each.batch.runs)))
            else:
                self._tracker.assigned(batch, by_us=batch.host == machine.name)

    async def _withdraw(self, batch_ids: Sequence[str]) -> None:
        told, records = await record.withdraw(self._store, self._batches(batch_ids))
        self._teller.changed(records)
        for batch_id, each in told.items():
            if isinstance(each, Batch):
                # Another process was quicker.
                self._tracker.assigned(each, by_us=True)
            else:
                self._tracker.see(batch_id, Cancelled(), each, Stopped())

    # --- machines -------------------------------------------------------------------------

    async def _look(self, machine: Machine, batch_ids: Sequence[str]) -> None:
        began, asked = time.monotonic(), self._batches(batch_ids)
        try:
            changed = await self.look(machine, asked)
            if self._logs:
                await self._logs.stream(machine, self._batches(batch_ids))
        except HostError as error:
            self._tracker.leave(machine, error, asked=True)
        else:
            self._tracker.answered(machine, began, changed=changed)

    async def look(self, machine: Machine, batches: Sequence[InFlight]) -> bool:
        """Ask a machine how batches stand; return whether any of it is new."""
        seen = await look(machine, batches)
        changed = any(seen[each.id].status != each.status for each in batches)
        for batch_id, polled in seen.items():
            self._tracker.see(batch_id, polled)
        self._tracker.drop_unknown(seen)
        for each in self._batches(seen):
            for run_id, outcome in each.outcomes.items():
                if outcome.state is not State.SUCCEEDED and run_id not in each.ended:
                    self._collector.keep_log(each, run_id)
        return changed

    async def fetch(self, machine: Machine, batch_id: str, run_id: str) -> None:
        """Bring what a run has made here."""
        for batch in self._batches([batch_id]):
            if seen := await self._restorer.fetch(machine, batch, run_id):
                self._tracker.see(batch_id, seen)

    async def _submit(self, machine: Machine, batch_ids: Sequence[str]) -> None:
        try:
            await self._start(machine, batch_ids)
        except NoContact as error:
            self._tracker.leave(machine, error)
        except HostError as error:
            # It answers, and has not taken the batches: another machine may.
            for batch_id in batch_ids:
                self._tracker.see(batch_id, Refused())
            self._tracker.leave(machine, error, silent=False)

    async def _start(self, machine: Machine, batch_ids: Sequence[str]) -> None:
        """Submit batches together; those whose inputs are long in coming are left for later."""
        began = time.monotonic()
        submissions: dict[str, Submission] = {}
        for each in self._batches(batch_ids):
            if submissions and time.monotonic() - began > GATHER_S:
                break
            _check_submissions(machine, each)
            staged = await self._submissions.stage(machine, each, self._tracker.known)
            self._tracker.see(each.id, *staged.missing)
            if staged.submission is None:
                self._tracker.see(each.id, NothingToSend(time.monotonic()))
            else:
                submissions[each.id] = staged.submission
        await self._check_places(machine, [*submissions])
        # One may have been freed for another machine while the inputs of others travelled.
        left = {each.id for each in self._batches(submissions) if each.machine == machine.name}
        if submissions := {
            batch_id: submission for batch_id, submission in submissions.items() if batch_id in left
        }:
            await self._send(machine, submissions)

    async def _check_places(self, machine: Machine, batch_ids: Sequence[str]) -> None:
        """Have the store say where batches of others belong, before they are first sent.

        Their own process may live, and have moved one to another machine meanwhile.
        """
        others = [
            each.id for each in self._batches(batch_ids) if not each.is_ours and each.sent is None
        ]
        if others and self._tracker.has_choice(machine):
            await self._assign(machine, others)

    async def _send(self, machine: Machine, submissions: dict[str, Submission]) -> None:
        for batch_id in submissions:
            self._tracker.see(batch_id, Sent(time.monotonic()))
        await machine.executor.submit(list(submissions.values()))
        for batch_id in submissions:
            self._tracker.see(batch_id, Submitted(time.monotonic()))
        for each in self._batches(submissions):
            self._teller.submitted(each)

    # --- stop -----------------------------------------------------------------------------

    async def _cancel(self, machine: Machine, step: Cancel, under_way: Collection[Step]) -> None:
        is_all = self._tracker.stop is Stop.ALL
        try:
            async with asyncio.timeout(None if machine.is_here or is_all else STOP_TIMEOUT_S):
                await self._end(machine, step, under_way)
        except HostError as error:
            self.trouble = error
        except TimeoutError:
            pass
        finally:
            self._stopped(step.batches)

    async def _end(self, machine: Machine, step: Cancel, under_way: Collection[Step]) -> None:
        """End batches on a machine, and fetch what they made before."""
        shared = await machine.executor.cancel(list(step.batches), kill=step.kill)
        for batch_id in shared:
            # Others need it: it goes on for them, and for us it is as if it had ended.
            self._tracker.see(batch_id, Cancelled())
        ours = self._batches([each for each in step.batches if each not in shared])
        if ours:
            await self.look(machine, ours)
        for each in self._batches([each.id for each in ours]):
            for run_id in each.due:
                if Fetch(step.machine, each.id, run_id) not in under_way:
                    await self.fetch(machine, each.id, run_id)

    def _stopped(self, batch_ids: Collection[str]) -> None:
        for batch_id in batch_ids:
            self._tracker.see(batch_id, Stopped())


def _check_submissions(machine: Machine, batch: InFlight) -> None:
    if batch.submissions >= MAX_SUBMISSIONS:
        raise HostError(
            f"{machine.name} does not start {batch.id}",
            hint=f"look in {machine.batches.layout.batch(batch.id)}",
        )
