"""What a plan will cost, as far as the past tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_jobs import estimate
from cosmos_jobs.model import Attempt, Desired, Estimate, Record, State
from tests.unit.examples import PLAIN, record, runs

RUNS = runs(PLAIN + "params: {seed: {start: 1, stop: 10, step: 1}}\n")


def batch(
    name: str, members: tuple[Desired, ...], seconds: float, state: State = State.SUCCEEDED
) -> list[Record]:
    """Return the records of a batch; its runs finish one after the other."""
    attempts = [
        Attempt(name, "local", state, 100.0, 100.0 + seconds * (number + 1) / len(members))
        for number in range(len(members))
    ]
    return [
        replace(record(each, state), attempts=(attempt,))
        for each, attempt in zip(members, attempts, strict=True)
    ]


def test_the_model_is_loaded_once_for_a_batch() -> None:
    records = batch("ba_1", RUNS[:4], 400)

    assert estimate.seconds_per_run(records, "preview", "local") == 100


def test_one_odd_batch_does_not_spoil_the_estimate() -> None:
    records = [
        *batch("ba_1", RUNS[:4], 400),
        *batch("ba_2", RUNS[4:8], 440),
        *batch("ba_3", RUNS[8:9], 90_000),
    ]

    assert estimate.seconds_per_run(records, "preview", "local") == 110


def test_only_the_same_engine_and_target_count() -> None:
    records = batch("ba_1", RUNS[:4], 400)

    assert estimate.seconds_per_run(records, "preview", "h100") is None
    assert estimate.seconds_per_run(records, "transfer1", "local") is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.SUCCEEDED])
def test_batches_that_did_not_succeed_say_nothing(state: State) -> None:
    records = [*batch("ba_1", RUNS[:2], 400), *batch("ba_1", RUNS[2:3], 3, state)]

    assert estimate.seconds_per_run(records, "preview", "local") is None


def test_records_without_times_say_nothing() -> None:
    never = replace(record(RUNS[0], State.SUCCEEDED), attempts=())
    untimed = replace(
        record(RUNS[1], State.SUCCEEDED), attempts=(Attempt("ba", "local", State.SUCCEEDED),)
    )

    assert estimate.seconds_per_run([never, untimed], "preview", "local") is None


def test_runs_are_spread_over_the_slots() -> None:
    assert estimate.estimate(8, 60.0, 4, 2) == Estimate(8, 0, 120.0, 8 * 60 * 2 / 3600)


def test_fewer_runs_than_slots_take_as_long_as_one() -> None:
    assert estimate.estimate(1, 60.0, 8, 1).wall_s == 60
    assert estimate.estimate(9, 60.0, 8, 1).wall_s == 120
    assert estimate.estimate(0, 60.0, 8, 1).wall_s == 0


def test_without_a_history_nothing_is_promised() -> None:
    assert estimate.estimate(8, None, 4, 1) == Estimate(8, 8, 0.0, 0.0)


def test_targets_work_at_the_same_time_and_each_does_one_job_after_the_other() -> None:
    total = estimate.total(
        [
            ("local", Estimate(2, 0, 60.0, 0.5)),
            ("h100", Estimate(3, 1, 90.0, 0.25)),
            ("local", Estimate(1, 0, 50.0, 0.25)),
        ]
    )

    assert total == Estimate(6, 1, 110.0, 1.0)


def test_hours_cost_what_the_target_says() -> None:
    cost = estimate.estimate(10, 360.0, slots=2, gpus_per_slot=4, price_per_gpu_hour=2.5)

    assert (cost.wall_s, cost.gpu_hours, cost.price) == (1800.0, 4.0, 10.0)
    assert estimate.total([("a", cost), ("b", cost)]).price == 20.0
