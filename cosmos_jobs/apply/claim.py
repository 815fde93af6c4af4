"""Claim runs: what job files desire is recorded, and what is to start is queued in batches.

Machines are asked first what they already have of it, by whomever: nothing is made twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cosmos_jobs.apply.collect import look
from cosmos_jobs.apply.in_flight import InFlight, advance
from cosmos_jobs.config.project import Project, shown
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Life
from cosmos_jobs.core.job import Desired, Source
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record, State
from cosmos_jobs.core.run import Run
from cosmos_jobs.core.serialize import Described
from cosmos_jobs.engines import get as engine_named
from cosmos_jobs.errors import AnswerIsNo, EngineError, HostError
from cosmos_jobs.plan import batching, lifecycle
from cosmos_jobs.state import untrusted
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.fleet import Fleet, Machine


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job file's runs become in the store.

    `starts` maps the runs to start to their target and attempts so far;
    those in `forced` are made anew also where others have made them. `paths`
    are the jobs' files. Prompts in `standing` come from the store: they must
    still be there.
    """

    desired: Sequence[Desired]
    sources: Mapping[str, Source]
    starts: Mapping[str, tuple[str, int]]
    paths: Mapping[str, str]
    forced: Collection[str] = field(default_factory=frozenset)
    standing: Collection[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Held:
    """A batch on a machine that has a run: whether it is at it, or has made it."""

    batch: Batch
    is_at_work: bool
    is_made: bool


class Claims:
    """Makes claims in a store.

    `claimed` are the batches that came of it, `held` the batches that others
    were found to have given runs to.
    """

    def __init__(self, project: Project, store: Store, fleet: Fleet) -> None:
        self._project = project
        self._store = store
        self._fleet = fleet
        self.claimed: set[str] = set()
        self.held: dict[str, set[str]] = {}

    async def make(self, claim: Claim) -> frozenset[str]:
        """Record what the jobs desire, and queue runs; return those that are queued now.

        One transaction: of two applies that start a run, the second finds that
        it has been tried once more than its plan knew, and leaves it. A run
        that others have at work on the target, or have made there, is joined.
        Raises AnswerIsNo, with nothing recorded, when a standing prompt is gone.
        """
        found = await self._consult(claim)
        for run_id, other in found.items():
            batch = other.batch.id if isinstance(other, Held) else other
            self.held.setdefault(run_id, set()).add(batch)
        queued, batches = await asyncio.to_thread(
            self._store.change, lambda change: self._record(change, claim, found)
        )
        self.claimed.update(batches)
        await self._keep(queued, found)
        return frozenset(record.run.id for members in queued.values() for record in members)

    def _record(
        self, change: Transaction, claim: Claim, found: Mapping[str, Held | str]
    ) -> tuple[dict[str, list[Record]], set[str]]:
        """Return the runs that are queued, by target, and the new batches that they are in."""
        _check_standing(claim.standing, change)
        known = {each.run.id: change.run(each.run.id) for each in claim.desired}
        records: dict[str, Record] = {}
        for each in claim.desired:
            before = records.get(each.run.id) or known[each.run.id]
            files = {name: self._shown(file.path) for name, file in each.files.items()}
            records[each.run.id] = lifecycle.adopt(before, each, files)
        queued: dict[str, list[Record]] = {}
        for run_id, (target, attempts) in claim.starts.items():
            record = records[run_id]
            if len(record.attempts) == attempts and record.state not in IN_FLIGHT:
                queued.setdefault(target, []).append(record)
        claimed: set[str] = set()
        for target, members in queued.items():
            now, batches = self._queue(change, target, members, found, claim)
            records |= now
            claimed |= batches
        change.put_runs(record for run_id, record in records.items() if record is not known[run_id])
        paths = claim.paths.items()
        change.put_jobs({job: path for job, path in paths if change.job(job) != path})
        prompts = (self._prompt_record(each, change) for each in claim.sources.values())
        change.put_prompts(each for each in prompts if change.prompt(each.prompt.id) != each)
        return queued, claimed

    async def _consult(self, claim: Claim) -> dict[str, Held | str]:
        """Ask the machines of each target what they have of the runs that are to start."""
        known = await asyncio.to_thread(self._store.snapshot)
        found: dict[str, Held | str] = {}
        targets: dict[str, list[str]] = {}
        for run_id, (target, _) in claim.starts.items():
            targets.setdefault(target, []).append(run_id)
        for target, runs in targets.items():
            records = [known.runs[run_id] for run_id in runs if run_id in known.states]
            own = {batch for record in records for batch in record.batches}
            machines = self._fleet.of(target)
            told = await asyncio.gather(*(self._asked(machine, runs, own) for machine in machines))
            if all(machine.trouble for machine in machines):
                raise next(machine.trouble for machine in machines if machine.trouble)
            for each in told:
                found |= each
        return found

    async def _asked(
        self, machine: Machine, runs: Collection[str], own: Collection[str]
    ) -> Mapping[str, Held | str]:
        try:
            return await held(machine, runs, own)
        except HostError as error:
            self._fleet.leave(machine, error, silent=True)
            return {}

    async def _keep(
        self, queued: Mapping[str, Sequence[Record]], found: Mapping[str, Held | str]
    ) -> None:
        """Say on the machines that we need the batches of others that our runs have joined."""
        for target, members in queued.items():
            batches = {
                held.batch for each in members if isinstance(held := found.get(each.run.id), Held)
            }
            for machine in self._fleet.of(target):
                if mine := sorted(each.id for each in batches if each.host == machine.name):
                    await machine.batches.keep(mine)

    def _queue(
        self,
        change: Transaction,
        target: str,
        records: Sequence[Record],
        found: Mapping[str, Held | str],
        claim: Claim,
    ) -> tuple[dict[str, Record], set[str]]:
        joined: dict[str, Record] = {}
        before: dict[str, str] = {}
        for record in records:
            run_id, other = record.run.id, found.get(record.run.id)
            match other:
                case Held(is_at_work=True) | Held(is_made=True) if (
                    other.is_at_work or run_id not in claim.forced
                ):
                    change.put_batches([other.batch])
                    joined[run_id] = lifecycle.queue(record, other.batch)
                case Held():
                    before[run_id] = other.batch.id
        fresh = [record for record in records if record.run.id not in joined]
        batches = self._grouped(target, fresh, before, claim.sources)
        change.put_batches(batches)
        by_id = {record.run.id: record for record in fresh}
        queued = {
            run_id: lifecycle.queue(by_id[run_id], batch)
            for batch in batches
            for run_id in batch.runs
        }
        return joined | queued, {batch.id for batch in batches}

    def _grouped(
        self,
        target: str,
        records: Sequence[Record],
        before: Mapping[str, str],
        sources: Mapping[str, Source],
    ) -> list[Batch]:
        machines = self._fleet.of(target)
        # How often each was given away: a batch that was given away once is never begun again.
        given = {record.run.id: len(record.attempts) + len(record.passed) for record in records}
        alone = {record.run.id for record in records if lifecycle.is_suspect(record)}

        def key(run: Run) -> str:
            shared = engine_named(run.engine).batch_key(run, sources[run.prompt_id].prompt)
            return f"{shared} {run.id}" if run.id in alone else shared

        batches = [
            batch
            for engine in dict.fromkeys(record.run.engine for record in records)
            for batch in batching.group(
                [record.run for record in records if record.run.engine == engine],
                given,
                target,
                key,
                machines[0].target.max_batch,
                before,
                slots=machines[0].executor.traits.slots * len(machines),
            )
        ]
        # Where there is no choice it is made now: one write less for each batch.
        host = machines[0].name if len(machines) == 1 else ""
        return [replace(batch, host=host) for batch in batches]

    def _prompt_record(self, source: Source, change: Transaction) -> PromptRecord:
        files = {
            role: self._shown(file.path)
            for role, file in source.files.items()
            if role in source.prompt.inputs
        }
        frames = source.files["color"].frames
        # A prompt that was only ever in a job file is nobody's parent.
        parent = source.parent if change.prompt(source.parent) else ""
        made = PromptRecord(
            prompt=source.prompt,
            name=source.name,
            video=source.video,
            files=files,
            frames=frames,
            parent=parent,
            enhancer=source.enhancer,
        )
        known = change.prompt(source.prompt.id)
        # Where it comes from stays known, whoever asks for it.
        if known and (known.parent or known.enhancer):
            return replace(made, parent=known.parent, enhancer=known.enhancer)
        return made

    def _shown(self, path: Path) -> str:
        return shown(path, self._project.root)


def _check_standing(prompt_ids: Collection[str], change: Transaction) -> None:
    gone = [each for each in prompt_ids if change.prompt(each) is None]
    if gone:
        what = f"the prompt {gone[0]} was"
        if gone[1:]:
            what = f"the prompts {gone[0]} and {len(gone) - 1:,} more were"
        raise AnswerIsNo(
            f"{what} replaced or deleted meanwhile; nothing was started",
            hint="look at it again: cosmos-jobs list prompts",
        )


async def held(
    machine: Machine, runs: Collection[str], own: Collection[str]
) -> Mapping[str, Held | str]:
    """Return what has each of the runs on a machine, by run.

    For the batches of `own`, and those that say nothing of themselves, it is
    just their id.
    """
    found = await machine.batches.find(list(runs))
    foreign = {batch for batch in found.values() if batch not in own}
    if not foreign:
        return found
    told = await machine.batches.describe(foreign)
    described = [each for data in told.values() if (each := serialize.described(data))]
    sound = [each for each in described if untrusted.batch(each.batch)]
    seen = await looked_at(machine, [_here(machine, each) for each in sound])
    return {
        run: _held(run, seen[batch]) if batch in seen else batch for run, batch in found.items()
    }


async def looked_at(machine: Machine, batches: Iterable[Batch]) -> dict[str, InFlight]:
    """Return how batches of anybody stand on a machine, by id; without those of unknown engines."""
    found: dict[str, InFlight] = {}
    for batch in batches:
        with suppress(EngineError):
            found[batch.id] = InFlight(batch=batch, engine=engine_named(batch.engine))
    seen = await look(machine, [*found.values()]) if found else {}
    return {batch: advance(found[batch], polled) for batch, polled in seen.items()}


def _here(machine: Machine, described: Described) -> Batch:
    return replace(described.batch, target=machine.target.name, host=machine.name, done=False)


def _held(run: str, batch: InFlight) -> Held:
    outcome = batch.outcomes.get(run)
    at_work = batch.status.life is Life.RUNNING and outcome is None
    return Held(batch.batch, at_work, outcome is not None and outcome.state is State.SUCCEEDED)
