"""The runs that the program is asked for: one JSON object per line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias, TypeVar

from cosmos_jobs.core.run import CONTROLS, ROLES
from cosmos_jobs.engines.filters import BLUR_FACTORS, EDGE_THRESHOLDS
from cosmos_jobs.engines.preview.buckets import RESOLUTIONS, TRANSFER

# Of all models: whether the run's own has it is a matter of that run, not of the whole file.
_RESOLUTIONS = tuple(dict.fromkeys(name for names in RESOLUTIONS.values() for name in names))

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class BadRequest(Exception):
    """A line of the file is not a run; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Source:
    """An input video: where it is, and the digest of its content, which is trusted."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of a run; `seed` and those after it are only shown in the caption.

    `model` is whose sizes and filters are meant, a key of RESOLUTIONS. With
    `upscale`, 0–1, the color video is resized instead, and no map is made.
    """

    edge_threshold: str = "medium"
    blur_strength: str = "medium"
    resolution: str = "720"
    max_frames: int | None = None
    model: str = TRANSFER
    upscale: float | None = None
    seed: int = 1
    num_steps: int = 35
    guidance: float = 3
    note: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One run: `inputs` by role (color is there), `weights` above 0 in the order of CONTROLS.

    Without weights it is one that upscales.
    """

    id: str
    prompt: str
    negative: str
    inputs: Mapping[str, Source]
    weights: Mapping[str, float]
    params: Params


@dataclass(frozen=True, slots=True)
class MapRequest:
    """One computed control map alone: `kind` is one of MAPS, `source` the color video."""

    id: str
    kind: str
    source: Source
    params: Params


MAPS = ("vis", "edge")
"""The controls whose maps are computed from the color video."""

_Named = TypeVar("_Named", Request, MapRequest)


def read(path: Path) -> tuple[Request, ...]:
    """Read a file of runs; raises BadRequest with the line that is wrong."""
    return _read(path, parse)


def read_maps(path: Path) -> tuple[MapRequest, ...]:
    """Read a file of maps; raises BadRequest with the line that is wrong."""
    return _read(path, parse_map)


def _read(path: Path, parse: Callable[[Json], _Named]) -> tuple[_Named, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error
    requests: dict[str, _Named] = {}
    # Only \n ends a line of JSON lines; str.splitlines would also cut inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            request = parse(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{path}, line {number}: {error}") from error
        if request.id in requests:
            raise BadRequest(f"{path}, line {number}: {request.id} is there twice")
        requests[request.id] = request
    return tuple(requests.values())


def parse(line: Json) -> Request:
    """Return the run that a JSON value describes; raises ValueError saying what is wrong."""
    run = _mapping(line, "a run")
    _only(run, "key", {"id", "prompt", "negative", "inputs", "weights", "params"})
    params = _params(_mapping(run.get("params", {}), "params"))
    weights = _mapping(run.get("weights"), "weights")
    return Request(
        id=_matching(run.get("id"), "id", r"rs_[0-9a-f]{16}"),
        prompt=_text(run.get("prompt"), "prompt"),
        negative=_text(run.get("negative", ""), "negative"),
        inputs=_inputs(_mapping(run.get("inputs"), "inputs")),
        weights=_weights(weights) if params.upscale is None else _no_weights(weights),
        params=params,
    )


def parse_map(line: Json) -> MapRequest:
    """Return the map that a JSON value describes; raises ValueError saying what is wrong."""
    wanted = _mapping(line, "a map")
    _only(wanted, "key", {"id", "kind", "path", "sha256", "params"})
    params = _params(_mapping(wanted.get("params", {}), "params"))
    if params.upscale is not None:
        raise ValueError("upscale must be null: no map is made where a video is resized")
    return MapRequest(
        id=_matching(wanted.get("id"), "id", r"[^\0\n]{1,200}"),
        kind=_choice(wanted.get("kind"), "kind", MAPS),
        source=_source({key: wanted.get(key) for key in ("path", "sha256")}, "color"),
        params=params,
    )


def _only(given: Mapping[str, Json], what: str, known: Collection[str]) -> None:
    unknown = set(given) - set(known)
    if unknown:
        raise ValueError(f"unknown {what} {min(unknown)!r}")


def _inputs(given: Mapping[str, Json]) -> dict[str, Source]:
    if "color" not in given:
        raise ValueError("inputs has no color video")
    for role in given:
        _choice(role, "a role of inputs", ROLES)
    return {role: _source(_mapping(given[role], role), role) for role in ROLES if role in given}


def _source(given: Mapping[str, Json], role: str) -> Source:
    digest = _matching(given.get("sha256"), f"{role}.sha256", r"[0-9a-f]{64}")
    return Source(Path(_matching(given.get("path"), f"{role}.path", r"[^\0]+")), digest)


def _weights(given: Mapping[str, Json]) -> dict[str, float]:
    for kind in given:
        _choice(kind, "a key of weights", CONTROLS)
    weights = {kind: _number(given.get(kind, 0), f"weights.{kind}") for kind in CONTROLS}
    if min(weights.values()) < 0 or max(weights.values()) <= 0:
        raise ValueError("weights must not be negative, and one of them must be above 0")
    return {kind: weight for kind, weight in weights.items() if weight > 0}


def _no_weights(given: Mapping[str, Json]) -> dict[str, float]:
    if given:
        raise ValueError("weights must be empty beside upscale: no control is computed for it")
    return {}


def _params(given: Mapping[str, Json]) -> Params:
    _only(given, "parameter", {field.name for field in fields(Params)})
    default = Params()
    upscale = given.get("upscale")
    if upscale is not None and not 0 <= _number(upscale, "upscale") <= 1:
        raise ValueError("upscale must be from 0 to 1")
    frames = given.get("max_frames")
    if frames is not None and _integer(frames, "max_frames") < 1:
        raise ValueError("max_frames must be at least 1")
    return Params(
        edge_threshold=_choice(
            given.get("edge_threshold", default.edge_threshold), "edge_threshold", EDGE_THRESHOLDS
        ),
        blur_strength=_choice(
            given.get("blur_strength", default.blur_strength), "blur_strength", BLUR_FACTORS
        ),
        resolution=_choice(given.get("resolution", default.resolution), "resolution", _RESOLUTIONS),
        max_frames=None if frames is None else _integer(frames, "max_frames"),
        model=_choice(given.get("model", default.model), "model", RESOLUTIONS),
        upscale=None if upscale is None else _number(upscale, "upscale"),
        seed=_integer(given.get("seed", default.seed), "seed"),
        num_steps=_integer(given.get("num_steps", default.num_steps), "num_steps"),
        guidance=_number(given.get("guidance", default.guidance), "guidance"),
        note=_text(given.get("note", default.note), "note"),
    )


def _mapping(value: Json, what: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping")  # noqa: TRY004, wrong types are wrong values here
    return value


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be text")  # noqa: TRY004
    return value


def _matching(value: Json, what: str, pattern: str) -> str:
    text = _text(value, what)
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{what} must match {pattern}")
    return text


def _choice(value: Json, what: str, choices: Mapping[str, object] | tuple[str, ...]) -> str:
    text = _text(value, what)
    if text not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; it is {text!r}")
    return text


def _integer(value: Json, what: str) -> int:
    number = _number(value, what)
    if number != int(number):
        raise ValueError(f"{what} must be a whole number")
    return int(number)


def _number(value: Json, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} must be a number")
    return value
