"""What a machine already has of runs, by whomever: so that nothing is made twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from cosmos_jobs.apply.collect import look
from cosmos_jobs.apply.in_flight import Watch
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Life
from cosmos_jobs.core.record import State
from cosmos_jobs.core.serialize import Described
from cosmos_jobs.engines import get as engine_named
from cosmos_jobs.errors import EngineError
from cosmos_jobs.targets.fleet import Site


@dataclass(frozen=True, slots=True)
class Held:
    """A batch on a machine that has a run: whether it is at it, or has made it."""

    batch: Batch
    is_at_work: bool
    is_made: bool


async def held(site: Site, runs: Collection[str], own: Collection[str]) -> Mapping[str, Held | str]:
    """Return what has each of the runs on a machine, by run.

    For the batches of `own`, and those that say nothing of themselves, it is
    just their id.
    """
    found = await site.batches.find(list(runs))
    foreign = {batch for batch in found.values() if batch not in own}
    if not foreign:
        return found
    told = await site.batches.describe(foreign)
    known = {batch: each for batch, data in told.items() if (each := serialize.described(data))}
    watches = {batch: watch for batch, each in known.items() if (watch := _watch(site, each))}
    if watches:
        await look(site, list(watches.values()))
    return {
        run: _held(run, watches[batch]) if batch in watches else batch
        for run, batch in found.items()
    }


def _watch(site: Site, described: Described) -> Watch | None:
    batch = replace(described.batch, target=site.target.name, host=site.name, done=False)
    try:
        return Watch(batch, site, engine_named(batch.engine))
    except EngineError:
        return None


def _held(run: str, watch: Watch) -> Held:
    outcome = watch.outcomes.get(run)
    at_work = watch.status.life is Life.RUNNING and outcome is None
    return Held(watch.batch, at_work, outcome is not None and outcome.state is State.SUCCEEDED)
