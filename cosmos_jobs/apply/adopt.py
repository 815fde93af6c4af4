"""Rebuild a store from what there is: the outputs of this project, and the folders of machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from cosmos_jobs.apply.claim import looked_at
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.core import atomic, serialize
from cosmos_jobs.core.record import IN_FLIGHT, Output, PromptRecord, Record, State
from cosmos_jobs.core.serialize import Described
from cosmos_jobs.plan import lifecycle
from cosmos_jobs.state import untrusted
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.fleet import Machine


def outputs(store: Store, found: Outputs) -> tuple[str, ...]:
    """Put the runs whose videos are in `outputs/` into the store; return those it did not know.

    A video counts if it is the one that its manifest tells of, by sha256.
    """
    known = store.snapshot()
    names = _names(store)
    new = []
    for path in sorted(found.root.glob("runs/rs_*/manifest.json")):
        if known.states.get(path.parent.name) is not State.SUCCEEDED:
            new += [each] if (each := _from_manifest(path, names)) else []

    def add(change: Transaction) -> list[tuple[Record, PromptRecord]]:
        put = [each for each in new if _is_news(change.run(each[0].run.id))]
        change.put_prompts(prompt for _, prompt in put)
        change.put_runs(record for record, _ in put)
        return put

    put = store.change(add)
    for record, _ in put:
        found.link(record)
    return tuple(record.run.id for record, _ in put)


def _names(store: Store) -> set[str]:
    """Return the names of all prompts, without a look at the rest of them."""
    return {str(each.get("name")) for each in store.table("prompts").values()}


def _from_manifest(path: Path, names: set[str]) -> tuple[Record, PromptRecord] | None:
    try:
        told = untrusted.manifest(path.read_bytes(), path.parent.name, names)
        if told is None or not _is_whole(path.parent / told.output.name, told.output):
            return None
    except OSError:
        return None
    return told.record, told.prompt


def _is_whole(video: Path, output: Output) -> bool:
    return video.stat().st_size == output.size and atomic.sha256(video) == output.sha256


def _is_news(record: Record | None) -> bool:
    return record is None or (record.state not in IN_FLIGHT and record.state is not State.SUCCEEDED)


def _adds(record: Record | None, batch: str, made: Mapping[str, Collection[str]]) -> bool:
    """Return whether a batch may tell more of a run than the store knows.

    What came of an attempt that the store has is known, unless it was made after all.
    """
    if record is None or not _is_news(record):
        return record is None
    tried = any(attempt.batch == batch for attempt in record.attempts)
    return not tried or batch in made.get(record.run.id, ())


async def batches(store: Store, machine: Machine) -> frozenset[str]:
    """Queue, in the batches that a machine has, the runs that the store does not know of as made.

    Return them; a look at the machine then tells what became of each. Of
    several batches with a run, one that has made it counts, else the newest.
    """
    ids = await machine.batches.list()
    told = await machine.batches.describe(ids)
    store.snapshot()
    names = _names(store)
    read = [each for data in told.values() if (each := serialize.described(data))]
    found = [each for one in read if (each := untrusted.described(one, names))]
    made = await _made(machine, found)
    latest = await machine.batches.find(sorted({r.run.id for each in found for r in each.records}))
    chosen: dict[str, tuple[Described, Record]] = {}
    for each in found:
        for record in each.records:
            run_id, batch_id = record.run.id, each.batch.id
            if batch_id in made.get(run_id, ()) or (
                run_id not in made and latest.get(run_id) == batch_id
            ):
                chosen[run_id] = each, record
    known = store.snapshot().runs
    chosen = {
        run_id: (each, record)
        for run_id, (each, record) in chosen.items()
        if _adds(known.get(run_id), each.batch.id, made)
    }
    await machine.batches.keep(sorted({each.batch.id for each, _ in chosen.values()}))
    return _queued(store, machine, chosen, made)


async def _made(machine: Machine, found: Iterable[Described]) -> dict[str, set[str]]:
    """Return the batches that have made each run."""
    made: dict[str, set[str]] = {}
    for batch_id, seen in (await looked_at(machine, [each.batch for each in found])).items():
        for run_id, outcome in seen.outcomes.items():
            if outcome.state is State.SUCCEEDED:
                made.setdefault(run_id, set()).add(batch_id)
    return made


def _queued(
    store: Store,
    machine: Machine,
    chosen: Mapping[str, tuple[Described, Record]],
    made: Mapping[str, Collection[str]],
) -> frozenset[str]:
    def queue(change: Transaction) -> frozenset[str]:
        queued = set()
        for run_id, (described, record) in chosen.items():
            known = change.run(run_id)
            if not _adds(known, described.batch.id, made):
                continue
            batch = replace(
                described.batch, target=machine.target.name, host=machine.name, done=False
            )
            prompts = {prompt.prompt.id: prompt for prompt in described.prompts}
            change.put_batches([batch])
            change.put_prompts([prompts[record.run.prompt_id]])
            change.put_runs([lifecycle.queue(known or record, batch)])
            queued.add(run_id)
        return frozenset(queued)

    return store.change(queue)
