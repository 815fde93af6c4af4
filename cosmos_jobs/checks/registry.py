"""The metrics that there are, and the one that needs no picture: diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean

VERSION = 1
"""Raise it when a number changes, so that none that is kept is taken for another."""

HASH_BITS = 64
"""Of a picture's fingerprint."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a video: what it says, its range, and whether more of it is better.

    `better` is 1 where higher is better, -1 where lower is, 0 where it depends.
    """

    name: str
    title: str
    unit: str
    better: int
    says: str


METRICS = (
    Metric("edge_f1", "Edge F1", "0–1", 1, "edges are where the input has them"),
    Metric("blur_ssim", "Blur SSIM", "-1–1", 1, "colours and shapes are the input's, if blurred"),
    Metric("seg_boundary_f1", "Seg. boundary F1", "0–1", 1, "outlines of things are the input's"),
    Metric("depth_si_rmse", "Depth si-RMSE", "0–", -1, "depth is not the input's"),
    Metric("flicker", "Flicker", "0–1", -1, "pixels change beyond what moves"),
    Metric("sharpness", "Sharpness", "0–", 0, "detail and noise; compare at one size"),
    Metric("diversity", "Diversity", "0–1", 1, "how other the videos of other seeds are"),
)
"""Every metric, in the order in which they are shown."""

BY_NAME = {each.name: each for each in METRICS}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a video: `values` by the name of the metric, `why` some are missing.

    `hashes` are the fingerprints of the frames that were looked at.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    hashes: tuple[int, ...] = ()


def diversity(videos: Sequence[Sequence[int]]) -> list[float | None]:
    """Return how much each video differs from the others, by the fingerprints of their frames.

    The mean share of bits that differ, over frames and over the other videos;
    0–1, higher is more diverse, around 0.5 for pictures without relation. None
    for one without others. It stands in for the Diversity-LPIPS of
    Cosmos-Transfer1, which needs a model.
    """
    found: list[list[float]] = [[] for _ in videos]
    for (one, first), (other, second) in combinations(enumerate(videos), 2):
        shared = list(zip(first, second, strict=False))
        if shared:
            distance = fmean((a ^ b).bit_count() / HASH_BITS for a, b in shared)
            found[one].append(distance)
            found[other].append(distance)
    return [fmean(each) if each else None for each in found]
