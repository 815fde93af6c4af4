"""Bring outputs here: those that were just made, and those that were made and are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from cosmos_jobs.apply.collect import Collector, look
from cosmos_jobs.apply.in_flight import Damaged, Fetched, InFlight, advance
from cosmos_jobs.apply.publish import Publishing
from cosmos_jobs.apply.tracker import Tracker
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project
from cosmos_jobs.errors import HostError
from cosmos_jobs.state.store import Store
from cosmos_jobs.targets.fleet import Fleet, Machine


class Restorer:
    """Fetches outputs from machines, and from where they are published."""

    def __init__(
        self,
        project: Project,
        store: Store,
        fleet: Fleet,
        tracker: Tracker,
        publishing: Publishing | None,
    ) -> None:
        self._project = project
        self._store = store
        self._fleet = fleet
        self._tracker = tracker
        self._publishing = publishing
        self._outputs = Outputs(project.outputs)
        self.collector = Collector(self._outputs)

    async def fetch(
        self, machine: Machine, batch: InFlight, run_id: str
    ) -> Fetched | Damaged | None:
        """Bring what a run has made here; None when the machine does not answer."""
        known = self._tracker.known
        if run_id not in known.states:
            return None
        made = known.runs[run_id]
        prompt = known.prompts[made.run.prompt_id]
        try:
            seen = await self.collector.fetch(machine, batch, made, prompt)
        except HostError as error:
            self._tracker.leave(machine, error)
            return None
        self._fleet.welcome(machine)
        if self._publishing and isinstance(seen, Fetched):
            self._publishing.publish(run_id)
        return seen

    async def bring_back(self, run_ids: Collection[str]) -> None:
        """Fetch those of the outputs that were made and are not here.

        They are fetched from where they are published, else where their machine
        still has them as they were.
        """
        if not run_ids:
            return
        known = self._tracker.known = await asyncio.to_thread(self._store.snapshot)
        lost = self._outputs.lost(run_ids, known)
        if lost and self._publishing:
            runs = {each: known.runs[each].run for each in lost}
            came = await self._publishing.find_and_bring(runs)
            lost = tuple(each for each in lost if each not in came)
        batches: dict[str, list[str]] = {}
        for run_id in lost:
            if last := known.runs[run_id].last:
                batches.setdefault(last.batch, []).append(run_id)
        for batch_id, members in batches.items():
            batch = known.batches.get(batch_id)
            if batch is None or batch.target not in self._project.targets:
                continue
            machine = self._fleet.machine_of(batch)
            if machine and not machine.is_silent:
                await self._restore(machine, self._tracker.made_of(batch), members)

    async def _restore(self, machine: Machine, batch: InFlight, run_ids: Collection[str]) -> None:
        try:
            seen = (await look(machine, [batch]))[batch.id]
        except HostError as error:
            self._tracker.leave(machine, error, asked=True)
            return
        batch = advance(batch, seen)
        for run_id in batch.due:
            if run_id in run_ids:
                await self.fetch(machine, batch, run_id)
