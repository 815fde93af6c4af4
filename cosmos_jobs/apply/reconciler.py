"""Carry a plan out: claim the pending runs, feed and watch the machines, collect, record."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import (
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from cosmos_jobs.apply import adopt
from cosmos_jobs.apply.claim import Claim, Claims
from cosmos_jobs.apply.collect import Collector, look
from cosmos_jobs.apply.in_flight import Watch
from cosmos_jobs.apply.log_stream import Logs
from cosmos_jobs.apply.publish import Publishing
from cosmos_jobs.apply.submit import Orders
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project
from cosmos_jobs.core.batch import Batch, Life, Status
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import IN_FLIGHT, Record, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.engines import get as engine_named
from cosmos_jobs.errors import CosmosJobsError, HostError, NoContact
from cosmos_jobs.plan import lifecycle
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.executors.base import Order
from cosmos_jobs.targets.fleet import MAX_AHEAD, Access, Fleet, Site

TICK_S = 0.1
WRITE_SHARE = 0.04
"""The longest share of time that the processor spends writing the store."""

AWAY_PAUSE_S = (0.25, 2.0)
"""Between two looks at a distant machine: at first, and where nothing happens."""

ASK_SHARE = 0.2
"""The longest share of time that is spent asking one machine, unless it takes long to answer."""

LONGEST_REST_S = 5.0

TROUBLE_PAUSE_S = 30.0
FEED_PAUSE_S = 0.05

GATHER_S = 20.0
"""How long batches that are ready wait for the others that are to be submitted with them."""

RESUBMIT_S = 5.0
MAX_SUBMISSIONS = 6
STOP_TIMEOUT_S = 20.0
LOG_PAUSE_S = 0.5
GIVEN_UP = Status(Life.CANCELLED)


class Until(StrEnum):
    """How far work is followed: to its end, until machines have all of it, or one look."""

    SETTLED = "settled"
    SUBMITTED = "submitted"
    LOOKED = "looked"


class Reconciler:
    """Makes the world agree with the store's claims; may be stopped and begun again anywhere."""

    def __init__(
        self,
        project: Project,
        store: Store,
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float,
        fail_fast: bool = False,
        with_logs: bool = False,
        publishing: Publishing | None = None,
    ) -> None:
        self._project = project
        self._store = store
        self._notify = notify
        self._fail_fast = fail_fast
        self._fleet = Fleet(project, Access(self._say, connect_timeout_s))
        self._claims = Claims(project, store, self._fleet)
        self._orders = Orders(project)
        self._logs = Logs(project.cache / "logs.json", self._tell_log) if with_logs else None
        self.publishing = publishing
        """What publishes outputs, where that is done."""
        self._collector = Collector(Outputs(project.outputs))
        self._watches: dict[str, Watch] = {}
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._known = Snapshot({}, {}, {}, {})
        self._finished: dict[Site, list[str]] = {}
        self._homeless: dict[str, HostError] = {}
        self._seen: set[str] = set()
        self._said: set[str] = set()
        self._write_s = 0.0
        self._assigning = asyncio.Lock()
        self.gave_up = False
        """Whether a run failed where the first failure is to stop all."""

    async def claim(self, claim: Claim) -> frozenset[str]:
        """Record what the jobs desire, and queue runs; return those that are queued now."""
        return await self._claims.make(claim)

    async def adopt(self, target: str) -> frozenset[str]:
        """Queue what the machines of a target have of runs that the store lost; return these."""
        found: frozenset[str] = frozenset()
        for site in self._fleet.of(target):
            try:
                found |= await adopt.batches(self._store, site)
            except HostError as error:
                self._leave(site, error, silent=True)
        return found

    async def restore(self, run_ids: Collection[str]) -> None:
        """Fetch again what runs have made, where their machine still has it as it was."""
        await self._look()
        batches: dict[str, list[str]] = {}
        for run_id in run_ids:
            if last := self._known.runs[run_id].last:
                batches.setdefault(last.batch, []).append(run_id)
        for batch_id, members in batches.items():
            batch = self._known.batches.get(batch_id)
            if batch is None or batch.target not in self._project.targets:
                continue
            watch = self._watch(batch)
            if watch.site and not watch.site.is_silent:
                await self._restore(watch.site, watch, members)

    async def _restore(self, site: Site, watch: Watch, run_ids: Collection[str]) -> None:
        try:
            await look(site, [watch])
        except HostError as error:
            self._leave(site, error, silent=True)
            return
        for run_id in self._collector.due(watch):
            if run_id in run_ids:
                await self._fetch(site, watch, run_id)

    async def log(self, batch: Batch, tell: Callable[[bytes], None], *, follow: bool) -> None:
        """Tell a batch's log part by part, with `follow` until it has ended."""
        await self._look()
        watch = self._watch(batch)
        if watch.site is None:
            raise HostError(f"no machine has {batch.id} yet", hint="start it: cosmos-jobs watch")
        offset = 0
        while True:
            # First: what is written until it is seen to have ended is read after that.
            ended = not follow or await self._has_ended(watch)
            while True:
                part, offset = await watch.site.batches.log(batch.id, offset)
                if not part:
                    break
                tell(part)
            if ended:
                return
            await asyncio.sleep(LOG_PAUSE_S)

    async def _has_ended(self, watch: Watch) -> bool:
        assert watch.site is not None  # noqa: S101 - seen to by `log`
        await look(watch.site, [watch])
        return watch.is_final

    # --- settle ---------------------------------------------------------------------------

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
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        try:
            while await self._find(wanted):
                began = time.monotonic()
                self._staff(until)
                self._check_tasks()
                if await self._record() and self._fail_fast:
                    self.gave_up = True
                    await self._stop(everywhere=True)
                self._tell()
                if all(self._is_done(watch, until) for watch in self._watches.values()):
                    break
                if began >= deadline:
                    break
                # A write every tick must not take more than its share of the processor's time.
                pause = self._write_s / WRITE_SHARE - (time.monotonic() - began)
                await asyncio.sleep(max(TICK_S, pause))
        except asyncio.CancelledError:
            self._say("stopping; Ctrl-C again quits at once")
            if self.publishing:
                self.publishing.drop()
            await self._dismiss()
            await self._stop(everywhere=False)
            raise
        finally:
            await self._dismiss()
        await self._note_trouble()

    async def close(self) -> None:
        """Tell the machines which batches we are done with, and let go of them."""
        for site, batches in self._finished.items():
            if not site.is_silent:
                with suppress(HostError, TimeoutError):
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await site.batches.release(batches)
        await self._fleet.close()
        if self.publishing:
            await self.publishing.close()
        if self._logs:
            await self._look()
            known = self._known.batches.values()
            self._logs.forget({batch.id for batch in known if batch.done})

    def troubles(self) -> tuple[CosmosJobsError, ...]:
        """Return why machines were left alone, and why something is not published or taken."""
        troubles = [site.trouble for site in self._fleet.all() if site.trouble]
        lost = {error.message: error for error in self._homeless.values()}
        published = self.publishing.troubles() if self.publishing else ()
        return (*troubles, *lost.values(), *published)

    def traffic(self) -> tuple[str, ...]:
        """Return what went over each connection."""
        hosts = (site.host for site in self._fleet.all())
        return tuple(f"{host.name}: {host.traffic}" for host in hosts if host.traffic is not None)

    async def _look(self) -> None:
        """Read the store; one that is shared may take long to answer."""
        self._known = await asyncio.to_thread(self._store.snapshot)

    async def _find(self, wanted: Collection[str]) -> bool:
        """Watch the batches in flight; forget the settled. Looks in the store when none is left."""
        await self._look()
        for batch_id in [each for each, watch in self._watches.items() if watch.settled]:
            del self._watches[batch_id]
        if not self._watches:
            for run_id in wanted:
                if self._known.states.get(run_id) in IN_FLIGHT:
                    last = self._known.runs[run_id].last
                    if last is not None and last.batch not in self._watches:
                        self._look_after(self._known.batches[last.batch])
            self._seen.update(self._watches)
        return bool(self._watches)

    def _look_after(self, batch: Batch) -> None:
        try:
            self._watches[batch.id] = self._watch(batch)
        except HostError as error:
            # The others are none the worse for it.
            self._homeless[batch.id] = error

    def _watch(self, batch: Batch) -> Watch:
        known = {}
        for run_id in batch.runs:
            record = self._known.runs[run_id] if run_id in self._known.states else None
            tried = record.batches if record else frozenset()
            others = self._claims.held.get(run_id, set())
            known[run_id] = tuple(sorted((tried | others) - {batch.id}))
        claimed = batch.id in self._claims.claimed
        site, engine = self._fleet.site_of(batch), engine_named(batch.engine)
        return Watch(batch, site, engine, claimed=claimed, known=known)

    def _is_done(self, watch: Watch, until: Until) -> bool:
        if watch.settled:
            return True
        sites = (watch.site,) if watch.site else self._fleet.of(watch.batch.target)
        if all(site.is_silent or (site.trouble and not watch.is_out) for site in sites):
            return True
        match until:
            case Until.SUBMITTED:
                return watch.taken or watch.status.life is not Life.ABSENT
            case Until.LOOKED:
                return watch.is_collected or watch.site is None
        return False

    # --- a task for each machine ------------------------------------------------------------

    def _staff(self, until: Until) -> None:
        """See that every machine with work is looked after, and gets more of it."""
        for target in {watch.batch.target for watch in self._watches.values()}:
            for site in self._fleet.of(target):
                self._begin(("attend", target, site.name), self._attend, site)
                if until is not Until.LOOKED:
                    self._begin(("feed", target, site.name), self._feed, site, until)

    def _begin(
        self,
        key: tuple[str, ...],
        work: Callable[..., Coroutine[object, object, None]],
        *arguments: object,
    ) -> None:
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(work(*arguments))

    def _check_tasks(self) -> None:
        """Raise what went wrong in a task."""
        for key in [key for key, task in self._tasks.items() if task.done()]:
            self._tasks.pop(key).result()

    async def _dismiss(self) -> None:
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for watch in self._watches.values():
            watch.fetching.clear()

    async def _attend(self, site: Site) -> None:
        """Look at a machine's batches again and again; fetch what they have made."""
        pause = AWAY_PAUSE_S[0]
        while True:
            began = time.monotonic()
            asked = [watch for watch in self._at(site) if self._asks(watch)]
            changed = False
            if asked:
                try:
                    changed = await look(site, asked)
                    self._fleet.welcome(site)
                    if self._logs:
                        await self._logs.stream(site, asked)
                except HostError as error:
                    self._leave(site, error, silent=True)
                    await asyncio.sleep(TROUBLE_PAUSE_S)
                    continue
                self._digest(asked)
                self._balance(site)
            self._fetch_all(site)
            pause = AWAY_PAUSE_S[0] if changed else min(1.5 * pause, AWAY_PAUSE_S[1])
            took = time.monotonic() - began
            # A look may have waited for the machine to be found again, which costs it nothing.
            rest = min(took / ASK_SHARE - took, LONGEST_REST_S)
            await asyncio.sleep(max(TICK_S if site.is_here else pause, rest))

    def _at(self, site: Site) -> Iterator[Watch]:
        return (watch for watch in self._watches.values() if watch.site is site)

    def _asks(self, watch: Watch) -> bool:
        """Whether a look at a batch can tell anything new."""
        if watch.settled or watch.is_final:
            return False
        return watch.is_out or not (watch.claimed or watch.looked)

    def _digest(self, watches: Iterable[Watch]) -> None:
        for watch in watches:
            # A run that was pruned meanwhile, or that only others asked for, is none of ours.
            watch.ended.update(run for run in watch.batch.runs if run not in self._known.states)
            for run_id, outcome in watch.outcomes.items():
                if outcome.state is not State.SUCCEEDED and run_id not in watch.ended:
                    self._collector.keep_log(watch, run_id)

    def _balance(self, site: Site) -> None:
        """Let more batches wait on a machine that had none left between two looks."""
        waiting = [w for w in self._at(site) if w.is_out and not w.is_final]
        if len(waiting) <= site.executor.traits.slots and any(self._queued(site)):
            # A scheduler's is above it from the beginning.
            site.ahead = max(site.ahead, min(2 * site.ahead, MAX_AHEAD))

    def _leave(self, site: Site, error: HostError, *, silent: bool) -> None:
        """Give a machine nothing more; what it has not taken goes to the others."""
        self._fleet.leave(site, error, silent=silent)
        if len(self._fleet.of(site.target.name)) > 1:
            for watch in self._at(site):
                if watch.claimed and not watch.is_out:
                    watch.site = None

    # --- fetch ----------------------------------------------------------------------------

    def _fetch_all(self, site: Site) -> None:
        for watch in self._at(site):
            for run_id in self._collector.due(watch):
                key = "fetch", watch.batch.id, run_id
                # One that has failed is in the way until somebody has heard of it.
                if run_id in self._known.states and key not in self._tasks:
                    task = asyncio.create_task(self._fetch(site, watch, run_id))
                    watch.fetching[run_id] = self._tasks[key] = task

    async def _fetch(self, site: Site, watch: Watch, run_id: str) -> None:
        record = self._known.runs[run_id]
        prompt = self._known.prompts[record.run.prompt_id]
        try:
            await self._collector.fetch(site, watch, record, prompt)
            if self.publishing and run_id in watch.outputs:
                self.publishing.publish(run_id)
            self._fleet.welcome(site)
        except HostError as error:
            self._leave(site, error, silent=True)
        finally:
            watch.fetching.pop(run_id, None)

    # --- feed -----------------------------------------------------------------------------

    async def _feed(self, site: Site, until: Until) -> None:
        """Give a machine batches while it has room; who claimed them does not matter."""
        while True:
            watches = [] if site.trouble else await self._next(site, until)
            if not watches:
                await asyncio.sleep(FEED_PAUSE_S)
                continue
            try:
                await self._start(site, watches)
            except NoContact as error:
                self._leave(site, error, silent=True)
            except HostError as error:
                # It answers, and has not taken the batches: another machine may.
                for watch in watches:
                    watch.submitted = None
                self._leave(site, error, silent=False)

    def _queued(self, site: Site) -> Iterator[Watch]:
        """Return the batches that the machine may be given next."""
        now = time.monotonic()
        for watch in self._watches.values():
            if watch.status.life is not Life.ABSENT or watch.settled:
                continue
            if watch.site is None:
                if watch.batch.target == site.target.name:
                    yield watch
            elif watch.site is site:
                if watch.submitted is not None:
                    # It was sent, and the machine does not know of it.
                    if watch.looked and now - watch.submitted > RESUBMIT_S:
                        yield watch
                elif watch.claimed or watch.looked:
                    yield watch

    async def _next(self, site: Site, until: Until) -> list[Watch]:
        """Return the batches that a machine is given next, together."""
        out = sum(watch.is_out and not watch.is_final for watch in self._at(site))
        room = site.executor.traits.slots + site.ahead - out
        if until is Until.SUBMITTED:
            room = site.executor.traits.at_once
        taken: list[Watch] = []
        for watch in [*self._queued(site)]:
            if len(taken) >= min(room, site.executor.traits.at_once):
                break
            if watch.site is site or await self._assign(watch, site):
                taken.append(watch)
        # One may have been given to another machine while the store was written.
        return [watch for watch in taken if watch.site is site]

    async def _assign(self, watch: Watch, site: Site) -> bool:
        """Note which machine gets a batch, unless another one was noted meanwhile."""
        # Of two machines of ours that have room at once, the second is not another process.
        async with self._assigning:
            return watch.site is site if watch.site else await self._noted(watch, site)

    async def _noted(self, watch: Watch, site: Site) -> bool:
        before = watch.batch.host

        def note(change: Transaction) -> Batch | None:
            batch = change.batch(watch.batch.id)
            if batch is None or not _in_flight(change, batch):
                return None
            if batch.host in ("", before):
                batch = replace(batch, host=site.name)
                change.put_batches([batch])
            return batch

        batch = await asyncio.to_thread(self._store.change, note)
        if batch is None:
            watch.ended.update(watch.batch.runs)
            return False
        watch.batch, watch.submissions = batch, 0
        sites = self._fleet.of(batch.target)
        watch.site = next((each for each in sites if each.name == batch.host), None)
        watch.claimed &= watch.site is site
        return watch.site is site

    async def _start(self, site: Site, watches: Sequence[Watch]) -> None:
        """Submit batches together; those whose inputs are long in coming are left for later."""
        began = time.monotonic()
        orders: dict[Watch, Order] = {}
        for watch in watches:
            if orders and time.monotonic() - began > GATHER_S:
                break
            self._check_submissions(site, watch)
            order = await self._orders.make(site, watch, self._known)
            if order is None:
                watch.submitted, watch.taken = time.monotonic(), True
            else:
                orders[watch] = order
        if orders:
            await self._submit(site, orders)

    async def _submit(self, site: Site, orders: Mapping[Watch, Order]) -> None:
        for watch in orders:
            watch.submitted = time.monotonic()
            watch.submissions += 1
        await site.executor.submit(list(orders.values()))
        for watch in orders:
            # What a look has seen in between is of no account.
            watch.submitted, watch.looked, watch.taken = time.monotonic(), False, True
            self._tell_submitted(watch)

    def _tell_submitted(self, watch: Watch) -> None:
        for run_id in watch.batch.runs:
            self._notify(Event(Kind.SUBMITTED, run_id, State.QUEUED, lanes=(watch.lane(),)))

    def _check_submissions(self, site: Site, watch: Watch) -> None:
        if watch.submissions >= MAX_SUBMISSIONS:
            raise HostError(
                f"{site.name} does not start {watch.batch.id}",
                hint=f"look in {site.batches.layout.batch(watch.batch.id)}",
            )

    # --- record ---------------------------------------------------------------------------

    async def _record(self) -> bool:
        """Write what is new in one transaction and tell it; return whether a run failed."""
        news = [
            (watch, watch.copy(), ids) for watch in self._watches.values() if (ids := watch.news())
        ]
        if not news:
            return False
        records = await self._observed(news)
        for watch, _, _ in news:
            if watch.settled and watch.site and watch.is_out:
                self._finished.setdefault(watch.site, []).append(watch.batch.id)
        self._report(records)
        return any(record.state is State.FAILED for record in records)

    async def _observed(self, news: Sequence[tuple[Watch, Watch, Sequence[str]]]) -> list[Record]:
        """Put what copies of watches tell of runs; return the records that changed.

        The machines are looked at on while the store is written.
        """

        def write() -> tuple[list[Watch], list[Record]]:
            began = time.thread_time()
            written = self._store.change(put)
            # To wait for a state far away costs nobody anything.
            self._write_s = time.thread_time() - began
            return written

        def put(change: Transaction) -> tuple[list[Watch], list[Record]]:
            told = [copy.copy() for _, copy, _ in news]
            changed = [
                each
                for copy, (_, _, ids) in zip(told, news, strict=True)
                for each in _observe(change, copy, ids)
            ]
            return told, changed

        told, changed = await asyncio.to_thread(write)
        for (watch, _, _), copy in zip(news, told, strict=True):
            watch.recorded = copy.recorded
            watch.ended |= copy.ended
        return changed

    def _report(self, records: Iterable[Record]) -> None:
        """Tell what has become of runs."""
        for record in records:
            kind = Kind.STARTED if record.state in IN_FLIGHT else Kind.FINISHED
            if record.state not in (State.QUEUED, State.PENDING):
                self._notify(Event(kind, record.run.id, record.state, record.reason))

    def _tell(self) -> None:
        watches = [watch for watch in self._watches.values() if watch.is_out]
        for watch in watches:
            waits_for = watch.status.waits_for
            # That our own batches wait for one another is nothing to tell.
            if waits_for and not any(batch in waits_for for batch in self._seen):
                self._say_once(f"{watch.batch.host}: waits for {waits_for}")
        frames = sum(watch.engine.progress(watch.status.log) for watch in watches)
        lanes = tuple(watch.lane() for watch in watches if watch.status.life is Life.RUNNING)
        self._notify(Event(Kind.PROGRESS, frames=frames, lanes=lanes))

    def _tell_log(self, line: str) -> None:
        self._notify(Event(Kind.LOG, reason=line))

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._say(message)

    def _say(self, message: str) -> None:
        self._notify(Event(Kind.NOTE, reason=message))

    async def _note_trouble(self) -> None:
        """Record of what is on machines in trouble what that is."""
        left = [
            (watch, watch.site.trouble)
            for watch in self._watches.values()
            if watch.site and watch.site.trouble and not watch.settled
        ]
        if not left:
            return

        def note(change: Transaction) -> None:
            for watch, trouble in left:
                reason = trouble.message
                records = [change.run(run_id) for run_id in watch.batch.runs]
                change.put_runs(
                    after
                    for record in records
                    if record
                    and (after := lifecycle.unseen(record, watch.batch, reason)) is not record
                )

        await asyncio.to_thread(self._store.change, note)

    # --- stop -----------------------------------------------------------------------------

    async def cancel(self, run_ids: Collection[str]) -> None:
        """End the batches in flight of these runs, and record what they made.

        A batch that others need too goes on, without us; one on a machine that
        the project no longer has is given up. Raises HostError, once all other
        machines have been asked, when one cannot be.
        """
        await self._find(run_ids)
        await self._give_up()
        await self._withdraw(self._watches.values())
        trouble: HostError | None = None
        for site in {watch.site for watch in self._watches.values() if watch.site}:
            try:
                await self._end(site, list(self._at(site)), kill=True)
            except HostError as error:
                trouble = error
        await self._record()
        if trouble:
            raise trouble

    async def _stop(self, *, everywhere: bool) -> None:
        """End the batches that this apply claimed: those on this machine, or `everywhere`.

        Of what other machines have it only withdraws what has not begun there.
        """
        own = [w for w in self._watches.values() if w.claimed and not w.settled]
        await self._withdraw(own)
        for site in {watch.site for watch in own if watch.site}:
            if site.is_silent:
                continue
            members = [watch for watch in own if watch.site is site and not watch.is_final]
            kill = everywhere or site.is_here
            ended = [watch for watch in members if kill or not watch.is_out]
            with suppress(HostError, TimeoutError):
                async with asyncio.timeout(None if site.is_here else STOP_TIMEOUT_S):
                    await self._end(site, ended, kill=kill)
        await self._record()

    async def _end(self, site: Site, watches: Sequence[Watch], *, kill: bool) -> None:
        """End batches on a machine, and fetch what they made before."""
        shared = await site.executor.cancel([watch.batch.id for watch in watches], kill=kill)
        ours = [watch for watch in watches if watch.batch.id not in shared]
        for watch in watches:
            if watch.batch.id in shared:
                # Others need it: it goes on for them, and for us it is as if it had ended.
                watch.status = Status(Life.CANCELLED)
        if ours:
            await look(site, ours)
            self._digest(ours)
        for watch in ours:
            for run_id in self._collector.due(watch):
                await self._fetch(site, watch, run_id)

    async def _withdraw(self, watches: Iterable[Watch]) -> None:
        """End batches that no machine was given, in one write: now nobody gives them to one."""
        unassigned = [watch for watch in watches if watch.site is None]
        if not unassigned:
            return

        def end(change: Transaction) -> tuple[list[Watch], list[Record]]:
            told, changed = [], []
            for watch in unassigned:
                copy = watch.copy()
                copy.batch = change.batch(watch.batch.id) or watch.batch
                if not copy.batch.host:
                    copy.status = Status(Life.CANCELLED)
                    changed += _observe(change, copy, copy.batch.runs)
                told.append(copy)
            return told, changed

        told, changed = await asyncio.to_thread(self._store.change, end)
        self._report(changed)
        for watch, copy in zip(unassigned, told, strict=True):
            watch.batch, watch.status, watch.recorded = copy.batch, copy.status, copy.recorded
            watch.ended |= copy.ended
            # Another process was quicker.
            watch.site = self._fleet.site_of(watch.batch) if watch.batch.host else None

    async def _give_up(self) -> None:
        """End, in the store, batches on machines that the project no longer has."""
        if not self._homeless:
            return

        def end(change: Transaction) -> list[Record]:
            changed: list[Record] = []
            for batch_id in self._homeless:
                batch = self._known.batches[batch_id]
                watch = Watch(batch, None, engine_named(batch.engine), status=GIVEN_UP)
                changed += _observe(change, watch, batch.runs)
            return changed

        changed = await asyncio.to_thread(self._store.change, end)
        self._homeless.clear()
        self._report(changed)


