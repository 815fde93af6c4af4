"""Put what is learnt of batches in flight into the store, each time in one write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cosmos_jobs.apply.in_flight import Cancelled, InFlight, Recorded, advance
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import IN_FLIGHT, UNBEGUN, Record
from cosmos_jobs.plan import lifecycle
from cosmos_jobs.state.store import Store, Transaction


@dataclass(frozen=True, slots=True)
class Written:
    """What a write has made: the records that changed, what the store knows now of batches.

    `took_s` is the processor's time.
    """

    records: Sequence[Record]
    seen: Mapping[str, Recorded]
    took_s: float


async def write(store: Store, news: Sequence[InFlight]) -> Written:
    """Record what is new of batches; the machines are looked at on meanwhile."""

    def put(change: Transaction) -> tuple[list[Record], dict[str, Recorded]]:
        told = {each.id: observe(change, each, each.news) for each in news}
        seen = {batch: recorded for batch, (recorded, _) in told.items()}
        return [record for _, changed in told.values() for record in changed], seen

    def work() -> Written:
        began = time.thread_time()
        records, seen = store.change(put)
        # To wait for a state far away costs nobody anything.
        return Written(records, seen, time.thread_time() - began)

    return await asyncio.to_thread(work)


def observe(
    change: Transaction, batch: InFlight, run_ids: Iterable[str]
) -> tuple[Recorded, list[Record]]:
    """Put what was learnt about runs of a batch; return also the records that changed."""
    changed = []
    ended = set(batch.ended)
    for run_id in run_ids:
        before = change.run(run_id)
        after = before and lifecycle.observe(
            before,
            batch.batch,
            batch.status,
            batch.outcomes.get(run_id),
            batch.outputs.get(run_id),
            time.time(),
            batch.machine,
        )
        # A run that was removed, or that another batch has taken over, is none of ours.
        if after is None or after.state not in IN_FLIGHT or _is_elsewhere(after, batch.batch):
            ended.add(run_id)
        if after is not None and after is not before:
            changed.append(after)
    change.put_runs(changed)
    recorded = Recorded(batch.stage, frozenset(ended))
    if advance(batch, recorded).is_settled:
        change.put_batches([replace(batch.batch, done=True)])
    return recorded, changed


async def assign(store: Store, batches: Sequence[InFlight], machine: str) -> dict[str, Batch]:
    """Note that a machine gets batches, in one write; return them as they are in the store then.

    Those that have no run in flight any more are left out; those that have
    another machine by now keep it.
    """

    def note(change: Transaction) -> dict[str, Batch]:
        noted = {}
        for each in batches:
            batch = change.batch(each.id)
            if batch is None or not _is_in_flight(change, batch):
                continue
            if batch.host in ("", each.batch.host):
                batch = replace(batch, host=machine)
            noted[each.id] = batch
        change.put_batches(each for key, each in noted.items() if change.batch(key) != each)
        return noted

    return await asyncio.to_thread(store.change, note)


async def withdraw(
    store: Store, batches: Sequence[InFlight]
) -> tuple[dict[str, Batch | Recorded], list[Record]]:
    """End batches that no machine was given, in one write: now nobody gives them to one.

    Where another process was quicker, the batch is returned as it is now.
    """

    def end(change: Transaction) -> tuple[dict[str, Batch | Recorded], list[Record]]:
        told: dict[str, Batch | Recorded] = {}
        records: list[Record] = []
        for each in batches:
            batch = change.batch(each.id) or each.batch
            if batch.host:
                told[each.id] = batch
                continue
            ended = replace(advance(each, Cancelled()), batch=batch)
            told[each.id], changed = observe(change, ended, batch.runs)
            records += changed
        return told, records

    return await asyncio.to_thread(store.change, end)


async def give_up(store: Store, batches: Sequence[InFlight]) -> list[Record]:
    """End, in the store, batches on machines that the project no longer has."""

    def end(change: Transaction) -> list[Record]:
        ended = (advance(each, Cancelled()) for each in batches)
        return [r for each in ended for r in observe(change, each, each.batch.runs)[1]]

    return await asyncio.to_thread(store.change, end) if batches else []


async def note_trouble(store: Store, left: Sequence[tuple[InFlight, str]]) -> None:
    """Record of what is on machines in trouble what that is."""

    def note(change: Transaction) -> None:
        for each, reason in left:
            records = (change.run(run_id) for run_id in each.batch.runs)
            change.put_runs(
                after
                for record in records
                if record and (after := lifecycle.unseen(record, each.batch, reason)) is not record
            )

    if left:
        await asyncio.to_thread(store.change, note)


def events(records: Iterable[Record]) -> Iterator[Event]:
    """Return what is told of runs that have changed."""
    for record in records:
        kind = Kind.STARTED if record.state in IN_FLIGHT else Kind.FINISHED
        if record.state not in UNBEGUN:
            yield Event(kind, record.run.id, record.state, record.reason)


def _is_in_flight(change: Transaction, batch: Batch) -> bool:
    """Return whether a run of a batch is still to come of it."""
    records = (change.run(run_id) for run_id in batch.runs)
    return any(r and r.state in IN_FLIGHT and not _is_elsewhere(r, batch) for r in records)


def _is_elsewhere(record: Record, batch: Batch) -> bool:
    return record.last is not None and record.last.batch != batch.id
