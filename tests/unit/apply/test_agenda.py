"""Rounds of an apply: canaries first, then what can start, and what was left once more."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.apply.agenda import PATIENCE, Agenda, Until
from cosmos_jobs.core.record import Attempt, Record, State
from tests.support.examples import PLAIN, runs, snapshot

RUN = runs(PLAIN)[0].run
NEW = Agenda(wanted=("a", "b", "c"), starts={"a": 0, "b": 0, "c": 0})


def record(run: str, state: State, attempts: int = 1, target: str = "local") -> Record:
    tries = tuple(Attempt(f"ba_{n}", target, state) for n in range(attempts))
    return Record(replace(RUN, id=run), {}, state, attempts=tries)


def reviewed(agenda: Agenda, *records: Record, gave_up: bool = False) -> Agenda:
    return agenda.reviewed(snapshot(records), gave_up=gave_up)


def made(*runs: str) -> list[Record]:
    return [record(run, State.SUCCEEDED) for run in runs]


def test_all_that_can_start_is_claimed_at_once() -> None:
    begun = NEW.begun({})

    assert begun.claims == NEW.starts
    assert begun.claimed("abc").claims is None
    assert begun.claimed("abc").started == {"a", "b", "c"}
    assert reviewed(begun.claimed("abc"), *made("a", "b", "c")).is_over


def test_the_others_start_once_the_canaries_are_made() -> None:
    begun = replace(NEW, canaries={"b": 0}, until=Until.SUBMITTED).begun({})

    assert (begun.claims, begun.followed) == ({"b": 0}, ("b",))
    assert begun.follows_until is Until.SETTLED
    then = reviewed(begun.claimed("b"), *made("b"))
    assert (then.claims, then.followed) == ({"a": 0, "c": 0}, NEW.wanted)
    assert then.follows_until is Until.SUBMITTED


def test_the_others_are_held_back_where_a_canary_fails() -> None:
    begun = replace(NEW, canaries={"b": 0}).begun({}).claimed("b")

    then = reviewed(begun, record("b", State.FAILED))

    assert then.is_over
    assert then.held_back == {"a", "c"}


def test_what_works_on_the_output_of_another_run_waits_for_it() -> None:
    begun = replace(NEW, after={"c": "a"}).begun({"a": State.SUCCEEDED})

    # It is to be made anew: that is as good as not made.
    assert begun.claims == {"a": 0, "b": 0}
    then = reviewed(begun.claimed("ab"), *made("a", "b"))
    assert (then.claims, then.bases) == ({"c": 0}, frozenset({"a"}))
    failed = reviewed(begun.claimed("ab"), record("a", State.FAILED), *made("b"))
    assert failed.is_over


def test_what_others_left_is_taken_up_and_what_failed_is_not() -> None:
    begun = NEW.begun({}).claimed("")

    then = reviewed(
        begun, record("a", State.CANCELLED), record("b", State.LOST, 2), record("c", State.FAILED)
    )

    assert then.claims == {"a": 1, "b": 2}


def test_of_our_own_only_what_never_began_is_taken_up() -> None:
    begun = replace(NEW, retried=frozenset({"cluster"})).begun({}).claimed("abc")

    then = reviewed(
        begun,
        record("a", State.PENDING, 0),
        record("b", State.LOST),
        record("c", State.LOST, target="cluster"),
    )

    assert then.claims == {"a": 0, "c": 1}


def test_nothing_more_is_taken_up_once_it_gave_up() -> None:
    begun = NEW.begun({}).claimed("abc")

    assert reviewed(begun, record("a", State.PENDING, 0), gave_up=True).is_over


states = st.sampled_from([State.PENDING, State.LOST, State.SUCCEEDED, State.FAILED, State.QUEUED])


@given(st.data())
def test_it_ends_however_often_something_is_left(data: st.DataObject) -> None:
    """What is made stays made; without anything made it loses its patience."""
    agenda = replace(NEW, after={"c": "a"}).begun({})
    known = dict.fromkeys(NEW.wanted, State.PENDING)

    for _ in range((len(known) + 1) * PATIENCE + 1):
        if agenda.is_over:
            break
        claimed = [run for run in agenda.claims or () if data.draw(st.booleans())]
        agenda = agenda.claimed(claimed)
        known = {
            run: state if state is State.SUCCEEDED else data.draw(states)
            for run, state in known.items()
        }
        agenda = reviewed(agenda, *(record(run, state) for run, state in known.items()))

    assert agenda.is_over
