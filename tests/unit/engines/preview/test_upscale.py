"""What a plain resize makes of a picture: its size, and the filter that is meant."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.engines.preview import upscale

SIDES = st.integers(1, 8000)


@pytest.mark.parametrize(
    ("size", "factor", "result"),
    [
        ((1280, 704), Fraction(3), (3840, 2112)),  # what Transfer1's upscaler makes
        ((704, 1280), Fraction(3), (2112, 3840)),
        ((640, 480), Fraction(3), (1920, 1440)),
        ((101, 51), Fraction(3), (302, 152)),
        ((1920, 1080), Fraction(2), (3840, 2160)),
        ((1300, 700), Fraction(192, 65), (3840, 2066)),
        ((1080, 1920), Fraction(2), (2160, 3840)),
        ((3840, 2112), Fraction(1), (3840, 2112)),
        ((5001, 2001), Fraction(1), (5000, 2000)),
        ((1, 1), Fraction(3), (2, 2)),
    ],
)
def test_pictures_grow_by_3_or_by_what_fits(
    size: tuple[int, int], factor: Fraction, result: tuple[int, int]
) -> None:
    assert upscale.factor(size) == factor
    assert upscale.enlarged(size) == result


@given(SIDES, SIDES)
def test_sizes_are_even_and_the_longer_side_is_never_made_longer_than_4k(
    width: int, height: int
) -> None:
    result = upscale.enlarged((width, height))

    assert all(side % 2 == 0 and side >= 2 for side in result)
    assert max(result) <= max(3840, width, height)
    for side, grown in zip((width, height), result, strict=True):
        assert abs(grown - side * upscale.factor((width, height))) < 2


def test_pictures_are_resized_by_lanczos() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (20, 32, 3), np.uint8)

    made = upscale.picture(frame, (96, 60))

    assert np.array_equal(made, cv2.resize(frame, (96, 60), interpolation=cv2.INTER_LANCZOS4))


def test_a_picture_that_is_large_enough_stays_as_it_is() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (20, 32, 3), np.uint8)

    assert np.array_equal(upscale.picture(frame, (32, 20)), frame)
