"""How records move: each look at a batch changes them once, and never for the worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.record import IN_FLIGHT, Attempt, Output, Record, State
from cosmos_jobs.plan import lifecycle
from tests.support.examples import OUTPUT, PLAIN, runs

DESIRED = runs(PLAIN)[0]
RUN = DESIRED.run
BATCH = Batch("ba_1", "preview", "local", (RUN.id,))
NEW = lifecycle.adopt(None, DESIRED, {})
QUEUED = lifecycle.queue(NEW, BATCH)
MADE = Outcome(State.SUCCEEDED)
ENDS = (State.SUCCEEDED, State.FAILED, State.BLOCKED, State.CANCELLED)


def observed(
    record: Record,
    life: Life,
    outcome: Outcome | None = None,
    output: Output | None = None,
    *,
    now: float = 99.0,
) -> Record:
    exit_code = 0 if life is Life.EXITED else None
    finished = 50.0 if life is Life.EXITED else None
    status = Status(life, exit_code, None if life is Life.ABSENT else 10.0, finished)
    return lifecycle.observe(record, BATCH, status, outcome, output, now)


# --- claiming -----------------------------------------------------------------------------


def test_a_new_record_is_pending_and_knows_its_place() -> None:
    assert Record(RUN, {"x": "golden/pier-default"}) == NEW
    assert NEW.state is State.PENDING


def test_a_known_record_gains_a_job_and_moves_with_a_renamed_label() -> None:
    other = lifecycle.adopt(NEW, replace(DESIRED, job="other"), {})
    moved = lifecycle.adopt(other, replace(DESIRED, label="renamed"), {})

    assert other.jobs == {"x": DESIRED.place, "other": DESIRED.place}
    assert moved.jobs == {"x": "golden/renamed", "other": DESIRED.place}
    assert lifecycle.adopt(moved, replace(DESIRED, label="renamed"), {}) is moved


def test_a_job_that_gives_a_run_up_leaves_the_others() -> None:
    record = replace(NEW, jobs={"x": "a", "other": "b"})

    assert lifecycle.leave(record, "x").jobs == {"other": "b"}


def test_a_claimed_run_has_an_attempt_more_and_no_output() -> None:
    done = observed(QUEUED, Life.EXITED, MADE, OUTPUT)

    again = lifecycle.queue(done, replace(BATCH, id="ba_2"))

    assert [each.batch for each in again.attempts] == ["ba_1", "ba_2"]
    assert again.attempts[0] == done.attempts[0]
    assert (again.state, again.output, again.reason) == (State.QUEUED, None, "")


# --- observing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "state"),
    [
        (Life.ABSENT, State.QUEUED),
        (Life.RUNNING, State.RUNNING),
        (Life.EXITED, State.FAILED),
        (Life.CANCELLED, State.CANCELLED),
        (Life.GONE, State.LOST),
    ],
)
def test_without_an_outcome_the_host_decides(life: Life, state: State) -> None:
    after = observed(QUEUED, life)

    assert after.state is state
    assert bool(after.reason) == (state not in IN_FLIGHT)


@pytest.mark.parametrize("life", [life for life in Life if life is not Life.ABSENT])
@pytest.mark.parametrize("state", [State.FAILED, State.BLOCKED])
def test_what_the_files_say_wins_over_what_the_host_says(life: Life, state: State) -> None:
    after = observed(QUEUED, life, Outcome(state, "because"))

    assert (after.state, after.reason) == (state, "because")


@pytest.mark.parametrize("life", list(Life))
def test_a_success_without_its_output_stays_in_flight(life: Life) -> None:
    for record in (QUEUED, observed(QUEUED, Life.RUNNING)):
        assert observed(record, life, MADE) is record


@pytest.mark.parametrize("life", list(Life))
def test_a_success_with_its_output_is_one(life: Life) -> None:
    after = observed(QUEUED, life, MADE, OUTPUT)

    assert (after.state, after.reason, after.output) == (State.SUCCEEDED, "", OUTPUT)


def test_an_attempt_remembers_when_and_how_it_ended() -> None:
    after = observed(observed(QUEUED, Life.RUNNING), Life.EXITED, Outcome(State.FAILED, "no"))

    assert after.attempts == (Attempt("ba_1", "local", State.FAILED, 10.0, 50.0, 0, reason="no"),)


def test_a_run_that_ends_before_its_batch_ends_now() -> None:
    after = observed(QUEUED, Life.RUNNING, MADE, OUTPUT, now=33.0)

    assert after.last == Attempt("ba_1", "local", State.SUCCEEDED, 10.0, 33.0)


def test_a_later_batch_of_the_same_run_is_not_touched_by_an_earlier_one() -> None:
    failed = observed(QUEUED, Life.EXITED)
    again = lifecycle.queue(failed, replace(BATCH, id="ba_2"))

    assert observed(again, Life.EXITED, MADE, OUTPUT) is again


outcomes = st.none() | st.builds(Outcome, st.sampled_from(ENDS), st.sampled_from(["", "no"]))
looks = st.tuples(st.sampled_from(Life), outcomes, st.none() | st.just(OUTPUT))
records = st.builds(
    lambda state, batch: replace(
        QUEUED, state=state, attempts=(Attempt(batch, "local", state),) if batch else ()
    ),
    st.sampled_from(State),
    st.sampled_from(["ba_1", "ba_2", ""]),
)


@given(records, looks, st.floats(0, 1e9), st.floats(0, 1e9))
def test_looking_twice_changes_nothing(
    record: Record,
    look: tuple[Life, Outcome | None, Output | None],
    first: float,
    second: float,
) -> None:
    once = observed(record, *look, now=first)

    assert observed(once, *look, now=second) is once


@given(records, st.lists(looks, max_size=6))
def test_what_has_ended_stays_as_it_ended(
    record: Record, looks: list[tuple[Life, Outcome | None, Output | None]]
) -> None:
    for look in looks:
        after = observed(record, *look)
        if record.state not in IN_FLIGHT:
            assert after is record
        assert (after.output is not None) <= (after.state is State.SUCCEEDED)
        # An attempt that never began does not count.
        unbegun = after.state is State.PENDING and record.state in IN_FLIGHT
        assert len(after.attempts) == len(record.attempts) - unbegun
        assert after.run == record.run
        record = after


# --- waiting, refused, out of sight ---------------------------------------------------------


def test_a_batch_that_waits_for_a_gpu_says_for_whom() -> None:
    status = Status(Life.RUNNING, waits_for="GPU 0, used by ba_2 of ann@laptop")
    waiting = lifecycle.observe(QUEUED, BATCH, status, None, None, 9.0, "gpu-1")

    assert waiting.state is State.QUEUED
    assert waiting.reason == "waits for GPU 0, used by ba_2 of ann@laptop"
    begun = Status(Life.RUNNING, started=10.0, gpu="0")
    running = lifecycle.observe(waiting, BATCH, begun, None, None, 9.0, "gpu-1")
    assert (running.state, running.reason) == (State.RUNNING, "")
    assert running.last is not None
    assert (running.last.host, running.last.gpu) == ("gpu-1", "0")


def test_a_batch_that_was_refused_counts_as_no_attempt() -> None:
    status = Status(Life.REFUSED, others=("ba_2",))

    after = lifecycle.observe(QUEUED, BATCH, status, None, None, 9.0)

    assert after == replace(NEW, passed=("ba_1",))


def test_lost_contact_changes_no_state() -> None:
    running = observed(QUEUED, Life.RUNNING)

    unseen = lifecycle.unseen(running, BATCH, "no contact with gpu-1 since noon")

    assert unseen.state is State.RUNNING
    assert unseen.reason == "no contact with gpu-1 since noon"
    assert observed(unseen, Life.RUNNING).reason == ""
    made = observed(unseen, Life.EXITED, MADE, OUTPUT)
    assert made.state is State.SUCCEEDED
    assert lifecycle.unseen(made, BATCH, "no contact") is made


# --- crashes ------------------------------------------------------------------------------

CRASHED = Outcome(State.FAILED, "it fell", crashed=True)


def test_a_run_that_took_its_batch_with_it_gets_one_more_chance_by_itself() -> None:
    once = observed(QUEUED, Life.EXITED, CRASHED)
    again = lifecycle.queue(once, replace(BATCH, id="ba_2"))
    status = Status(Life.EXITED, 1, 10.0, 50.0)
    twice = lifecycle.observe(again, replace(BATCH, id="ba_2"), status, CRASHED, None, 99.0)

    assert (once.state, once.reason) == (State.PENDING, "crashed its batch: it fell")
    assert [each.state for each in once.attempts] == [State.FAILED]
    assert lifecycle.is_suspect(once)
    assert (twice.state, twice.reason) == (State.FAILED, "it fell")
    assert len(twice.attempts) == 2


def test_a_run_that_never_began_has_lost_nothing() -> None:
    after = observed(QUEUED, Life.EXITED, Outcome(State.PENDING))

    assert after == replace(NEW, passed=("ba_1",))
    assert after.batches == {"ba_1"}, "its machine has that batch down for it"
    assert not lifecycle.is_suspect(after)
