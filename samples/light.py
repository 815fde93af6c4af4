"""What both scenes need to be seen: surfaces, shadows, haze and exposure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from samples.geometry import (
    Ball,
    Floats,
    Hits,
    Ints,
    Rays,
    Shape,
    Vector,
    View,
    cast,
    face_count,
    no_hits,
    unit,
    vector,
)


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape with its look (`material`, `colour`) and its class in the segmentation."""

    shape: Shape
    label: str
    material: str
    colour: Vector = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Surface:
    """The points that a picture shows, one per column.

    `points` and `normals` are (3, n), `distance` (n,) is along the camera's
    axis, `thing` (n,) numbers the things of the stage, `colour` is (3, n).
    """

    points: Floats
    normals: Floats
    distance: Floats
    thing: Ints
    colour: Floats

    def part(self, chosen: NDArray[np.bool_]) -> Surface:
        """Return the chosen points only."""
        return Surface(
            self.points[:, chosen],
            self.normals[:, chosen],
            self.distance[chosen],
            self.thing[chosen],
            self.colour[:, chosen],
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The things of a scene at one moment, and tables over their faces."""

    things: Sequence[Thing]
    owner: Ints = field(init=False)
    _normals: Floats = field(init=False)
    _round: NDArray[np.bool_] = field(init=False)
    _centres: Floats = field(init=False)
    _radii: Floats = field(init=False)

    def __post_init__(self) -> None:
        counts = [face_count(thing.shape) for thing in self.things]
        owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        normals = [
            np.zeros((1, 3), np.float32) if isinstance(shape, Ball) else shape.normals
            for shape in self.shapes
        ]
        flat = Ball(np.zeros(3, np.float32), np.ones(3, np.float32))
        balls = [shape if isinstance(shape, Ball) else flat for shape in self.shapes]
        object.__setattr__(self, "_round", np.array([ball is not flat for ball in balls]))
        object.__setattr__(self, "_centres", np.stack([ball.centre for ball in balls], axis=1))
        object.__setattr__(self, "_radii", np.stack([ball.radii for ball in balls], axis=1))
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "_normals", np.vstack(normals).T)

    @property
    def shapes(self) -> list[Shape]:
        """The shapes alone, in order."""
        return [thing.shape for thing in self.things]

    def see(self, view: View, rows: int, columns: int) -> Hits:
        """Return what `view` sees first at each pixel."""
        return cast(view, self.shapes, no_hits(rows, columns))

    def labels(self, hits: Hits, names: Sequence[str]) -> Ints:
        """Return the number of each pixel's class in `names`; nothing is number 0."""
        numbers = np.array([names.index(thing.label) for thing in self.things], np.int32)
        return np.where(hits.face < 0, 0, numbers[self.owner[hits.face]])

    def surface(self, rays: Rays, hits: Hits, shown: NDArray[np.bool_]) -> Surface:
        """Return the surface at the pixels of `shown`, all of which hit something."""
        distance, face = hits.distance[shown], hits.face[shown]
        shape = (3, *hits.face.shape)
        direction = np.broadcast_to(rays.direction, shape)[:, shown]
        points = np.broadcast_to(rays.origin, shape)[:, shown] + direction * distance
        thing = self.owner[face]
        normals = self._normals[:, face]
        round_ = self._round[thing]
        bent = thing[round_]
        towards = points[:, round_] - self._centres[:, bent]
        normals[:, round_] = unit(towards / self._radii[:, bent] ** 2)
        colour = vector([thing.colour for thing in self.things]).T[:, thing]
        return Surface(points, normals, distance, thing, colour)

    def of(self, surface: Surface, *materials: str) -> NDArray[np.bool_]:
        """Return which points of `surface` are made of one of `materials`."""
        made = np.array([thing.material in materials for thing in self.things])
        chosen: NDArray[np.bool_] = made[surface.thing]
        return chosen


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene: three functions of time (seconds), and how to show what they give.

    `labels` maps the classes of the segmentation, sky first, to their colours;
    depth is white at `nearest` metres and black from `farthest` on. `view` also
    takes width / height; `picture` returns linear light, (3, rows, columns).
    """

    name: str
    labels: Mapping[str, tuple[int, int, int]]
    nearest: float
    farthest: float
    exposure: float
    view: Callable[[float, float], View]
    stage: Callable[[float], Stage]
    picture: Callable[[View, Stage, Hits, float], Floats]


@dataclass(frozen=True, slots=True)
class ShadowMap:
    """How far the light of the sun reaches, on a raster across its direction."""

    view: View
    reach: Floats

    def lit(self, points: Floats, bias: float) -> Floats:
        """Return 1 for each of the (3, n) points that the sun sees, else 0.

        `bias`, in metres, keeps a surface from shadowing itself. Each point
        looks at one of four shifted places, so that averaging the samples of
        a pixel softens the border.
        """
        rows, columns = self.reach.shape
        across, down, distance = self.view.project(points)
        turn = np.arange(points.shape[1], dtype=np.int32) % 4
        aside = vector((-0.35, 0.35))
        column = (across * np.float32(columns) + aside[turn % 2]).astype(np.int32)
        row = (down * np.float32(rows) + aside[turn // 2]).astype(np.int32)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        reach = self.reach[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
        return np.where(inside & (distance > reach + bias), 0, 1).astype(np.float32)


def dot(field: Floats, direction: Floats) -> Floats:
    """Return the cosines between (3, …) unit vectors and one of them."""
    total: Floats = field[0] * direction[0] + field[1] * direction[1] + field[2] * direction[2]
    return total


def mix(one: Floats, other: Floats, share: Floats) -> Floats:
    """Return `one` where `share` is 0, `other` where it is 1."""
    return one + (other - one) * share


def glow(picture: Floats) -> Floats:
    """Return a (3, rows, columns) picture whose lights spill over to their neighbours."""
    bright = np.maximum(picture - np.float32(1.1), 0)
    down, across = (_blur(count, 0.035 * picture.shape[1]) for count in picture.shape[1:])
    result: Floats = picture + np.float32(0.6) * (down @ bright @ across)
    return result


def _blur(count: int, radius: float) -> Floats:
    at = np.arange(count, dtype=np.float32)
    weights = np.exp(-((at[:, None] - at[None, :]) ** 2) / np.float32(2 * radius * radius))
    return vector(weights / (radius * np.sqrt(2 * np.pi)))


def halved(picture: Floats) -> Floats:
    """Return the average of each 2×2 block; over-bright samples count as merely bright."""
    capped = np.minimum(picture, np.float32(2))
    rows = capped[:, 0::2] + capped[:, 1::2]
    result: Floats = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return result


def develop(picture: Floats, exposure: float) -> NDArray[np.uint8]:
    """Return (rows, columns, 3), 0–255, of linear light, on a film-like curve.

    The curve is Narkowicz's fit of ACES (2015); the result is encoded for sRGB
    by its usual power of 1/2.2.
    """
    x = np.maximum(picture, 0) * np.float32(exposure)
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    encoded = film ** np.float32(1 / 2.2) * 255 + 0.5
    return np.ascontiguousarray(encoded.astype(np.uint8).transpose(1, 2, 0))
