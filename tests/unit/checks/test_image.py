from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cosmos_jobs.checks import image as image_numbers

Picture = NDArray[np.uint8]


def scene(shift: int = 0, seed: int = 1) -> Picture:
    """Return blocks of colour before noise that is smooth: something with edges and texture."""
    noise = np.random.default_rng(seed).integers(0, 256, (18, 32, 3), np.uint8)
    picture = np.asarray(cv2.resize(noise, (320, 180), interpolation=cv2.INTER_CUBIC), np.uint8)
    picture[40:120, 60 + shift : 140 + shift] = (200, 40, 40)
    return np.ascontiguousarray(picture)


def mask(columns: slice) -> NDArray[np.bool_]:
    made = np.zeros((100, 100), np.bool_)
    made[:, columns] = True
    return made


def test_edge_f1_is_one_for_the_same_edges_and_zero_for_none_in_common() -> None:
    edges = image_numbers.edges(scene())

    assert edges.any()
    assert image_numbers.edge_f1(edges, edges) == 1
    assert image_numbers.edge_f1(mask(slice(0, 10)), mask(slice(50, 60))) == 0
    assert image_numbers.edge_f1(mask(slice(0, 0)), mask(slice(0, 0))) == 1


def test_edge_f1_weighs_precision_and_recall_alike() -> None:
    wanted, half, double = (mask(slice(0, each)) for each in (20, 10, 40))

    assert image_numbers.edge_f1(half, wanted) == pytest.approx(2 / 3)
    assert image_numbers.edge_f1(double, wanted) == pytest.approx(2 / 3)


def test_blur_ssim_forgives_fine_detail_but_not_another_picture() -> None:
    picture = scene()
    noise = np.random.default_rng(2).integers(-12, 12, picture.shape)
    noisy = (picture.astype(int) + noise).clip(0, 255).astype(np.uint8)
    blurred, of_noisy, other = map(image_numbers.blurred, (picture, noisy, scene(seed=3)))

    assert image_numbers.blur_ssim(blurred, blurred) == pytest.approx(1)
    assert image_numbers.blur_ssim(of_noisy, blurred) > 0.9
    assert image_numbers.blur_ssim(other, blurred) < 0.8


def test_boundaries_are_met_within_a_tolerance_whatever_the_labels_are_called() -> None:
    def segmented(column: int, colours: tuple[int, int]) -> NDArray[np.bool_]:
        image = np.full((180, 320, 3), colours[0], np.uint8)
        image[:, column:] = colours[1]
        return image_numbers.boundaries(image)

    here = segmented(100, (10, 200))

    assert image_numbers.boundary_f1(segmented(102, (90, 255)), here) == 1
    assert image_numbers.boundary_f1(segmented(160, (10, 200)), here) == 0
    assert image_numbers.boundary_f1(segmented(100, (9, 9)), segmented(100, (9, 9))) == 1
    assert image_numbers.boundary_f1(segmented(100, (9, 9)), here) == 0


def test_an_error_of_scale_costs_depth_nothing() -> None:
    depth = np.tile(np.arange(1, 101, dtype=np.uint8), (50, 1))
    doubled = (2 * (depth.astype(int) + 1) - 1).astype(np.uint8)  # of ln(value + 1)

    assert image_numbers.depth_si_rmse(depth, depth) == 0
    assert image_numbers.depth_si_rmse(doubled, depth) == pytest.approx(0, abs=1e-12)
    assert image_numbers.depth_si_rmse(depth[:, ::-1], depth) > 1


def test_what_moves_does_not_flicker_but_a_change_of_light_does() -> None:
    before, moved = scene(), np.roll(scene(), 3, axis=1)
    lit = (before.astype(int) + 25).clip(0, 255).astype(np.uint8)

    still, moving, lighter = (image_numbers.flicker(before, each) for each in (before, moved, lit))

    assert still is not None and moving is not None and lighter is not None
    assert still == pytest.approx(0, abs=1e-3)
    assert moving < 0.02
    assert lighter == pytest.approx(25 / 255, rel=0.2)


def test_a_blurred_picture_is_less_sharp() -> None:
    picture = scene()
    blurred = np.asarray(cv2.GaussianBlur(picture, (9, 9), 0), np.uint8)

    assert image_numbers.sharpness(blurred) < image_numbers.sharpness(picture) / 2


def test_fingerprints_are_alike_for_one_picture_at_any_size_and_not_for_others() -> None:
    picture = scene()
    small = np.asarray(cv2.resize(picture, (160, 90), interpolation=cv2.INTER_AREA), np.uint8)
    prints = [image_numbers.fingerprint(each) for each in (picture, small, scene(seed=9))]

    assert all(0 <= each < 2**64 for each in prints)
    assert (prints[0] ^ prints[1]).bit_count() <= 4
    assert (prints[0] ^ prints[2]).bit_count() > 12