def _observe(change: Transaction, watch: Watch, run_ids: Sequence[str]) -> list[Record]:
    """Put what was learnt about runs of a batch; return the records that changed."""
    changed = []
    watch.recorded = watch.stage()
    for run_id in run_ids:
        before = change.run(run_id)
        outcome, output = watch.outcomes.get(run_id), watch.outputs.get(run_id)
        after = before and lifecycle.observe(
            before,
            watch.batch,
            watch.status,
            outcome,
            output,
            time.time(),
            watch.site.name if watch.site else "",
        )
        # A run that was removed, or that another batch has taken over, is none of ours.
        if after is None or after.state not in IN_FLIGHT or _elsewhere(after, watch.batch):
            watch.ended.add(run_id)
        if after is not None and after is not before:
            changed.append(after)
    change.put_runs(changed)
    if watch.settled:
        change.put_batches([replace(watch.batch, done=True)])
    return changed


def _in_flight(change: Transaction, batch: Batch) -> bool:
    """Return whether a run of a batch is still to come of it."""
    records = (change.run(run_id) for run_id in batch.runs)
    return any(r and r.state in IN_FLIGHT and not _elsewhere(r, batch) for r in records)


def _elsewhere(record: Record, batch: Batch) -> bool:
    return record.last is not None and record.last.batch != batch.id
