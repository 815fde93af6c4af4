"""What can be measured of pictures without a model: pictures and maps to numbers.

A picture is (height, width, 3), uint8, RGB, 0–255; the pictures that a
function takes are of one size. The mean over a video's frames is its value.
Edge maps, blurred pictures and luminance are those of the engine `preview`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.engines import filters

Mask: TypeAlias = NDArray[np.bool_]

_EDGES = filters.EDGE_THRESHOLDS["medium"]
_BLUR = filters.BLUR_FACTORS["medium"]
_BOUNDARY = 0.008  # of the diagonal
_STEP = 48  # of all channels together: what lossy videos do to one colour
_FLOW_WIDTH = 480
_HASH_SIDE, _HASH_FROM = 8, 32


def edges(picture: Pixels) -> Mask:
    """Return the Canny edges of a picture, by the thresholds of `edge_threshold: medium`.

    They are the same for all runs, so that a sweep over thresholds compares.
    """
    return filters.edge(picture, *_EDGES) > 0


def edge_f1(found: Mask, wanted: Mask) -> float:
    """Return how well the edges of an output (`found`) are those of the input (`wanted`).

    F1 = 2 TP / (2 TP + FP + FN) over pixels, without tolerance; 0–1, higher is
    better; 1 where neither has an edge. Source: the Edge F1 of Cosmos-Transfer1
    (arXiv 2503.14492, section 6): Canny edges of both, as a classification of pixels.
    """
    return _f1(int((found & wanted).sum()), int(found.sum()), int(wanted.sum()))


def blurred(picture: Pixels) -> Pixels:
    """Return what `blur_ssim` compares: the luminance of the vis map, `blur_strength: medium`."""
    return filters.luminance(filters.vis(picture, *_BLUR))


def has_ssim() -> bool:
    """Return whether scikit-image is installed, which `blur_ssim` needs."""
    return find_spec("skimage") is not None


def blur_ssim(found: Pixels, wanted: Pixels) -> float:
    """Return the structural similarity of two `blurred` pictures, (height, width).

    SSIM by scikit-image, window 7, constants 0.01 and 0.03; -1–1, higher is
    better. Sources: Wang et al. 2004; the Blur SSIM of Cosmos-Transfer1 (arXiv
    2503.14492). Raises ImportError without scikit-image, ValueError below 7 pixels.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(found, wanted, data_range=255))  # type: ignore[no-untyped-call]


def boundaries(segmentation: Pixels) -> Mask:
    """Return the pixels of a segmentation whose right or lower neighbour has another colour.

    Colours that differ by up to 48 in all channels together count as one: maps
    are kept as lossy videos.
    """
    image = segmentation.astype(np.int16)
    found = np.zeros(image.shape[:2], np.bool_)
    found[:, :-1] |= np.abs(image[:, 1:] - image[:, :-1]).sum(axis=2) > _STEP
    found[:-1] |= np.abs(image[1:] - image[:-1]).sum(axis=2) > _STEP
    return found


def boundary_f1(found: Mask, wanted: Mask) -> float:
    """Return how well the outlines of an output's segmentation are those of the input's.

    F1 of precision and recall of `boundaries`, each counted as met within 0.8 %
    of the picture's diagonal; 0–1, higher is better; 1 where neither has any.
    Source: the contour accuracy F of DAVIS (Perazzi et al. 2016). Labels need
    not agree: two segmenters rarely give a thing the same colour.
    """
    near_wanted, near_found = (_grown(each) for each in (wanted, found))
    if not found.any() and not wanted.any():
        return 1.0
    precision = (found & near_wanted).sum() / max(1, found.sum())
    recall = (wanted & near_found).sum() / max(1, wanted.sum())
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def depth_si_rmse(found: Pixels, wanted: Pixels) -> float:
    """Return how far the depth map of an output is from the input's, (height, width), 0–255.

    sqrt(mean(d²) - mean(d)²) with d = ln(found + 1) - ln(wanted + 1): an error
    of scale costs nothing. 0–5.5, lower is better. Sources: Eigen et al. 2014,
    equation 1; the Depth si-RMSE of Cosmos-Transfer1 (arXiv 2503.14492).
    """
    difference = np.log1p(found.astype(np.float64)) - np.log1p(wanted.astype(np.float64))
    return float(difference.std())


def flicker(before: Pixels, after: Pixels) -> float | None:
    """Return how much a picture differs from the one before, moved along the optical flow.

    Mean |warp(after) - before| / 255 over the pixels that both show, at most
    480 wide; 0–1, lower is steadier; None where no pixel is in both. Source: the
    warping error of Lai et al. 2018 (arXiv 1808.00449), with DIS flow (Kroeger
    et al. 2016) of OpenCV. Pixels are shown in both where the flow forth and
    back cancel out (Sundaram et al. 2010).
    """
    first, second = (_narrow(each) for each in (before, after))
    greys = [filters.luminance(each) for each in (first, second)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    forth = flow.calc(greys[0], greys[1], None)  # type: ignore[call-overload]
    back = flow.calc(greys[1], greys[0], None)  # type: ignore[call-overload]
    height, width = greys[0].shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + forth[..., 0], rows + forth[..., 1]
    moved = np.asarray(cv2.remap(second, x, y, cv2.INTER_LINEAR), np.float32)
    returned = cv2.remap(back, x, y, cv2.INTER_LINEAR)
    lengths = (forth**2).sum(axis=2) + (returned**2).sum(axis=2)
    shown = ((forth + returned) ** 2).sum(axis=2) < 0.01 * lengths + 0.5
    shown &= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return float(np.abs(moved - first)[shown].mean() / 255) if shown.any() else None


def sharpness(picture: Pixels) -> float:
    """Return the variance of the Laplacian of a picture's luminance.

    From 0 on; higher is sharper, and noise counts as sharp; it depends on the
    size. Source: Pech-Pacheco et al. 2000 (LAPV in Pertuz et al. 2013).
    """
    return float(cv2.Laplacian(filters.luminance(picture), cv2.CV_64F).var())


def fingerprint(picture: Pixels) -> int:
    """Return the 64 bits of a picture's perceptual hash.

    Luminance at 32×32; of its discrete cosine transform the lowest 8×8: a bit
    is set where one is above their median. Source: Zauner 2010, as pHash.
    """
    small = filters.resize(filters.luminance(picture), (_HASH_FROM, _HASH_FROM))
    low = np.asarray(cv2.dct(small.astype(np.float32)))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    return int("".join("1" if each else "0" for each in low > np.median(low)), 2)


def _f1(both: int, found: int, wanted: int) -> float:
    return 2 * both / (found + wanted) if found + wanted else 1.0


def _grown(mask: Mask) -> Mask:
    radius = max(1, round(_BOUNDARY * float(np.hypot(*mask.shape))))
    side = 2 * radius + 1
    disc: Any = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc)) > 0


def _narrow(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    if width <= _FLOW_WIDTH:
        return picture
    return filters.resize(picture, (_FLOW_WIDTH, round(height * _FLOW_WIDTH / width)))
