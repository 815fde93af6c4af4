"""What to do next with the batches in flight: a pure function of what is known of them.

Steps that are under way are part of that, so that none is begun twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from cosmos_jobs.apply.agenda import Agenda, Until
from cosmos_jobs.apply.in_flight import InFlight
from cosmos_jobs.core.backoff import Backoff
from cosmos_jobs.core.batch import Life

TICK_S = 0.1
"""Between two looks at the store, or at this machine."""

AWAY = Backoff(0.25, 2.0, 1.5)
"""Between two looks at a distant machine: at first, and where nothing happens."""

ASK_SHARE = 0.2
"""The longest share of time that is spent asking one machine, unless it takes long to answer."""

LONGEST_REST_S = 5.0
TROUBLE_PAUSE_S = 30.0
FETCHES_AT_ONCE = 4
RESUBMIT_S = 5.0
MAX_AHEAD = 32
"""How many batches wait on a machine at most, beside those at work."""

Key: TypeAlias = tuple[str, str]
"""A machine, by its target and its name."""


class Stop(StrEnum):
    """What is being stopped: nothing; what of ours is on this machine; ours; all, whose it be."""

    NO = "no"
    HERE = "here"
    OURS = "ours"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """What is known of a machine.

    `ahead` batches wait there beside those in its `slots`, and `at_once` are
    best submitted together. One that `has_trouble` gets no more of them; one
    that `is_silent` cannot even be asked what became of the others. It is asked
    next at `ask_at`, by the monotonic clock, after it was asked `quiet` times
    without news.
    """

    key: Key
    slots: int
    at_once: int
    ahead: int
    is_here: bool = False
    has_trouble: bool = False
    is_silent: bool = False
    ask_at: float = 0.0
    quiet: int = 0

    def asked(self, began: float, now: float, *, changed: bool) -> MachineState:
        """Return it after it was asked, and answered."""
        quiet = 0 if changed else self.quiet + 1
        took = now - began
        # A look may have waited for the machine to be found again, which costs it nothing.
        rest = min(took / ASK_SHARE - took, LONGEST_REST_S)
        pause = TICK_S if self.is_here else AWAY.pause(quiet)
        return replace(self, quiet=quiet, ask_at=now + max(pause, rest))

    def unanswered(self, now: float, *, asked: bool) -> MachineState:
        """Return it after it did not answer: when it was asked, or in the middle of other work."""
        pause = TROUBLE_PAUSE_S if asked else AWAY.longest
        return replace(self, ask_at=max(self.ask_at, now + pause))

    def balanced(self, in_flight: Mapping[str, InFlight], now: float) -> MachineState:
        """Return it with more batches ahead if it had none left between two looks."""
        mine = [each for each in in_flight.values() if _is_at(each, self.key)]
        waiting = sum(each.is_out and not each.is_final for each in mine)
        if waiting > self.slots or not any(
            _may_get(each, self, now) for each in in_flight.values()
        ):
            return self
        # A scheduler's is above it from the beginning.
        return replace(self, ahead=max(self.ahead, min(2 * self.ahead, MAX_AHEAD)))


# --- steps --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sync:
    """Record what is new in one write, then read the store: which batches are followed then."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Queue the runs that the agenda has next, in the store, in batches."""


@dataclass(frozen=True, slots=True)
class Review:
    """Look in the store what came of a round, and what is left of the agenda."""


@dataclass(frozen=True, slots=True)
class End:
    """All is as far as it was to be followed."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring what a run has made from a machine."""

    machine: Key
    batch: str
    run: str


@dataclass(frozen=True, slots=True)
class _WithMachine:
    machine: Key
    batches: tuple[str, ...]


class Look(_WithMachine):
    """Ask a machine how batches stand, and read what they leave."""


class Assign(_WithMachine):
    """Note in the store that a machine gets batches, unless another one was noted meanwhile."""


class Submit(_WithMachine):
    """Bring the inputs of batches to a machine, and give them to it."""


@dataclass(frozen=True, slots=True)
class Cancel(_WithMachine):
    """End batches on a machine, with `kill` also those at work, and fetch what they made before."""

    kill: bool


@dataclass(frozen=True, slots=True)
class _InStore:
    batches: tuple[str, ...]


class Withdraw(_InStore):
    """End, in the store, batches that no machine was given."""


