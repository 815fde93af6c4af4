"""Ranges are exact: what a person would write down by hand."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.config import ranges

HUNDREDTHS = st.integers(-100_000, 100_000)


def test_a_range_includes_its_stop_when_the_steps_reach_it() -> None:
    assert ranges.values(0.1, 0.9, 0.2) == (0.1, 0.3, 0.5, 0.7, 0.9)


def test_a_range_ends_before_a_stop_that_the_steps_pass_over() -> None:
    assert ranges.values(0.1, 0.85, 0.2) == (0.1, 0.3, 0.5, 0.7)


def test_whole_numbers_stay_whole() -> None:
    values = ranges.values(1, 4, 1.5)

    assert values == (1, 2.5, 4)
    assert [type(value) for value in values] == [int, float, int]


def test_a_range_that_goes_down_or_stands_is_empty() -> None:
    assert ranges.count(1, 0, 0.1) == ranges.count(0, 1, 0) == ranges.count(0, 1, -1) == 0


def test_a_huge_range_is_counted_and_not_made() -> None:
    assert ranges.count(0, 9e14, 1e-5) == 9 * 10**19 + 1


@given(HUNDREDTHS, HUNDREDTHS, st.integers(1, 1000))
def test_ranges_are_exact_in_decimal_arithmetic(start: int, length: int, step: int) -> None:
    stop = start + abs(length) % (300 * step)

    values = ranges.values(start / 100, stop / 100, step / 100)

    assert values == tuple(hundredths / 100 for hundredths in range(start, stop + 1, step))
    assert ranges.count(start / 100, stop / 100, step / 100) == len(values)


@given(st.integers(0, 100_000))
def test_weights_snap_to_the_nearest_hundredth(thousandths: int) -> None:
    snapped = ranges.snapped(thousandths / 1000)

    assert abs(Fraction(str(snapped)) - Fraction(thousandths, 1000)) <= Fraction(5, 1000)
    assert (Fraction(str(snapped)) * 100).denominator == 1
