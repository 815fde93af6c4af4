"""Convex shapes, cameras, and which ray hits what first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]
Vector: TypeAlias = tuple[float, float, float]
Window: TypeAlias = tuple[slice, slice]

NOTHING = -1
"""The face of a ray that leaves the scene."""


def vector(values: ArrayLike) -> Floats:
    """Return `values` as float32, the only precision used here."""
    return np.asarray(values, np.float32)


def unit(values: ArrayLike) -> Floats:
    """Return the vector of length 1 in the direction of `values`, components first."""
    array = vector(values)
    length: Floats = np.sqrt((array * array).sum(axis=0))
    return array / length


# --- shapes -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Solid:
    """A convex body: all points with ``normals @ point <= offsets``.

    `normals` is (faces, 3), pointing out; `offsets` is (faces,). `corners`,
    (n, 3), enclose it; without corners it has no end.
    """

    normals: Floats
    offsets: Floats
    corners: Floats


@dataclass(frozen=True, slots=True)
class Ball:
    """An ellipsoid along the axes: `centre` and `radii`, both (3,)."""

    centre: Floats
    radii: Floats


Shape: TypeAlias = Solid | Ball


def half_space(height: float) -> Solid:
    """Return everything below `height`: the ground, or the sea."""
    return Solid(vector([(0, 1, 0)]), vector([height]), np.empty((0, 3), np.float32))


def extrude(
    outline: Sequence[tuple[float, float]], low: float, high: float, axis: int = 2
) -> Solid:
    """Return the prism of a convex `outline`, counterclockwise, between `low` and `high`.

    The outline lies in the two other axes, in the order x, y, z, but (z, y) for
    axis x, so that a car is drawn from its side.
    """
    first, second = {0: (2, 1), 1: (0, 2), 2: (0, 1)}[axis]
    points = np.asarray(outline, np.float64)
    edges = np.roll(points, -1, axis=0) - points
    out = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    count = len(points)
    normals = np.zeros((count + 2, 3))
    normals[:count, first], normals[:count, second] = out[:, 0], out[:, 1]
    normals[count:, axis] = (-1, 1)
    corners = np.zeros((2 * count, 3))
    corners[:, first], corners[:, second] = np.tile(points[:, 0], 2), np.tile(points[:, 1], 2)
    corners[:, axis] = np.repeat([low, high], count)
    offsets = np.append((out * points).sum(axis=1), (-low, high))
    return Solid(vector(normals), vector(offsets), vector(corners))


def box(low: Vector, high: Vector) -> Solid:
    """Return the box between two opposite corners."""
    (left, bottom, near), (right, top, far) = low, high
    return extrude(((left, bottom), (right, bottom), (right, top), (left, top)), near, far)


def rod(at: tuple[float, float], low: float, high: float, radius: float, axis: int = 1) -> Solid:
    """Return a round bar around `at`, from `low` to `high` along `axis`."""
    angles = np.arange(12) * (np.pi / 6)
    ring = [(at[0] + radius * np.cos(a), at[1] + radius * np.sin(a)) for a in angles]
    return extrude(ring, low, high, axis)


def cut(solid: Solid, through: Vector, normal: Vector) -> Solid:
    """Return `solid` without what lies beyond the plane at `through`."""
    facing = unit(normal)
    return Solid(
        np.vstack([solid.normals, facing]),
        vector(np.append(solid.offsets, facing @ vector(through))),
        solid.corners,
    )


def moved(solid: Solid, by: Vector, turn: float = 0.0) -> Solid:
    """Return `solid` turned around the vertical axis (radians), then moved."""
    cosine, sine = np.cos(turn), np.sin(turn)
    turning = vector([(cosine, 0, sine), (0, 1, 0), (-sine, 0, cosine)])
    normals = solid.normals @ turning.T
    offsets = solid.offsets + normals @ vector(by)
    return Solid(normals, vector(offsets), solid.corners @ turning.T + vector(by))


# --- cameras ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rays:
    """`origin` and `direction`, each (3, rows, columns) or broadcast to that."""

    origin: Floats
    direction: Floats


@dataclass(frozen=True, slots=True)
class View:
    """Where rays start: a pinhole, or (`parallel`) a sun.

    `axes` holds right, up and forward as rows. `spread` is half the width and
    half the height of the picture: at distance 1 for a pinhole, in metres for
    parallel rays. The distance along a ray is counted along forward.
    """

    position: Floats
    axes: Floats
    spread: tuple[float, float]
    parallel: bool = False

    def rays(self, rows: int, columns: int, window: Window | None = None) -> Rays:
        """Return one ray through the centre of each pixel of `window`, or of all."""
        down, across = window or (slice(0, rows), slice(0, columns))
        right, up, forward = self.axes[:, :, None, None]
        x = (np.arange(across.start, across.stop, dtype=np.float32) + 0.5) * (2 / columns) - 1
        y = 1 - (np.arange(down.start, down.stop, dtype=np.float32) + 0.5) * (2 / rows)
        offset = right * np.float32(self.spread[0]) * x[None, None, :]
        offset = offset + up * np.float32(self.spread[1]) * y[None, :, None]
        position = self.position[:, None, None]
        if self.parallel:
            return Rays(position + offset, forward)
        return Rays(position, forward + offset)

    def project(self, points: Floats) -> Floats:
        """Return (across, down, distance) of (3, n) points; the picture is 0..1."""
        across, up, distance = self.axes @ (points - self.position[:, None])
        scale = np.float32(1) if self.parallel else np.maximum(distance, 1e-6)
        across = 0.5 + across / (scale * (2 * self.spread[0]))
        down = 0.5 - up / (scale * (2 * self.spread[1]))
        return np.stack([across, down, distance])

    def window(self, corners: Floats, rows: int, columns: int) -> Window:
        """Return the part of the picture that can show what `corners` enclose."""
        if not len(corners):
            return slice(0, rows), slice(0, columns)
        points = corners.T if self.parallel else self._in_front(corners.T)
        if not points.size:
            return slice(0, 0), slice(0, 0)
        across, down, _ = self.project(points)
        return _span(down, rows), _span(across, columns)

    def _in_front(self, corners: Floats) -> Floats:
        """Return corners of the part, of what (3, n) `corners` enclose, before the camera."""
        ahead = self.axes[2] @ (corners - self.position[:, None]) - np.float32(0.05)
        front, back = corners[:, ahead >= 0], corners[:, ahead < 0]
        near, far = ahead[ahead >= 0][:, None], ahead[ahead < 0][None, :]
        share = near / (near - far)
        crossings = front[:, :, None] + (back[:, None, :] - front[:, :, None]) * share
        return np.concatenate([front, crossings.reshape(3, -1)], axis=1)

    def mirrored(self) -> View:
        """Return this view as the still sea at height 0 shows it."""
        flip = vector((1, -1, 1))
        return View(self.position * flip, self.axes * flip, self.spread, self.parallel)


def _span(shares: Floats, count: int) -> slice:
    low = int(np.clip(np.floor(shares.min() * count) - 1, 0, count))
    high = int(np.clip(np.ceil(shares.max() * count) + 1, 0, count))
    return slice(low, high)


def pinhole(position: Vector, target: Vector, width_degrees: float, aspect: float) -> View:
    """Return a camera at `position` that looks at `target`; `aspect` is width / height."""
    half = float(np.tan(np.radians(width_degrees) / 2))
    return View(vector(position), _axes(vector(target) - vector(position)), (half, half / aspect))


def sun_view(towards_sun: Floats, middle: Vector, spread: tuple[float, float]) -> View:
    """Return the scene around `middle` as the sun sees it."""
    position = vector(middle) + towards_sun * 200
    return View(position, _axes(-towards_sun), spread, parallel=True)


def _axes(forward: Floats) -> Floats:
    ahead = unit(forward)
    right = unit(vector(np.cross(vector((0, 1, 0)), ahead)))
    return np.stack([right, vector(np.cross(ahead, right)), ahead])


# --- casting ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hits:
    """The first thing on each ray: `distance` (infinite for nothing) and `face`."""

    distance: Floats
    face: Ints


def no_hits(rows: int, columns: int) -> Hits:
    """Return a picture of nothing."""
    return Hits(
        np.full((rows, columns), np.inf, np.float32), np.full((rows, columns), NOTHING, np.int32)
    )


def face_count(shape: Shape) -> int:
    """Return how many faces `shape` has; a ball has one."""
    return 1 if isinstance(shape, Ball) else len(shape.offsets)


def cast(view: View, shapes: Sequence[Shape], behind: Hits, first_face: int = 0) -> Hits:
    """Return `behind` with `shapes` in front of it; faces are numbered from `first_face`."""
    distance, face = behind.distance.copy(), behind.face.copy()
    rows, columns = distance.shape
    for shape in shapes:
        window = view.window(_corners(shape), rows, columns)
        number, first_face = first_face, first_face + face_count(shape)
        if distance[window].size == 0:
            continue
        near, which = _meet(shape, view.rays(rows, columns, window))
        closer = near < distance[window]
        distance[window] = np.where(closer, near, distance[window])
        face[window] = np.where(closer, number + which, face[window])
    return Hits(distance, face)


def _corners(shape: Shape) -> Floats:
    if isinstance(shape, Solid):
        return shape.corners
    signs = vector([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return shape.centre + signs * shape.radii


def _dot(constant: Floats, field: Floats) -> Floats:
    x, y, z = field
    total: Floats = constant[0] * x + constant[1] * y + constant[2] * z
    return total


def _meet(shape: Shape, rays: Rays) -> tuple[Floats, Ints]:
    return _meet_ball(shape, rays) if isinstance(shape, Ball) else _meet_solid(shape, rays)


def _meet_solid(solid: Solid, rays: Rays) -> tuple[Floats, Ints]:
    """Return the distance to `solid` (infinite where missed) and the face that is met."""
    shape = np.broadcast_shapes(rays.origin.shape, rays.direction.shape)[1:]
    near, far = np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    which = np.zeros(shape, np.int32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for index, (normal, offset) in enumerate(zip(solid.normals, solid.offsets, strict=True)):
            slope, ahead = _dot(normal, rays.direction), offset - _dot(normal, rays.origin)
            # A ray passes in through a face that it starts in front of, or out
            # through one that it starts behind; one of the two is the same for all.
            if (slope if ahead.size > 1 else ahead).item(0) < 0:
                at = np.where(slope < 0, ahead / slope, np.float32(np.inf))
                later = at > near
                near = np.where(later, at, near)
                which = np.where(later, np.int32(index), which)
            else:
                at = np.where(slope > 0, ahead / slope, np.float32(np.inf))
                far = np.minimum(far, at)
    met = (near <= far) & (near > 0)
    return np.where(met, near, np.float32(np.inf)), which


def _meet_ball(ball: Ball, rays: Rays) -> tuple[Floats, Ints]:
    scale = ball.radii[:, None, None]
    start = (rays.origin - ball.centre[:, None, None]) / scale
    step = rays.direction / scale
    a, b, c = (step * step).sum(0), (start * step).sum(0), (start * start).sum(0) - 1
    inside = b * b - a * c
    near = (-b - np.sqrt(np.maximum(inside, 0))) / a
    met = (inside > 0) & (near > 0)
    return np.where(met, near, np.float32(np.inf)), np.zeros(met.shape, np.int32)