class Leave(_InStore):
    """Ask nothing more of batches while we stop: they go on without us, or have ended."""


Step: TypeAlias = (
    Sync | Begin | Review | Look | Fetch | Assign | Submit | Withdraw | Cancel | Leave | End
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the next steps: the time, what is wanted, what is stopped, what is under way.

    `is_known` says whether the store was read since there is more to follow;
    it is read, and written, not before `sync_at`. `runs` are those that it has.
    """

    now: float
    agenda: Agenda
    stop: Stop = Stop.NO
    is_known: bool = True
    sync_at: float = 0.0
    runs: Collection[str] = frozenset()
    under_way: Collection[Step] = field(default_factory=frozenset)

    @property
    def is_free(self) -> bool:
        """Whether the store is neither read nor written just now."""
        return not any(isinstance(step, Sync | Begin | Review) for step in self.under_way)

    def is_fed(self, machine: Key) -> bool:
        """Return whether a machine is being given batches."""
        return any(
            isinstance(step, Assign | Submit) and step.machine == machine for step in self.under_way
        )

    def is_asked(self, machine: Key) -> bool:
        """Return whether a machine is being asked."""
        return any(isinstance(step, Look) and step.machine == machine for step in self.under_way)


def next_steps(
    in_flight: Mapping[str, InFlight], machines: Sequence[MachineState], limits: Limits
) -> tuple[Step, ...]:
    """Return the steps that can begin now; none where something has to end first."""
    if not limits.is_known:
        return (Sync(),) if limits.is_free else ()
    if limits.stop is not Stop.NO and (steps := _stopping(in_flight, machines, limits)) is not None:
        return steps
    if limits.agenda.claims is not None:
        return (Begin(),) if limits.is_free else ()
    if all(is_done(each, machines, limits) for each in in_flight.values()):
        return _ending(in_flight, limits)
    return (*_following(in_flight, machines, limits), *_syncing(limits))


def is_done(batch: InFlight, machines: Iterable[MachineState], limits: Limits) -> bool:
    """Return whether a batch is as far as it is followed, or can be."""
    if batch.is_settled:
        return True
    may_help = (
        each
        for each in machines
        if (_is_at(batch, each.key) if batch.machine else each.key[0] == batch.batch.target)
    )
    if all(each.is_silent or (each.has_trouble and not batch.is_out) for each in may_help):
        return True
    match limits.agenda.follows_until:
        case Until.SUBMITTED:
            return batch.is_taken or batch.status.life is not Life.ABSENT
        case Until.LOOKED:
            return batch.is_collected or not batch.machine
    return False


def _ending(in_flight: Mapping[str, InFlight], limits: Limits) -> tuple[Step, ...]:
    """Record what is new first; then it is over, or the agenda has more."""
    if not limits.is_free:
        return ()
    # The settled are forgotten by it, and others found that have taken runs of theirs over.
    if any(each.news or each.is_settled for each in in_flight.values()):
        return (Sync(),)
    is_over = limits.agenda.is_over or limits.stop in (Stop.HERE, Stop.ALL)
    return (End(),) if is_over else (Review(),)


def _syncing(limits: Limits) -> tuple[Step, ...]:
    return (Sync(),) if limits.is_free and limits.now >= limits.sync_at else ()


def _following(
    in_flight: Mapping[str, InFlight], machines: Sequence[MachineState], limits: Limits
) -> Iterator[Step]:
    """See that every machine with work is looked after, and gets more of it."""
    room = FETCHES_AT_ONCE - sum(isinstance(step, Fetch) for step in limits.under_way)
    given = {
        batch
        for step in limits.under_way
        if isinstance(step, Assign | Submit)
        for batch in step.batches
    }
    for machine in machines:
        mine = [each for each in in_flight.values() if _is_at(each, machine.key)]
        is_due = limits.now >= machine.ask_at
        asked = tuple(each.id for each in mine if _asks(each)) if is_due else ()
        if asked and not limits.is_asked(machine.key):
            yield Look(machine.key, asked)
        if is_due or not machine.is_silent:
            fetches = _fetches(machine, mine, limits)[: max(room, 0)]
            room -= len(fetches)
            yield from fetches
        if limits.agenda.follows_until is not Until.LOOKED and not limits.is_fed(machine.key):
            for step in _feeding(machine, in_flight, mine, given, limits):
                given.update(step.batches)
                yield step


def _asks(batch: InFlight) -> bool:
    """Return whether a look at a batch can tell anything new."""
    if batch.is_settled or batch.is_final:
        return False
    return batch.is_out or not (batch.is_ours or batch.is_looked_at)


def _fetches(machine: MachineState, mine: Iterable[InFlight], limits: Limits) -> list[Fetch]:
    found = (Fetch(machine.key, each.id, run) for each in mine for run in each.due)
    return [step for step in found if step.run in limits.runs and step not in limits.under_way]


def _feeding(
    machine: MachineState,
    in_flight: Mapping[str, InFlight],
    mine: Iterable[InFlight],
    given: Collection[str],
    limits: Limits,
) -> Iterator[Assign | Submit]:
    """Give a machine batches while it has room; who claimed them does not matter."""
    if machine.has_trouble:
        return
    room = machine.at_once
    if limits.agenda.follows_until is not Until.SUBMITTED:
        # What never arrived holds no room: it could not be sent again for want of its own.
        out = sum(
            each.is_out and not each.is_final and not _may_get(each, machine, limits.now)
            for each in mine
        )
        room = min(room, machine.slots + machine.ahead - out)
    taken: list[InFlight] = []
    for each in in_flight.values():
        if len(taken) >= room:
            break
        # What one machine is being given is no other's, whatever is seen of it meanwhile.
        if each.id not in given and _may_get(each, machine, limits.now):
            taken.append(each)
    if unassigned := tuple(each.id for each in taken if not each.machine):
        yield Assign(machine.key, unassigned)
    elif taken:
        yield Submit(machine.key, tuple(each.id for each in taken))


def _may_get(batch: InFlight, machine: MachineState, now: float) -> bool:
    """Return whether the machine may be given a batch next."""
    if batch.status.life is not Life.ABSENT or batch.is_settled:
        return False
    if not batch.machine:
        return batch.batch.target == machine.key[0]
    if not _is_at(batch, machine.key):
        return False
    if batch.sent is not None:
        # It was sent, and the machine does not know of it.
        return batch.is_looked_at and now - batch.sent > RESUBMIT_S
    return batch.is_ours or batch.is_looked_at


def _is_at(batch: InFlight, machine: Key) -> bool:
    return batch.machine == machine[1] and batch.batch.target == machine[0]


# --- stop ---------------------------------------------------------------------------------


def _stopping(
    in_flight: Mapping[str, InFlight], machines: Sequence[MachineState], limits: Limits
) -> tuple[Step, ...] | None:
    """Return how batches are ended; None once all were asked to.

    Of ours those end that are on this machine, or all of them; of what other
    machines have, what has not begun there is withdrawn in any case.
    """
    left = [
        each
        for each in in_flight.values()
        if (each.is_ours or limits.stop is Stop.ALL) and not (each.is_settled or each.is_stopped)
    ]
    if not left:
        return None if limits.stop is Stop.OURS else _ending(in_flight, limits)
    # First: while it is withdrawn, another process may have given it to a machine.
    if unassigned := tuple(each.id for each in left if not each.machine and not each.is_final):
        step = Withdraw(unassigned)
        busy = any(isinstance(each, Withdraw | Assign) for each in limits.under_way)
        return () if busy else (step,)
    return tuple(_cancelling(left, machines, limits))


def _cancelling(
    left: Sequence[InFlight], machines: Sequence[MachineState], limits: Limits
) -> Iterator[Step]:
    # What one has made is fetched before it is done with, also where it is seen to have ended.
    under_way = [step for step in limits.under_way if isinstance(step, Cancel)]
    ending = {batch for step in under_way for batch in step.batches}
    left = [each for each in left if each.id not in ending]
    alone = [each.id for each in left if not each.machine]
    for machine in machines:
        mine = [each for each in left if _is_at(each, machine.key)]
        kill = limits.stop is not Stop.HERE or machine.is_here
        asked = not machine.is_silent or limits.stop is Stop.ALL
        ended = [
            each.id for each in mine if asked and not each.is_final and (kill or not each.is_out)
        ]
        alone += [each.id for each in mine if each.id not in ended]
        is_busy = limits.is_fed(machine.key) or any(s.machine == machine.key for s in under_way)
        if ended and not is_busy:
            yield Cancel(machine.key, tuple(ended), kill)
    if alone:
        yield Leave(tuple(alone))
