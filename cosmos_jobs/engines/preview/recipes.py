"""What each control map of a run is made from, and the name of the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cosmos_jobs.artifacts.media import VideoError
from cosmos_jobs.core.run import CONTROLS, ROLE_OF
from cosmos_jobs.engines import filters
from cosmos_jobs.engines.preview.buckets import RESOLUTIONS, TRANSFER, bucket
from cosmos_jobs.engines.preview.probes import Video
from cosmos_jobs.engines.preview.requests import Params, Request

VERSION = 2
"""Raise it when a map's pixels or encoding change, so that no cached map is taken for another."""

STAND_INS = {"depth": "luminance", "seg": "k-means"}
"""What is shown in place of a map that only another model could compute."""

FILE = "file"
_METHODS = {"vis": "bilateral", "edge": "canny", **STAND_INS}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One control map: made by `method` from the video with digest `source`.

    `settings` are the Canny thresholds or the blur factors, else empty. `clip`
    is the color video cut to the frames that the run uses, at bucket size.
    `model` says how frames are brought to that size, and which filters are meant.
    """

    kind: str
    role: str
    source: str
    method: str
    settings: tuple[int, ...]
    clip: Video
    model: str = TRANSFER

    @property
    def is_grey(self) -> bool:
        """Whether the map has one channel; supplied files keep their colours."""
        return self.method in ("canny", "luminance")

    def name(self) -> str:
        """Return the name under which the map is cached: the same for the same content."""
        clip = self.clip
        made_from = [VERSION, self.kind, self.source, self.method, self.settings]
        # Maps for Transfer keep the names that they had before there were other models.
        model = [] if self.model == TRANSFER else [self.model]
        document = json.dumps([*made_from, clip.size, clip.frames, str(clip.fps), *model])
        return f"{self.kind}-{hashlib.sha256(document.encode()).hexdigest()[:32]}"

    def describe(self, params: Params) -> dict[str, object]:
        """Return what a manifest says about where the map comes from."""
        match self.method:
            case "canny":
                preset = {"preset": params.edge_threshold, "thresholds": list(self.settings)}
            case "bilateral":
                preset = {"preset": params.blur_strength}
            case _:
                preset = {}
        return {"source": self.method, **preset}


def clip(video: Video, params: Params) -> Video:
    """Return the part of a color video that a run uses, at the size of the model's bucket.

    Raises VideoError where the model has no such resolution.
    """
    if params.resolution not in RESOLUTIONS[params.model]:
        known = ", ".join(RESOLUTIONS[params.model])
        raise VideoError(f"resolution {params.resolution} is not one of {params.model}: {known}")
    size = bucket(params.resolution, *video.size, params.model)
    count = min(video.frames, params.max_frames or video.frames)
    return Video(video.path, count, size, video.fps)


def recipes(request: Request, seen: Mapping[str, Video]) -> Mapping[str, Recipe]:
    """Return the recipe of every control of a run, in the order of CONTROLS.

    `seen` are its input videos, by role. Raises VideoError where a supplied
    map is shorter than the part of the color video that the run uses.
    """
    cut = clip(seen["color"], request.params)
    return {kind: _recipe(kind, request, cut, seen) for kind in CONTROLS}


def computed(kind: str, digest: str, cut: Video, params: Params) -> Recipe:
    """Return the recipe of a map that is made from the part `cut` of a color video."""
    settings = _settings(kind, params)
    return Recipe(kind, "color", digest, _METHODS[kind], settings, cut, params.model)


def _recipe(kind: str, request: Request, cut: Video, seen: Mapping[str, Video]) -> Recipe:
    role = ROLE_OF[kind]
    if role not in request.inputs:
        return computed(kind, request.inputs["color"].sha256, cut, request.params)
    given = seen[role]
    if given.frames < cut.frames:
        raise VideoError(
            f"the {role} video has {given.frames} frames where the color video has {cut.frames}"
        )
    return Recipe(kind, role, request.inputs[role].sha256, FILE, (), cut, request.params.model)


def _settings(kind: str, params: Params) -> tuple[int, ...]:
    match kind:
        case "edge":
            return filters.EDGE_THRESHOLDS[params.edge_threshold]
        case "vis":
            return filters.BLUR_FACTORS[params.blur_strength]
        case _:
            return ()
