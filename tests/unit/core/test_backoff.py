"""Pauses between tries: they grow to a limit, and chance only shortens them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.core.backoff import Backoff


def test_each_pause_is_longer_until_the_longest() -> None:
    backoff = Backoff(0.25, 2.0, 1.5)

    assert [backoff.pause(number) for number in range(8)] == [
        *(0.25 * 1.5**number for number in range(6)),
        2.0,
        2.0,
    ]


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_chance_takes_away_no_more_than_its_part(number: int, spread: float) -> None:
    steady = Backoff(0.5, 15.0).pause(number)

    pause = Backoff(0.5, 15.0, spread=spread).pause(number)

    assert steady * (1 - spread) - 1e-9 <= pause <= steady
