"""The blend is the weighted mean of the maps."""

from __future__ import annotations

import cv2
import numpy as np

from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines.preview import blend

SHAPE = (32, 48)


def colour(seed: int) -> Pixels:
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
    return np.asarray(cv2.resize(blocks, SHAPE[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def grey(seed: int) -> Pixels:
    return np.ascontiguousarray(colour(seed)[..., 0])


def as_rgb(image: Pixels) -> Pixels:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def mixed(layers: list[tuple[float, Pixels]]) -> Pixels:
    packed = np.zeros((SHAPE[0] * 3 // 2, SHAPE[1]), np.uint8)
    pictures = [(weight, blend.planes(image)) for weight, image in layers]
    blend.blend(pictures, blend.split(packed, SHAPE))
    return packed


def test_the_blend_is_the_mean_weighted_by_the_share_of_each_weight() -> None:
    layers = [(0.7, colour(1)), (0.2, grey(2)), (0.5, grey(3)), (0.6, colour(4))]
    total = sum(weight for weight, _ in layers)
    mean = sum(weight / total * as_rgb(image).astype(float) for weight, image in layers)
    exact = cv2.cvtColor(np.rint(mean).astype(np.uint8), cv2.COLOR_RGB2YUV_I420)

    packed = mixed(layers)

    assert np.abs(packed.astype(int) - exact).max() <= 3


def test_one_map_is_shown_as_it_is_whatever_its_weight() -> None:
    packed = mixed([(0.1, colour(1))])

    assert np.array_equal(packed, cv2.cvtColor(colour(1), cv2.COLOR_RGB2YUV_I420))


def test_grey_maps_alone_have_no_colour() -> None:
    packed = mixed([(0.3, grey(1)), (0.3, grey(2))])

    chroma = packed[SHAPE[0] :]
    assert (chroma == 128).all()
