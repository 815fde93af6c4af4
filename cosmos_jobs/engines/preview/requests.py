"""The runs that the program is asked for: one JSON object per line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from cosmos_jobs.engines.preview.buckets import RESOLUTIONS
from cosmos_jobs.engines.preview.maps import BLUR_FACTORS, EDGE_THRESHOLDS
from cosmos_jobs.model import CONTROLS, ROLES

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
    """The parameters of a run; `seed` and those after it are only shown in the caption."""

    edge_threshold: str = "medium"
    blur_strength: str = "medium"
    resolution: str = "720"
    max_frames: int | None = None
    seed: int = 1
    num_steps: int = 35
    guidance: float = 3
    note: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One run: `inputs` by role (color is there), `weights` above 0 in the order of CONTROLS."""

    id: str
    prompt: str
    negative: str
    inputs: Mapping[str, Source]
    weights: Mapping[str, float]
    params: Params


def read(path: Path) -> tuple[Request, ...]:
    """Read a file of runs; raises BadRequest with the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error
    requests: dict[str, Request] = {}
    # Only \n ends a line of JSON lines; str.splitlines would also cut inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            request = parse(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{path}, line {number}: {error}") from error
        if request.id in requests:
            raise BadRequest(f"{path}, line {number}: run {request.id} is there twice")
        requests[request.id] = request
    return tuple(requests.values())


def parse(line: Json) -> Request:
    """Return the run that a JSON value describes; raises ValueError saying what is wrong."""
    run = _mapping(line, "a run")
    unknown = set(run) - {"id", "prompt", "negative", "inputs", "weights", "params"}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    return Request(
        id=_matching(run.get("id"), "id", r"rs_[0-9a-f]{16}"),
        prompt=_text(run.get("prompt"), "prompt"),
        negative=_text(run.get("negative", ""), "negative"),
        inputs=_inputs(_mapping(run.get("inputs"), "inputs")),
        weights=_weights(_mapping(run.get("weights"), "weights")),
        params=_params(_mapping(run.get("params", {}), "params")),
    )


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


def _params(given: Mapping[str, Json]) -> Params:
    unknown = set(given) - {field.name for field in fields(Params)}
    if unknown:
        raise ValueError(f"unknown parameter {min(unknown)!r}")
    default = Params()
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
        resolution=_choice(given.get("resolution", default.resolution), "resolution", RESOLUTIONS),
        max_frames=None if frames is None else _integer(frames, "max_frames"),
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
