"""A batch in flight: each thing that is seen of it moves it on once, and never loses a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs import engines
from cosmos_jobs.apply.in_flight import (
    Assigned,
    Cancelled,
    Damaged,
    Dropped,
    Fetched,
    Freed,
    InFlight,
    InputMissing,
    NothingToSend,
    Observation,
    Phase,
    Polled,
    Recorded,
    Refused,
    Sent,
    Stopped,
    Submitted,
    advance,
)
from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.record import State
from tests.support.examples import OUTPUT

RUNS = ("rs_a", "rs_b")
BATCH = Batch("ba_1", "preview", "pool", RUNS)
NEW = InFlight(batch=BATCH, engine=engines.get("preview"), is_ours=True)
HERE = Assigned(replace(BATCH, host="one"), "one", True)
MADE = Outcome(State.SUCCEEDED)


def seen(*observations: Observation, of: InFlight = NEW) -> InFlight:
    for each in observations:
        of = advance(of, each)
    return of


def polled(life: Life, **outcomes: Outcome) -> Polled:
    return Polled(Status(life), outcomes=outcomes)


def everything(ended: frozenset[str] = frozenset(RUNS)) -> Recorded:
    return Recorded((), ended)


def test_a_batch_goes_through_its_phases_in_order() -> None:
    steps: list[Observation] = [
        HERE,
        Sent(1.0),
        Submitted(2.0),
        polled(Life.RUNNING),
        polled(Life.EXITED, rs_a=MADE),
        everything(),
    ]

    phases = [seen(*steps[:number]).phase for number in range(len(steps) + 1)]

    assert phases == list(Phase)


def test_one_that_was_sent_is_not_freed_for_another_machine() -> None:
    assert seen(HERE, Freed()).phase is Phase.UNASSIGNED
    assert seen(HERE, Sent(1.0), Freed()).machine == "one"
    assert seen(HERE, Sent(1.0), Refused(), Freed()).phase is Phase.UNASSIGNED


def test_one_that_another_process_claimed_stays_where_that_has_put_it() -> None:
    theirs = replace(NEW, is_ours=False, machine="one")

    assert advance(theirs, Freed()) == theirs


def test_one_that_another_process_gave_to_a_machine_is_no_longer_ours() -> None:
    after = seen(Assigned(replace(BATCH, host="two"), "two", False))

    assert (after.machine, after.is_ours) == ("two", False)


def test_what_a_look_saw_while_it_was_sent_is_of_no_account() -> None:
    after = seen(HERE, Sent(1.0), polled(Life.ABSENT), Submitted(2.0))

    assert not after.is_looked_at
    assert after.sent == 2.0


def test_a_machine_that_forgot_it_may_get_it_again() -> None:
    after = seen(HERE, Sent(1.0), Submitted(2.0), polled(Life.RUNNING), polled(Life.ABSENT))

    assert after.phase is Phase.TAKEN
    assert after.is_looked_at


def test_a_run_without_inputs_fails_and_the_others_go_on() -> None:
    after = seen(HERE, InputMissing("rs_a", "the video is gone"), Sent(1.0), Submitted(2.0))

    assert after.outcomes == {"rs_a": Outcome(State.FAILED, "the video is gone")}
    assert after.news == ("rs_a",)
    assert after.phase is Phase.TAKEN


def test_a_batch_of_which_nothing_can_be_made_is_given_to_nobody() -> None:
    missing = [InputMissing(run, "gone") for run in RUNS]

    after = seen(HERE, *missing, NothingToSend(1.0))

    assert after.news == RUNS
    assert after.is_out


def test_an_output_is_due_until_it_is_here_or_will_not_come() -> None:
    made = seen(HERE, polled(Life.EXITED, rs_a=MADE, rs_b=MADE))

    assert made.due == RUNS
    assert made.news == ()
    assert advance(made, Fetched("rs_a", OUTPUT)).due == ("rs_b",)
    assert advance(made, Fetched("rs_a", OUTPUT)).news == ("rs_a",)
    assert advance(made, Damaged("rs_a", "no video")).due == ("rs_b",)
    assert advance(made, Dropped(frozenset({"rs_a", "rs_x"}))).due == ("rs_b",)


def test_what_did_not_arrive_stays_a_failure_however_often_it_is_looked_at() -> None:
    made = polled(Life.EXITED, rs_a=MADE, rs_b=MADE)

    after = seen(HERE, made, Damaged("rs_a", "no video"), made)

    assert after.outcomes["rs_a"].state is State.FAILED


outputs = st.builds(Fetched, st.sampled_from(RUNS), st.just(OUTPUT))
polls = st.builds(
    lambda life, outcomes: Polled(Status(life, started=1.0), outcomes=outcomes),
    st.sampled_from(Life),
    st.dictionaries(st.sampled_from(RUNS), st.sampled_from([MADE, Outcome(State.FAILED, "no")])),
)
observations: st.SearchStrategy[Observation] = st.one_of(
    st.builds(Assigned, st.just(BATCH), st.sampled_from(["one", "two"]), st.booleans()),
    st.sampled_from([Freed(), Refused(), Cancelled(), Stopped(), Sent(1.0), Submitted(2.0)]),
    st.builds(InputMissing, st.sampled_from(RUNS), st.just("gone")),
    st.builds(Damaged, st.sampled_from(RUNS), st.just("no video")),
    st.builds(Dropped, st.frozensets(st.sampled_from([*RUNS, "rs_x"]))),
    st.just(NothingToSend(1.0)),
    outputs,
    polls,
)


@given(st.lists(observations), observations)
def test_to_see_the_same_twice_is_to_see_it_once(
    before: list[Observation], last: Observation
) -> None:
    once = seen(*before, last)

    again = advance(once, last)

    assert replace(again, submissions=0) == replace(once, submissions=0)


@given(st.lists(observations))
def test_no_run_is_forgotten_whatever_is_seen(before: list[Observation]) -> None:
    """Each is ended, told, made and to be fetched, or still to come of a batch that is followed."""
    after = seen(*before)

    for run in RUNS:
        is_told = run in after.news or after.stage == after.recorded
        is_to_come = not after.is_final and run not in after.outcomes
        assert run in after.ended or run in after.due or is_told or is_to_come
    assert (after.phase is Phase.SETTLED) == (after.ended == set(RUNS))


@given(st.lists(observations))
def test_once_all_that_is_new_is_recorded_there_is_no_news(before: list[Observation]) -> None:
    after = seen(*before)
    failed = {run for run in after.news if run in after.outcomes or after.is_final}

    recorded = advance(after, Recorded(after.stage, frozenset(failed)))

    assert recorded.news == ()


@given(st.lists(observations))
def test_an_ended_run_never_comes_back(before: list[Observation]) -> None:
    ended = advance(NEW, Dropped(frozenset({"rs_a"})))

    after = seen(*before, of=ended)

    assert "rs_a" in after.ended
    assert "rs_a" not in (*after.due, *after.news)


@pytest.mark.parametrize("life", list(Life))
def test_one_that_a_machine_may_have_is_never_without_a_machine(life: Life) -> None:
    out = seen(HERE, Sent(1.0), Submitted(2.0), polled(life))

    assert advance(out, Freed()).machine == "one"
