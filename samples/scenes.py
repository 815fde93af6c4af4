"""Render the sample scenes: color, exact depth, exact segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samples.geometry import Hits
from samples.light import Scene, Stage, develop, glow, halved
from samples.pier import PIER
from samples.street import STREET
from samples.video import FPS, Mp4

SCENES = (PIER, STREET)

# Color may lose a little; the edges of the maps must stay where they are.
_QUALITY = {"color": 24, "depth": 18, "segmentation": 14}


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment of a scene: three pictures, (height, width, 3), RGB, 0–255."""

    color: NDArray[np.uint8]
    depth: NDArray[np.uint8]
    segmentation: NDArray[np.uint8]


def render(
    out: Path,
    *,
    width: int = 640,
    height: int = 360,
    frames: int = 4 * FPS,
    scenes: Sequence[Scene] = SCENES,
) -> None:
    """Write ``<scene>/{color,depth,segmentation}.mp4`` under `out`, replacing what is there.

    The same versions of NumPy and PyAV write the same bytes each time.
    """
    for scene in scenes:
        with ExitStack() as stack:
            videos = {
                role: stack.enter_context(Mp4(out / scene.name / f"{role}.mp4", width, height, crf))
                for role, crf in _QUALITY.items()
            }
            for frame in moments(scene, width, height, frames):
                for role, video in videos.items():
                    video.add(getattr(frame, role))


def moments(scene: Scene, width: int, height: int, frames: int) -> Iterator[Frame]:
    """Yield the first `frames` frames of `scene`."""
    for number in range(frames):
        yield moment(scene, width, height, number / FPS)


def moment(scene: Scene, width: int, height: int, time: float) -> Frame:
    """Return `scene` at `time` seconds.

    Only color is sampled four times per pixel: a mean of two depths, or of two
    classes, would be one that nothing in the scene has.
    """
    view, stage = scene.view(time, width / height), scene.stage(time)
    exact = stage.see(view, height, width)
    fine = stage.see(view, 2 * height, 2 * width)
    light = glow(halved(scene.picture(view, stage, fine, time)))
    return Frame(
        develop(light, scene.exposure), _depth(scene, exact), _segmentation(scene, stage, exact)
    )


def _depth(scene: Scene, hits: Hits) -> NDArray[np.uint8]:
    """Return inverse depth: 255 at the scene's `nearest`, 0 from its `farthest` on."""
    near, far = 1 / scene.nearest, 1 / scene.farthest
    share = np.clip((1 / hits.distance - far) / (near - far), 0, 1)
    gray = (share * 255 + 0.5).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _segmentation(scene: Scene, stage: Stage, hits: Hits) -> NDArray[np.uint8]:
    colours = np.array(list(scene.labels.values()), np.uint8)
    return colours[stage.labels(hits, list(scene.labels))]
