"""What to do next: whatever goes wrong, nothing is run twice or forgotten, and it always ends.

The steps are performed in a world without disk, network or clock, in any
order, with what may go wrong at each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_jobs import engines
from cosmos_jobs.apply.agenda import Agenda, Until
from cosmos_jobs.apply.in_flight import (
    Assigned,
    Cancelled,
    Fetched,
    Freed,
    InFlight,
    Observation,
    Polled,
    Recorded,
    Refused,
    Sent,
    Stopped,
    Submitted,
    advance,
)
from cosmos_jobs.apply.steps import (
    Assign,
    Cancel,
    End,
    Fetch,
    Leave,
    Limits,
    Look,
    MachineState,
    Step,
    Stop,
    Submit,
    Sync,
    Withdraw,
    next_steps,
)
from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.record import State
from tests.support.examples import OUTPUT

ENGINE = engines.get("preview")
FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST)
GOOD = ""
"""A step goes as it should; the others are what may go wrong."""

TROUBLES = ("lost", "lost later", "refused")


@dataclass
class Machine:
    """A machine of the world: what it was given, and how that is."""

    lives: dict[str, Life] = field(default_factory=dict)
    is_away: bool = False

    def take(self, batch: str) -> bool:
        """Start a batch unless it was ever claimed here; return whether it started."""
        if batch in self.lives:
            return False
        self.lives[batch] = Life.RUNNING
        return True


@dataclass
class World:
    """The store, and the machines; `starts` counts how often each run was started anywhere."""

    batches: dict[str, Batch]
    states: dict[str, State]
    machines: dict[str, Machine]
    starts: Counter[str] = field(default_factory=Counter)

    def submit(self, batch: str, machine: str) -> None:
        if self.machines[machine].take(batch):
            self.starts.update(self.batches[batch].runs)

    def is_open(self, batch: str) -> bool:
        return any(self.states[run] is State.QUEUED for run in self.batches[batch].runs)


@dataclass
class Client:
    """A process that performs steps, as the loop of an apply does."""

    world: World
    claimed: frozenset[str]
    at_once: int = 1
    now: float = 0.0
    stop: Stop = Stop.NO
    until: Until = Until.SETTLED
    is_known: bool = False
    is_over: bool = False
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    states: dict[str, MachineState] = field(default_factory=dict)
    under_way: dict[Step, None] = field(default_factory=dict)

    def limits(self) -> Limits:
        agenda = Agenda(wanted=tuple(self.world.states), until=self.until)
        return Limits(
            now=self.now,
            agenda=agenda,
            stop=self.stop,
            is_known=self.is_known,
            runs=self.world.states,
            under_way=self.under_way.keys(),
        )

    def machines(self) -> tuple[MachineState, ...]:
        for name in self.world.machines:
            key = "pool", name
            new = MachineState(key=key, slots=1, at_once=self.at_once, ahead=1)
            self.states.setdefault(name, new)
        return tuple(self.states.values())

    def begin(self) -> None:
        """Begin what can be begun now."""
        if self.is_over:
            return
        for step in next_steps(self.in_flight, self.machines(), self.limits()):
            assert step not in self.under_way
            if isinstance(step, End):
                self.is_over, self.under_way = True, {}
            else:
                self.under_way[step] = None
            if isinstance(step, Cancel):
                self.kill(step)

    def see(self, batch: str, *seen: Observation) -> None:
        for each in seen:
            if batch in self.in_flight:
                self.in_flight[batch] = advance(self.in_flight[batch], each)

    def interrupt(self) -> None:
        """Be cancelled in between: what is under way ends nowhere."""
        self.under_way.clear()
        self.stop = Stop.HERE

    # --- steps ------------------------------------------------------------------------------

    def finish(self, step: Step, trouble: str) -> None:
        """End a step that is under way, with trouble or without."""
        del self.under_way[step]
        match step:
            case Sync():
                self.sync()
            case Look(machine=key):
                self.look(key[1], step.batches, trouble)
            case Fetch(machine, batch, run):
                self.fetch(machine[1], batch, run, trouble)
            case Assign(machine=key):
                self.assign(key[1], step.batches)
            case Submit(machine=key):
                self.submit(key[1], step.batches, trouble)
            case Withdraw():
                self.withdraw(step.batches)
            case Cancel():
                self.cancel(step, trouble)
            case Leave():
                for batch in step.batches:
                    self.see(batch, Stopped())

    def sync(self) -> None:
        for each in [*self.in_flight.values()]:
            self.record(each, each.news)
        self.in_flight = {k: each for k, each in self.in_flight.items() if not each.is_settled}
        if not (self.in_flight and self.is_known):
            for batch in self.world.batches.values():
                if self.world.is_open(batch.id) and batch.id not in self.in_flight:
                    self.take_up(batch)
        self.is_known = True

    def take_up(self, batch: Batch) -> None:
        ours = batch.id in self.claimed
        only, *others = self.world.machines
        host = batch.host or ("" if others else only)
        made = InFlight(batch=batch, engine=ENGINE, machine=host, is_ours=ours)
        self.in_flight[batch.id] = made

    def record(self, batch: InFlight, runs: tuple[str, ...]) -> None:
        ended = set(batch.ended)
        for run in runs:
            if self.world.states[run] is State.QUEUED:
                self.world.states[run] = outcome(batch, run)
            if self.world.states[run] is not State.QUEUED:
                ended.add(run)
        self.see(batch.id, Recorded(batch.stage, frozenset(ended)))

    def look(self, name: str, batches: tuple[str, ...], trouble: str) -> None:
        machine = self.world.machines[name]
        if machine.is_away or trouble:
            self.leave(name, silent=True)
            return
        for batch in batches:
            life = machine.lives.get(batch, Life.ABSENT)
            runs = self.world.batches[batch].runs
            made = {run: Outcome(State.SUCCEEDED) for run in runs if life is Life.EXITED}
            self.see(batch, Polled(Status(life), outcomes=made))
        state = replace(self.states[name], is_silent=False)
        if self.states[name].is_silent:
            state = replace(state, has_trouble=False)
        self.states[name] = state.asked(self.now, self.now, changed=False)

    def fetch(self, name: str, batch: str, run: str, trouble: str) -> None:
        if self.world.machines[name].is_away or trouble:
            self.leave(name, silent=True)
        else:
            self.see(batch, Fetched(run, OUTPUT))

    def assign(self, name: str, batches: tuple[str, ...]) -> None:
        for each in batches:
            if each not in self.in_flight:
                continue
            batch = self.world.batches[each]
            if batch.host in ("", self.in_flight[each].batch.host):
                batch = self.world.batches[each] = replace(batch, host=name)
            self.see(each, Assigned(batch, batch.host, batch.host == name))

    def submit(self, name: str, batches: tuple[str, ...], trouble: str) -> None:
        """Give batches to a machine: contact may be lost before and after it has them."""
        if trouble == "lost":
            self.leave(name, silent=True)
            return
        ours = [each for each in batches if each in self.in_flight]
        ours = [each for each in ours if self.in_flight[each].machine == name]
        if trouble == "refused":
            for each in ours:
                self.see(each, Refused())
            self.leave(name, silent=False)
            return
        is_away = self.world.machines[name].is_away
        for each in ours:
            self.see(each, Sent(self.now))
            if not is_away:
                self.world.submit(each, name)
        if is_away or trouble == "lost later":
            self.leave(name, silent=True)
        else:
            for each in ours:
                self.see(each, Submitted(self.now))

    def withdraw(self, batches: tuple[str, ...]) -> None:
        for each in batches:
            batch = self.world.batches[each]
            if each in self.in_flight and batch.host:
                self.see(each, Assigned(batch, batch.host, True))
            elif each in self.in_flight:
                self.see(each, Cancelled())
                self.record(self.in_flight[each], batch.runs)
                self.see(each, Stopped())

    def kill(self, step: Cancel) -> None:
        """Begin to cancel: batches are ended, and seen to be, before what they made is fetched."""
        machine = self.world.machines[step.machine[1]]
        if not machine.is_away:
            for batch in step.batches:
                life = machine.lives.setdefault(batch, Life.CANCELLED)
                if step.kill and life is Life.RUNNING:
                    machine.lives[batch] = Life.CANCELLED
            self.look(step.machine[1], step.batches, GOOD)

    def cancel(self, step: Cancel, trouble: str) -> None:
        for batch in step.batches:
            for run in self.in_flight[batch].due if batch in self.in_flight else ():
                self.fetch(step.machine[1], batch, run, trouble)
            self.see(batch, Stopped())

    def leave(self, name: str, *, silent: bool) -> None:
        state = replace(self.states[name], has_trouble=True, is_silent=silent)
        self.states[name] = state.unanswered(self.now, asked=True)
        if len(self.world.machines) > 1:
            for each in [*self.in_flight.values()]:
                if each.machine == name:
                    self.see(each.id, Freed())


def outcome(batch: InFlight, run: str) -> State:
    """Return what the store has of a run once this is recorded."""
    if run in batch.outputs:
        return State.SUCCEEDED
    match batch.status.life:
        case Life.CANCELLED:
            return State.CANCELLED
        case Life.GONE:
            return State.LOST
        case Life.EXITED if run not in batch.outcomes:
            return State.FAILED
    return State.QUEUED


# --- whatever happens ---------------------------------------------------------------------


def world(batches: int, machines: int) -> World:
    runs = {f"ba_{n}": (f"rs_{n}a", f"rs_{n}b") for n in range(batches)}
    return World(
        {each: Batch(each, "preview", "pool", runs[each]) for each in runs},
        {run: State.QUEUED for each in runs.values() for run in each},
        {f"m{n}": Machine() for n in range(machines)},
    )


def happen(
    data: st.DataObject, client: Client, troubles: tuple[str, ...], *, may_go: bool = True
) -> None:
    """Let something happen: a step ends, a machine works on, goes away or comes back, time goes."""
    client.begin()
    machines = [*client.world.machines.values()]
    machine = data.draw(st.sampled_from(machines))
    match data.draw(st.sampled_from(["step", "step", "step", "work", "away", "die", "time"])):
        case "step" if client.under_way:
            step = data.draw(st.sampled_from([*client.under_way]))
            client.finish(step, data.draw(st.sampled_from([GOOD, GOOD, *troubles])))
        case "work" | "die" as what:
            running = [b for b, life in machine.lives.items() if life is Life.RUNNING]
            if running:
                ended = Life.EXITED if what == "work" else Life.GONE
                machine.lives[data.draw(st.sampled_from(running))] = ended
        case "away" if may_go:
            machine.is_away = not machine.is_away
        case "time":
            client.now += data.draw(st.sampled_from([0.1, 1.0, 6.0, 40.0]))


def calm(client: Client) -> None:
    """Let all go well from now on, until the client says that it is over."""
    for machine in client.world.machines.values():
        machine.is_away = False
    for _ in range(300):
        client.begin()
        if client.is_over:
            return
        for step in [*client.under_way]:
            client.finish(step, GOOD)
        for machine in client.world.machines.values():
            works = (each for each, life in machine.lives.items() if life is Life.RUNNING)
            if batch := next(works, ""):
                machine.lives[batch] = Life.EXITED
        client.now += 0.5
    raise AssertionError(f"it does not end: {client.in_flight}")


def check(now: World) -> None:
    assert all(started <= 1 for started in now.starts.values()), now.starts
    assert all(state in FINAL for state in now.states.values()), now.states


@settings(deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_whatever_goes_wrong_nothing_is_run_twice_or_forgotten(
    data: st.DataObject, batches: int, machines: int, at_once: int
) -> None:
    now = world(batches, machines)
    client = Client(now, frozenset(now.batches), at_once)

    for _ in range(data.draw(st.integers(0, 40))):
        happen(data, client, TROUBLES)
    calm(client)
    calm(Client(now, frozenset(), at_once))

    check(now)


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 2))
def test_a_crash_at_any_time_is_made_good_by_the_next_apply(
    data: st.DataObject, batches: int, machines: int
) -> None:
    now = world(batches, machines)
    claimed = frozenset(now.batches)

    for _ in range(data.draw(st.integers(1, 3))):
        client = Client(now, claimed)
        for _ in range(data.draw(st.integers(0, 20))):
            happen(data, client, TROUBLES)
        # The next process claimed none of it.
        claimed = frozenset()
    calm(Client(now, frozenset()))

    check(now)


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 2))
def test_interrupted_at_any_time_it_ends_and_loses_nothing(
    data: st.DataObject, batches: int, machines: int
) -> None:
    now = world(batches, machines)
    client = Client(now, frozenset(now.batches))

    for _ in range(data.draw(st.integers(0, 30))):
        happen(data, client, TROUBLES)
    if not client.is_over:
        client.interrupt()
        calm(client)
    calm(Client(now, frozenset()))

    check(now)


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 2))
def test_what_is_cancelled_has_ended_and_what_it_made_is_here(
    data: st.DataObject, batches: int, machines: int
) -> None:
    now = world(batches, machines)
    client = Client(now, frozenset(now.batches))

    for _ in range(data.draw(st.integers(0, 30))):
        happen(data, client, TROUBLES)
    calm(Client(now, frozenset(), stop=Stop.ALL))

    check(now)


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 2))
def test_two_owners_start_nothing_twice(data: st.DataObject, batches: int, machines: int) -> None:
    """What one moves from a machine that does not answer it, another may have sent there.

    The store does not tell the one of the other's sending, so the run is made
    twice then. No machine of several is left here, by any trouble.
    """
    now = world(batches, machines)
    names = [*now.batches]
    owned = frozenset(names[: data.draw(st.integers(0, len(names)))])
    clients = [Client(now, owned), Client(now, frozenset(names) - owned)]
    troubles = TROUBLES if machines == 1 else ()

    for _ in range(data.draw(st.integers(0, 60))):
        # A machine that is away is left, and what waits for it moves.
        client = data.draw(st.sampled_from(clients))
        happen(data, client, troubles, may_go=machines == 1)
        assert all(started <= 1 for started in now.starts.values())
    for client in clients:
        calm(client)
    calm(Client(now, frozenset()))

    check(now)


# --- single choices -----------------------------------------------------------------------

KEY = "pool", "m0"
QUEUED = InFlight(
    batch=Batch("ba_0", "preview", "pool", ("rs_0a",)), engine=ENGINE, machine="m0", is_ours=True
)
MACHINE = MachineState(key=KEY, slots=1, at_once=1, ahead=1)
MADE = replace(QUEUED, status=Status(Life.EXITED), outcomes={"rs_0a": Outcome(State.SUCCEEDED)})


def limits(until: Until = Until.SETTLED, now: float = 100.0, **changes: object) -> Limits:
    agenda = Agenda(wanted=("rs_0a",), until=until)
    plain = Limits(now=now, agenda=agenda, sync_at=now + 1, runs={"rs_0a"})
    return replace(plain, **changes)  # type: ignore[arg-type]


def steps(*batches: InFlight, machine: MachineState = MACHINE, at: Limits) -> tuple[Step, ...]:
    named = {}
    for n, each in enumerate(batches):
        named[f"ba_{n}"] = replace(each, batch=replace(each.batch, id=f"ba_{n}"))
    return next_steps(named, [machine], at)


def test_the_store_is_read_before_anything_else() -> None:
    assert steps(QUEUED, at=limits(is_known=False)) == (Sync(),)
    assert steps(QUEUED, at=limits(is_known=False, under_way={Sync()})) == ()


def test_a_machine_gets_as_many_as_it_has_room_for() -> None:
    out = replace(QUEUED, sent=99.0, status=Status(Life.RUNNING))

    assert Submit(KEY, ("ba_1",)) in steps(out, QUEUED, at=limits())
    assert Look(KEY, ("ba_0", "ba_1")) in steps(out, out, QUEUED, at=limits())
    assert not any(isinstance(s, Submit) for s in steps(out, out, QUEUED, at=limits()))
    many = replace(MACHINE, at_once=3, ahead=9)
    assert Submit(KEY, ("ba_1", "ba_2")) in steps(out, QUEUED, QUEUED, machine=many, at=limits())


def test_a_machine_without_enough_ahead_gets_more_the_next_time() -> None:
    out = replace(QUEUED, sent=99.0, status=Status(Life.RUNNING))
    flights = {"ba_0": out, "ba_1": QUEUED}

    assert MACHINE.balanced(flights, 100.0).ahead == 2
    assert MACHINE.balanced({"ba_0": out}, 100.0).ahead == 1


def test_what_a_machine_lost_on_the_way_is_sent_again_after_a_while() -> None:
    sent = replace(QUEUED, sent=99.0, is_taken=True, is_looked_at=True)

    assert Submit(KEY, ("ba_0",)) not in steps(sent, at=limits(now=100.0))
    assert Submit(KEY, ("ba_0",)) in steps(sent, at=limits(now=105.0))


def test_what_others_claimed_is_looked_at_before_it_is_given_away() -> None:
    theirs = replace(QUEUED, is_ours=False)

    assert steps(theirs, at=limits()) == (Look(KEY, ("ba_0",)),)
    assert Submit(KEY, ("ba_0",)) in steps(replace(theirs, is_looked_at=True), at=limits())


def test_a_silent_machine_is_left_alone_for_a_while_and_ends_the_wait() -> None:
    silent = replace(MACHINE, has_trouble=True, is_silent=True, ask_at=130.0)
    sent = replace(QUEUED, sent=99.0)

    assert steps(sent, machine=silent, at=limits()) == (End(),)


@pytest.mark.parametrize("under_way", [(), (Fetch(KEY, "ba_0", "rs_0a"),)])
def test_an_output_is_fetched_once(under_way: tuple[Step, ...]) -> None:
    found = steps(MADE, at=limits(under_way=set(under_way)))

    assert found == (() if under_way else (Fetch(KEY, "ba_0", "rs_0a"),))


def test_fetching_is_bounded() -> None:
    found = steps(*[MADE] * 6, at=limits())

    assert [each for each in found if isinstance(each, Fetch)] == [*found]
    assert len(found) == 4


@pytest.mark.parametrize(
    ("until", "flight", "is_over"),
    [
        (Until.SUBMITTED, replace(QUEUED, sent=1.0, is_taken=True), True),
        (Until.SUBMITTED, replace(QUEUED, sent=1.0), False),
        (Until.LOOKED, replace(QUEUED, is_looked_at=True), True),
        (Until.LOOKED, replace(MADE, is_looked_at=True), False),
        (Until.SETTLED, replace(QUEUED, sent=1.0, is_taken=True), False),
    ],
)
def test_work_is_followed_as_far_as_it_was_asked_for(
    until: Until, flight: InFlight, is_over: bool
) -> None:
    assert (steps(flight, at=limits(until)) == (End(),)) == is_over


def test_what_is_new_is_recorded_before_it_is_over() -> None:
    running = replace(QUEUED, sent=1.0, is_taken=True, status=Status(Life.RUNNING))

    assert steps(running, at=limits(Until.SUBMITTED)) == (Sync(),)
    assert steps(running, at=limits(Until.SUBMITTED, under_way={Sync()})) == ()


def test_one_look_starts_nothing() -> None:
    found = steps(replace(QUEUED, is_ours=False), at=limits(Until.LOOKED))

    assert found == (Look(KEY, ("ba_0",)),)


# --- stop ---------------------------------------------------------------------------------


def test_an_interrupt_leaves_what_is_at_work_elsewhere() -> None:
    out = replace(QUEUED, sent=1.0, status=Status(Life.RUNNING))
    here = replace(MACHINE, is_here=True)

    assert steps(out, QUEUED, at=limits(stop=Stop.HERE)) == (
        Cancel(KEY, ("ba_1",), False),
        Leave(("ba_0",)),
    )
    assert steps(out, machine=here, at=limits(stop=Stop.HERE)) == (Cancel(KEY, ("ba_0",), True),)
    assert steps(out, at=limits(stop=Stop.OURS)) == (Cancel(KEY, ("ba_0",), True),)


def test_what_no_machine_has_is_withdrawn_first() -> None:
    nowhere = replace(QUEUED, machine="")

    assert steps(nowhere, QUEUED, at=limits(stop=Stop.HERE)) == (Withdraw(("ba_0",)),)


def test_what_others_claimed_is_ended_only_where_all_is_to_be() -> None:
    theirs = replace(QUEUED, is_ours=False, is_looked_at=True, sent=1.0)

    assert steps(theirs, at=limits(stop=Stop.HERE)) == (End(),)
    assert steps(theirs, at=limits(stop=Stop.ALL)) == (Cancel(KEY, ("ba_0",), True),)


def test_what_has_ended_is_not_done_with_before_it_is_fetched() -> None:
    ending = limits(stop=Stop.ALL, under_way={Cancel(KEY, ("ba_0",), True)})

    assert steps(MADE, at=ending) == ()


def test_a_machine_that_is_being_given_something_is_not_told_to_end_it_yet() -> None:
    busy = limits(stop=Stop.OURS, under_way={Submit(KEY, ("ba_0",))})

    assert steps(QUEUED, at=busy) == ()


def test_what_never_arrived_is_sent_again_though_nothing_else_has_room() -> None:
    lost = replace(QUEUED, sent=0.0, is_looked_at=True)

    found = steps(lost, lost, at=limits())

    assert Submit(KEY, ("ba_0",)) in found


def test_what_may_still_arrive_holds_its_room() -> None:
    just_sent = replace(QUEUED, sent=99.0, is_looked_at=True)

    found = steps(just_sent, just_sent, QUEUED, at=limits())

    assert not any(isinstance(step, Submit) for step in found)
