"""What this process knows of work in flight: batches, machines, the store as last read."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from cosmos_jobs.apply.agenda import Agenda
from cosmos_jobs.apply.in_flight import Assigned, Dropped, Freed, InFlight, Observation, advance
from cosmos_jobs.apply.steps import Key, Limits, MachineState, Step, Stop
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.record import IN_FLIGHT
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.engines import get as engine_named
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.fleet import Fleet, Machine

NOTHING = Agenda(wanted=())


class Tracker:
    """Keeps the values that the next steps follow from, and puts what is seen in their place.

    `claimed` are the batches of this process, `held` those that others were
    found to have given runs to. `homeless` are batches on machines that the
    project no longer has, with what is said of that, `finished` those that their
    machines may forget, as far as we are concerned.
    """

    def __init__(
        self, fleet: Fleet, claimed: Collection[str], held: Mapping[str, Collection[str]]
    ) -> None:
        self._fleet = fleet
        self._claimed = claimed
        self._held = held
        self._machines: dict[Key, MachineState] = {}
        self.in_flight: dict[str, InFlight] = {}
        self.known = Snapshot({}, {}, {}, {})
        self.agenda = NOTHING
        self.stop = Stop.NO
        self.gave_up = False
        self.is_known = False
        self.sync_at = 0.0
        self.homeless: dict[str, tuple[InFlight, HostError]] = {}
        self.followed: set[str] = set()
        self.finished: dict[Machine, list[str]] = {}

    def follow(self, agenda: Agenda) -> None:
        """Go by an agenda; what of it is in flight already is found in the store first."""
        self.agenda, self.is_known = agenda, False

    def give_up(self) -> None:
        """End all that is ours: a run failed where the first failure is to stop all."""
        self.gave_up = True
        if self.stop is Stop.NO:
            self.stop = Stop.OURS

    def limits(self, under_way: Collection[Step]) -> Limits:
        """Return what bounds the next steps."""
        return Limits(
            now=time.monotonic(),
            agenda=self.agenda,
            stop=self.stop,
            is_known=self.is_known,
            sync_at=self.sync_at,
            runs=self.known.states,
            under_way=under_way,
        )

    # --- batches --------------------------------------------------------------------------

    def see(self, batch_id: str, *seen: Observation) -> None:
        """Put what was seen of a batch in its place."""
        for each in seen:
            if batch_id in self.in_flight:
                self.in_flight[batch_id] = advance(self.in_flight[batch_id], each)

    def read(self, known: Snapshot) -> None:
        """Go by what the store has now: forget the settled, look for others when none is left."""
        self.known = known
        for each in [each for each in self.in_flight.values() if each.is_settled]:
            del self.in_flight[each.id]
        if not (self.in_flight and self.is_known):
            self._discover(self.agenda.followed)
        self.is_known = True

    def drop_unknown(self, batch_ids: Iterable[str]) -> None:
        """Let go of runs that the store does not have."""
        for batch_id in batch_ids:
            batch = self.in_flight.get(batch_id)
            if batch and (gone := set(batch.batch.runs) - self.known.states.keys()):
                # A run that was pruned meanwhile, or that only others asked for, is none of ours.
                self.see(batch_id, Dropped(frozenset(gone)))

    def finish(self, batch_ids: Iterable[str]) -> None:
        """Note which of the batches are settled."""
        for batch_id in batch_ids:
            batch = self.in_flight.get(batch_id)
            if batch and batch.is_settled and batch.is_out and batch.machine:
                self.finished.setdefault(self.machine_of(batch), []).append(batch_id)

    def troubled(self) -> list[tuple[InFlight, str]]:
        """Return what is on machines in trouble, and what that is."""
        at = [(e, self.machine_of(e).trouble) for e in self.in_flight.values() if e.machine]
        return [(each, why.message) for each, why in at if why and not each.is_settled]

    def _discover(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            if self.known.states.get(run_id) in IN_FLIGHT:
                last = self.known.runs[run_id].last
                if last is not None and last.batch not in self.in_flight:
                    self._take_up(self.known.batches[last.batch])
        self.followed.update(self.in_flight)

    def _take_up(self, batch: Batch) -> None:
        made = self.made_of(batch)
        try:
            machine = self._fleet.machine_of(batch)
        except HostError as error:
            # The others are none the worse for it.
            self.homeless[batch.id] = made, error
        else:
            self.in_flight[batch.id] = replace(made, machine=machine.name if machine else "")

    def made_of(self, batch: Batch) -> InFlight:
        """Return a batch of the store as one in flight, of which nothing is seen yet."""
        known = {}
        for run_id in batch.runs:
            record = self.known.runs[run_id] if run_id in self.known.states else None
            tried = record.batches if record else frozenset()
            others = frozenset(self._held.get(run_id, ()))
            known[run_id] = tuple(sorted((tried | others) - {batch.id}))
        engine, is_ours = engine_named(batch.engine), batch.id in self._claimed
        return InFlight(batch=batch, engine=engine, is_ours=is_ours, known=known)

    def assigned(self, batch: Batch, *, by_us: bool) -> None:
        """Note which machine the store has for a batch."""
        try:
            machine = self._fleet.machine_of(batch)
        except HostError as error:
            # Another project has that machine, and gave it the batch.
            if lost := self.in_flight.pop(batch.id, None):
                self.homeless[batch.id] = replace(lost, machine=""), error
        else:
            self.see(batch.id, Assigned(batch, machine.name if machine else "", by_us))

    # --- machines -------------------------------------------------------------------------

    def machines(self) -> tuple[MachineState, ...]:
        """Return how the machines are that batches in flight are on, or may get to."""
        targets = dict.fromkeys(each.batch.target for each in self.in_flight.values())
        return tuple(
            self.state(machine) for target in targets for machine in self._fleet.of(target)
        )

    def state(self, machine: Machine) -> MachineState:
        """Return how a machine is."""
        key = machine.target.name, machine.name
        state = self._machines.get(key) or MachineState(
            key=key,
            slots=machine.executor.traits.slots,
            at_once=machine.executor.traits.at_once,
            ahead=machine.ahead,
            is_here=machine.is_here,
        )
        return replace(state, has_trouble=machine.trouble is not None, is_silent=machine.is_silent)

    def machine(self, key: Key) -> Machine:
        """Return a machine by its key."""
        return next(each for each in self._fleet.of(key[0]) if each.name == key[1])

    def machine_of(self, batch: InFlight) -> Machine:
        """Return the machine of a batch that has one."""
        return self.machine((batch.batch.target, batch.machine))

    def answered(self, machine: Machine, began: float, *, changed: bool) -> None:
        """Note that a machine was asked, and answered."""
        self._fleet.welcome(machine)
        now = time.monotonic()
        state = self.state(machine).asked(began, now, changed=changed)
        self._machines[state.key] = state.balanced(self.in_flight, now)

    def leave(
        self, machine: Machine, error: HostError, *, silent: bool = True, asked: bool = False
    ) -> None:
        """Give a machine nothing more; what it has not taken goes to the others."""
        self._fleet.leave(machine, error, silent=silent)
        state = self.state(machine)
        if silent:
            state = state.unanswered(time.monotonic(), asked=asked)
        self._machines[state.key] = state
        if self.has_choice(machine):
            for each in [*self.in_flight.values()]:
                if (each.batch.target, each.machine) == state.key:
                    self.see(each.id, Freed())

    def has_choice(self, machine: Machine) -> bool:
        """Return whether its target has further machines."""
        return len(self._fleet.of(machine.target.name)) > 1
