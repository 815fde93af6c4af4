"""Control maps equal the calls that the model makes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview import recipes
from cosmos_jobs.engines.preview.buckets import COSMOS3, RESOLUTIONS, bucket
from cosmos_jobs.engines.preview.probes import Video
from cosmos_jobs.engines.preview.requests import Params


def scene(width: int = 160, height: int = 96) -> Pixels:
    """Return blocks of colour with texture."""
    random = np.random.default_rng(7)
    blocks = random.integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    large = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.add(large, random.integers(0, 20, large.shape, np.uint8)), np.uint8)


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    [
        ("none", 20, 50),
        ("very_low", 20, 50),
        ("low", 50, 100),
        ("medium", 100, 200),
        ("high", 200, 300),
        ("very_high", 300, 400),
    ],
)
def test_edge_presets_are_the_canny_thresholds_of_the_model(
    preset: str, low: int, high: int
) -> None:
    frame = scene()

    edges = filters.edge(frame, *filters.EDGE_THRESHOLDS[preset])

    assert np.array_equal(edges, cv2.Canny(frame, low, high))
    assert set(np.unique(edges)) <= {0, 255}


@pytest.mark.parametrize(
    ("preset", "downscale", "factor"),
    [
        ("none", 1, 1),
        ("very_low", 1, 4),
        ("low", 4, 4),
        ("medium", 2, 10),
        ("high", 1, 16),
        ("very_high", 4, 16),
    ],
)
def test_vis_presets_are_the_models_bilateral_and_bicubic(
    preset: str, downscale: int, factor: int
) -> None:
    frame = scene()
    small = (160 // downscale, 96 // downscale)
    shrunk = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    smooth = cv2.bilateralFilter(shrunk, 30, 150, 100)
    expected = np.asarray(cv2.resize(smooth, (160, 96), interpolation=cv2.INTER_LINEAR), np.uint8)
    if factor > 1:
        expected = resized(resized(expected, 160 // factor, 96 // factor), 160, 96)

    blurred = filters.vis(frame, *filters.BLUR_FACTORS[preset])

    assert np.abs(blurred.astype(int) - expected).max() <= 1


def resized(image: Pixels, width: int, height: int) -> Pixels:
    """Return what torchvision 0.29.1 makes of an image, give or take a level (compared once)."""
    down, across = bicubic(image.shape[0], height), bicubic(image.shape[1], width)
    exact = np.einsum("yh,hwc,xw->yxc", down, image.astype(float), across, optimize=True)
    return np.asarray(exact.round().clip(0, 255), np.uint8)


def bicubic(size: int, wanted: int) -> np.ndarray:
    """Return the matrix of an antialiased bicubic (a = -0.5) along one side."""
    scale = size / wanted
    support = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    distance = np.abs((np.arange(size) + 0.5)[None, :] - centres[:, None]) / support
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    kernel = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def test_hard_edges_are_blurred_as_by_the_model() -> None:
    corners = np.zeros((96, 160, 3), np.uint8)
    corners[::32, :] = corners[:, ::32] = corners[40:60, 50:90] = 255
    before = filters.vis(corners, 2, 1)

    blurred = filters.vis(corners, 2, 10)

    expected = resized(resized(before, 16, 9), 160, 96)
    assert np.abs(blurred.astype(int) - expected).max() <= 1


def test_supplied_maps_are_resized_as_the_model_does() -> None:
    frame = scene()
    expected = {
        "edge": cv2.INTER_LINEAR,
        "vis": cv2.INTER_AREA,
        "depth": cv2.INTER_LINEAR,
        "seg": cv2.INTER_NEAREST,
    }

    for kind, interpolation in expected.items():
        resized = filters.resize(frame, (64, 32), filters.FILE_INTERPOLATION[kind])

        assert np.array_equal(resized, cv2.resize(frame, (64, 32), interpolation=interpolation))


def test_the_segmentation_stand_in_has_few_colours_and_always_the_same() -> None:
    frame = scene()

    first = filters.quantised(frame, filters.palette_table([frame]))
    second = filters.quantised(frame, filters.palette_table([frame]))

    assert np.array_equal(first, second)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) <= 12


def test_a_frame_of_one_colour_has_a_palette_too() -> None:
    black = np.zeros((32, 32, 3), np.uint8)

    assert filters.quantised(black, filters.palette_table([black])).max() == 0


@pytest.mark.parametrize(
    ("resolution", "width", "height", "expected"),
    [
        ("720", 1920, 1080, (1280, 704)),
        ("720", 640, 480, (960, 704)),
        ("720", 480, 640, (704, 960)),
        ("720", 500, 500, (960, 960)),
        ("720", 1080, 1920, (704, 1280)),
        ("720", 3000, 500, (1280, 704)),
        ("1080", 1920, 1080, (1920, 1056)),
        ("480", 1280, 720, (768, 432)),
        ("480p", 1280, 720, (832, 480)),
        ("256", 640, 480, (320, 256)),
    ],
)
def test_a_video_gets_the_bucket_of_the_nearest_aspect(
    resolution: str, width: int, height: int, expected: tuple[int, int]
) -> None:
    assert bucket(resolution, width, height) == expected


def test_every_bucket_can_be_encoded_with_halved_chroma() -> None:
    sizes = [
        bucket(name, width, height, model)
        for model, names in RESOLUTIONS.items()
        for name in names
        for width, height in ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
    ]

    assert all(width % 2 == 0 and height % 2 == 0 for width, height in sizes)


# --- Cosmos 3 -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "width", "height", "expected"),
    [
        ("768", 1920, 1080, (1360, 768)),
        ("720", 1920, 1080, (1280, 720)),
        ("720", 640, 480, (1104, 832)),
        ("720", 480, 640, (832, 1104)),
        ("720", 500, 500, (960, 960)),
        ("480", 1080, 1920, (480, 832)),
        ("480", 640, 480, (736, 544)),
        ("256", 1280, 720, (320, 192)),
    ],
)
def test_cosmos_3_has_sizes_of_its_own(
    resolution: str, width: int, height: int, expected: tuple[int, int]
) -> None:
    assert bucket(resolution, width, height, COSMOS3) == expected


@pytest.mark.parametrize(
    ("size", "bucket_size"),
    [
        ((160, 96), (64, 48)),  # too wide, and larger
        ((96, 160), (64, 48)),  # too high
        ((41, 33), (64, 48)),  # smaller
        ((64, 50), (64, 48)),  # nothing to scale
    ],
)
def test_cosmos_3_scales_in_proportion_and_cuts_out_the_middle(
    size: tuple[int, int], bucket_size: tuple[int, int]
) -> None:
    frame = scene(160, 160)[: size[1], : size[0]]
    wide, high = bucket_size
    scale = max(wide / size[0], high / size[1])
    width, height = int(np.ceil(scale * size[0])), int(np.ceil(scale * size[1]))
    down, across = bilinear(size[1], height), bilinear(size[0], width)
    whole = np.einsum("yh,hwc,xw->yxc", down, frame.astype(float), across, optimize=True)
    left, top = round((width - wide) / 2), round((height - high) / 2)
    expected = whole[top : top + high, left : left + wide].round()

    covered = filters.cover(frame, bucket_size)

    assert covered.shape == (high, wide, 3)
    assert np.abs(covered.astype(int) - expected).max() <= 1


def bilinear(size: int, wanted: int) -> np.ndarray:
    """Return the matrix of an antialiased bilinear along one side."""
    scale = size / wanted
    support = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    distance = np.abs((np.arange(size) + 0.5)[None, :] - centres[:, None]) / support
    kernel = np.clip(1 - distance, 0, None)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def test_a_frame_of_the_right_size_is_left_as_it_is() -> None:
    frame = scene()

    assert np.array_equal(filters.cover(frame, (160, 96)), frame)


def test_vis_of_cosmos_3_ends_with_opencvs_bicubic() -> None:
    frame = scene()
    before = filters.vis(frame, 2, 1)
    small = cv2.resize(before, (16, 9), interpolation=cv2.INTER_CUBIC)
    expected = cv2.resize(small, (160, 96), interpolation=cv2.INTER_CUBIC)

    blurred = filters.vis(frame, 2, 10, antialias=False)

    assert np.array_equal(blurred, expected)
    assert not np.array_equal(blurred, filters.vis(frame, 2, 10))


FILM = Video(Path("color.mp4"), 121, (1280, 720), Fraction(30))


def named(kind: str, **params: str) -> str:
    given = Params(**params)  # type: ignore[arg-type]
    return recipes.computed(kind, "a" * 64, recipes.clip(FILM, given), given).name()


def test_maps_that_were_cached_before_there_were_other_models_are_found() -> None:
    assert named("edge") == "edge-3c2cd424c0def6c71773a0e8988241a1"
    assert (
        named("vis", resolution="256", blur_strength="high")
        == "vis-61ac5ea673ea4ce9e1f9cd1bdfb39a18"
    )


@pytest.mark.parametrize("kind", ["vis", "edge"])
def test_maps_of_different_models_are_never_taken_for_each_other(kind: str) -> None:
    # 256 has the same sizes in both.
    assert named(kind, resolution="256") != named(kind, resolution="256", model=COSMOS3)
