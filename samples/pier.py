"""A wooden pier over the sea at dusk: lamps, a boat, a hut with its light on."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from samples.geometry import (
    Ball,
    Floats,
    Hits,
    Solid,
    Vector,
    View,
    box,
    cut,
    extrude,
    half_space,
    moved,
    pinhole,
    rod,
    sun_view,
    unit,
    vector,
)
from samples.light import Scene, ShadowMap, Stage, Surface, Thing, dot, mix
from samples.textures import between, look_up, noise, scattered

SUN = unit((0.30, 0.078, 1.0))
SUNLIGHT = vector((2.1, 0.86, 0.30))
SKYLIGHT = vector((0.13, 0.16, 0.28))
LAMPLIGHT = vector((4.2, 2.3, 0.85))
DECK = 1.15
"""Height of the planks over the water, in metres."""

LAMPS = ((-0.72, 10.0), (-3.08, 18.5), (-0.72, 27.0))
"""Where the lamps stand: x and z."""

_WOOD = (0.34, 0.22, 0.13)
_DARK_WOOD = (0.16, 0.10, 0.065)


LABELS = {
    "sky": (70, 130, 180),
    "sea": (0, 60, 150),
    "pier": (150, 90, 40),
    "post": (90, 50, 20),
    "lamp": (250, 220, 40),
    "boat": (220, 40, 60),
    "hut": (130, 60, 160),
    "land": (60, 140, 60),
}


def view(time: float, aspect: float) -> View:
    """Return the camera, floating forward beside the pier; `time` is in seconds."""
    drift = time / 4
    position = (0.95 - 0.55 * drift, 2.15 + 0.10 * math.sin(drift * 2.2), 0.2 + 3.4 * drift)
    return pinhole(position, (-0.25 + 0.35 * drift, 1.15, 16 + 3.0 * drift), 62, aspect)


def stage(time: float) -> Stage:
    """Return the things: all stand still but the boat, which rides the waves."""
    return Stage([*_still(), *_boat(time)])


def picture(view: View, stage: Stage, hits: Hits, time: float) -> Floats:
    """Return the light of each pixel, (3, rows, columns)."""
    rows, columns = hits.face.shape
    mirrored = view.mirrored()
    standing = Stage([thing for thing in stage.things if thing.label != "sea"])
    low = standing.see(mirrored, rows // 2, columns // 2)
    reflection = _land(mirrored, standing, low)
    result = _land(view, stage, hits)
    _paint_sea(result, view, stage, hits, reflection, time)
    return result


PIER = Scene("pier", LABELS, 2.2, 90.0, 0.80, view, stage, picture)


# --- things -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _still() -> list[Thing]:
    sea = Thing(half_space(0), "sea", "water")
    return [
        sea,
        *_hills(),
        *_deck(),
        *_posts(),
        *(part for at in LAMPS for part in _lamp(*at)),
        *_hut(),
    ]


def _hills() -> list[Thing]:
    places = ((-260, 330, 170, 34), (-90, 420, 150, 24), (150, 520, 120, 17), (330, 480, 190, 30))
    return [
        Thing(
            Ball(vector((x, -4, z)), vector((wide, high, 60))), "land", "hill", (0.05, 0.06, 0.05)
        )
        for x, z, wide, high in places
    ]


def _deck() -> list[Thing]:
    planks = Thing(box((-3.2, DECK - 0.12, -2), (-0.6, DECK, 36)), "pier", "planks", _WOOD)
    beams = [
        Thing(
            box((x - 0.09, DECK - 0.4, -2), (x + 0.09, DECK - 0.12, 36)), "pier", "wood", _DARK_WOOD
        )
        for x in (-2.95, -0.85)
    ]
    rails = [
        Thing(box((-3.17, y, -2), (-3.08, y + 0.08, 36)), "pier", "wood", _WOOD)
        for y in (DECK + 0.5, DECK + 0.98)
    ]
    return [planks, *beams, *rails]


def _posts() -> list[Thing]:
    piles = [
        Thing(rod((x, z), 0, DECK + (0.35 if x > -1 else -0.1), 0.13), "post", "pile", _DARK_WOOD)
        for z in np.arange(0.5, 36.1, 3.55).tolist()
        for x in (-3.0, -0.72)
    ]
    rails = [
        Thing(box((-3.18, DECK, z - 0.05), (-3.07, DECK + 1.12, z + 0.05)), "post", "wood", _WOOD)
        for z in np.arange(0.5, 36.1, 1.775).tolist()
    ]
    return [*piles, *rails]


def _lamp(x: float, z: float) -> list[Thing]:
    inward = 0.35 if x < -2 else -0.35
    iron = (0.05, 0.05, 0.06)
    left, right = sorted((x, x + inward))
    return [
        Thing(rod((x, z), DECK, DECK + 2.75, 0.045), "lamp", "iron", iron),
        Thing(
            box((left, DECK + 2.68, z - 0.03), (right, DECK + 2.74, z + 0.03)), "lamp", "iron", iron
        ),
        Thing(
            Ball(vector((x + inward, DECK + 2.5, z)), vector((0.15, 0.17, 0.15))),
            "lamp",
            "light",
            (9, 5.2, 2.0),
        ),
    ]


def _hut() -> list[Thing]:
    floor, wall = DECK, DECK + 2.2
    roof = ((-3.7, wall), (-0.1, wall), (-1.9, wall + 1.25))
    return [
        Thing(
            box((-3.3, floor - 0.3, 31), (-0.5, wall, 35.5)), "hut", "boards", (0.30, 0.13, 0.09)
        ),
        Thing(extrude(roof, 30.6, 35.9), "hut", "roof", (0.10, 0.09, 0.10)),
        Thing(
            box((-1.35, floor + 0.95, 30.95), (-0.75, floor + 1.65, 31)),
            "hut",
            "light",
            (3.2, 1.9, 0.8),
        ),
        Thing(
            box((-2.7, floor, 30.95), (-1.8, floor + 1.85, 31)), "hut", "door", (0.12, 0.10, 0.09)
        ),
        Thing(
            box((-1.0, wall + 0.3, 33), (-0.7, wall + 1.5, 33.4)), "hut", "boards", (0.2, 0.12, 0.1)
        ),
    ]


def _boat(time: float) -> list[Thing]:
    bob = 0.05 * math.sin(time * 1.7)
    at: Vector = (3.0, bob, 12.6)
    turn = -0.42 + 0.05 * math.sin(time * 0.9)
    parts = [
        (_hull(-0.9, 0.52, 0.72, 2.1), (0.62, 0.60, 0.56)),
        (_hull(0.50, 0.60, 0.78, 2.16), (0.42, 0.07, 0.06)),
        (box((-0.42, 0.5, -1.1), (0.42, 1.22, 0.35)), (0.55, 0.53, 0.5)),
        (box((-0.50, 1.22, -1.2), (0.50, 1.30, 0.5)), (0.42, 0.07, 0.06)),
        (box((-0.34, 0.82, -1.13), (0.34, 1.12, 0.37)), (0.03, 0.04, 0.05)),
        (box((-0.435, 0.82, -0.9), (0.435, 1.12, 0.2)), (0.03, 0.04, 0.05)),
        (rod((0.0, -0.3), 1.3, 3.1, 0.035), (0.30, 0.22, 0.15)),
    ]
    return [Thing(moved(solid, at, turn), "boat", "paint", colour) for solid, colour in parts]


def _hull(low: float, high: float, half: float, long: float) -> Solid:
    outline = ((-half * 0.55, low), (half * 0.55, low), (half, high), (-half, high))
    hull = extrude(outline, -long, long)
    for side in (-1, 1):
        hull = cut(hull, (side * half, 0, long * 0.1), (side, 0, half / (long * 0.85)))
    return hull


# --- light --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _clouds() -> Floats:
    return noise(11, coarsest=4)


@lru_cache(maxsize=1)
def _grain() -> Floats:
    return noise(5, coarsest=8)


@lru_cache(maxsize=1)
def _ripples() -> Floats:
    return noise(23, coarsest=8, octaves=5)


@lru_cache(maxsize=1)
def _shadows() -> ShadowMap:
    view = sun_view(SUN, (-1.9, 1.5, 16), (6.5, 4.0))
    solid = Stage([t for t in _still() if t.material not in ("water", "hill", "light")])
    return ShadowMap(view, solid.see(view, 1024, 1536).distance)


def sky(direction: Floats) -> Floats:
    """Return the light from `direction`, (3, n), of any length; below it is as the horizon."""
    ahead = unit(direction)
    height = np.maximum(ahead[1], 0)
    low, middle, high = ((0.78, 0.27, 0.10), (0.34, 0.17, 0.24), (0.035, 0.065, 0.19))
    colour = mix(vector(low)[:, None], vector(middle)[:, None], between(0, 0.17, height))
    colour = mix(colour, vector(high)[:, None], between(0.08, 0.55, height))
    near = dot(ahead, SUN)
    warm = np.exp((near - 1) * 14)
    colour = colour + vector((0.75, 0.28, 0.07))[:, None] * warm
    colour = mix(colour, _cloud_light(near), _cloud_cover(ahead, height))
    disc = between(0.99965, 0.99982, near)
    return colour + vector((8, 4.6, 1.8))[:, None] * disc


def _cloud_cover(ahead: Floats, height: Floats) -> Floats:
    far = 1 / (height + 0.10)
    u, v = ahead[0] * far * 0.10, ahead[2] * far * 0.22
    cover = between(0.42, 0.72, look_up(_clouds(), u + 0.30, v + 0.1))
    return cover * between(0.015, 0.10, height) * 0.85


def _cloud_light(near: Floats) -> Floats:
    lit = between(0.55, 1.0, near)
    return mix(vector((0.13, 0.10, 0.17))[:, None], vector((1.35, 0.46, 0.20))[:, None], lit)


def _haze(direction: Floats, colour: Floats, distance: Floats) -> Floats:
    level = direction.copy()
    level[1] = 0.02 * np.sqrt(direction[0] ** 2 + direction[2] ** 2)
    share = 1 - np.exp(-np.maximum(distance - 5, 0) / 420)
    return mix(colour, sky(level), share)


def _land(view: View, stage: Stage, hits: Hits) -> Floats:
    """Return the picture of everything but the sea, which stays black."""
    rays = view.rays(*hits.face.shape)
    picture = np.zeros((3, *hits.face.shape), np.float32)
    empty = hits.face < 0
    direction = np.broadcast_to(rays.direction, picture.shape)
    picture[:, empty] = sky(direction[:, empty])
    water = [number for number, t in enumerate(stage.things) if t.material == "water"]
    shown = ~empty & ~np.isin(stage.owner[hits.face], water)
    surface = stage.surface(rays, hits, shown)
    light = _shaded(stage, surface)
    picture[:, shown] = _haze(direction[:, shown], light, surface.distance)
    return picture


def _shaded(stage: Stage, surface: Surface) -> Floats:
    colour = surface.colour.copy()
    for material, paint in _PAINTS.items():
        here = stage.of(surface, material)
        if here.any():
            colour[:, here] = paint(surface.part(here))
    facing = np.maximum(dot(surface.normals, SUN), 0)
    direct = facing * _shadows().lit(surface.points, 0.06)
    open_sky = 0.55 + 0.45 * surface.normals[1]
    light = SUNLIGHT[:, None] * direct + SKYLIGHT[:, None] * open_sky
    # The bright half of the sky is behind what the camera sees: it lights edges.
    light += vector((0.30, 0.12, 0.06))[:, None] * (0.5 + 0.5 * dot(surface.normals, SUN)) ** 2
    light += _lamplight(surface)
    return np.where(stage.of(surface, "light"), surface.colour, colour * light)


def _lamplight(surface: Surface) -> Floats:
    total = np.zeros(surface.points.shape[1], np.float32)
    for x, z in LAMPS:
        at = vector((x + (0.35 if x < -2 else -0.35), DECK + 2.5, z))
        towards = at[:, None] - surface.points
        square = (towards * towards).sum(0) + 0.05
        facing = (towards * surface.normals).sum(0) / np.sqrt(square)
        total += np.maximum(facing * 0.9 + 0.1, 0) / square
    return LAMPLIGHT[:, None] * total


def _planks(surface: Surface) -> Floats:
    x, _, z = surface.points
    row = np.floor(z / 0.19)
    number, across = row.astype(np.int32), z / 0.19 - row
    # A gap is thinner than a pixel far away: let it fade instead of flicker.
    sharp = 1 - between(6, 26, surface.distance)
    gap = (1 - between(0.0, 0.10, np.minimum(across, 1 - across))) * sharp
    tone = 0.72 + 0.5 * scattered(number) * (0.35 + 0.65 * sharp)
    grain = look_up(_grain(), x * 0.22 + scattered(number, 1), z * 2.1)
    return vector(surface.colour * (tone * (0.62 + 0.75 * grain) * (1 - 0.85 * gap)))


def _pile(surface: Surface) -> Floats:
    x, y, z = surface.points
    grain = look_up(_grain(), (x + z) * 1.9, y * 0.25)
    wet = 1 - between(0.10, 0.42, y + 0.12 * grain)
    return vector(surface.colour * ((0.6 + 0.9 * grain) * (1 - 0.6 * wet)))


def _wood(surface: Surface) -> Floats:
    x, y, z = surface.points
    return surface.colour * (0.65 + 0.7 * look_up(_grain(), (x + y) * 2.3, z * 0.3 + y * 0.4))


def _boards(surface: Surface) -> Floats:
    x, y, z = surface.points
    row = np.floor(y / 0.16)
    part = y / 0.16 - row
    tone = 0.8 + 0.4 * scattered(row.astype(np.int32), 3)
    grain = look_up(_grain(), (x + z) * 0.3, y * 1.7)
    joint = (part < 0.12).astype(np.float32)
    return vector(surface.colour * (tone * (0.6 + 0.7 * grain) * (1 - 0.5 * joint)))


_PAINTS = {"planks": _planks, "pile": _pile, "wood": _wood, "boards": _boards, "roof": _wood}


# --- the sea ------------------------------------------------------------------------------

_WAVES = (
    # length in metres, height in metres, direction in radians
    (7.5, 0.050, 1.25),
    (4.7, 0.032, 1.75),
    (2.9, 0.022, 0.95),
    (1.7, 0.013, 2.05),
    (1.05, 0.008, 1.40),
)


def _paint_sea(
    picture: Floats, view: View, stage: Stage, hits: Hits, reflection: Floats, time: float
) -> None:
    rays = view.rays(*hits.face.shape)
    water = np.array([thing.material == "water" for thing in stage.things])
    shown: NDArray[np.bool_] = (hits.face >= 0) & water[stage.owner[hits.face]]
    surface = stage.surface(rays, hits, shown)
    slope = _slope(surface.points, surface.distance, time)
    direction = rays.direction[:, shown]
    mirrored = _seen_in_water(shown, slope, surface.distance, reflection)
    picture[:, shown] = _water(direction, slope, mirrored, surface.distance)


def _slope(points: Floats, distance: Floats, time: float) -> Floats:
    """Return how steep the water is towards x and z, (2, n)."""
    x, _, z = points
    slope = np.zeros((2, x.size), np.float32)
    for length, height, angle in _WAVES:
        number = 2 * math.pi / length
        pace = math.sqrt(9.81 * number)
        ahead = vector((math.cos(angle), math.sin(angle)))
        phase = np.float32(number) * (ahead[0] * x + ahead[1] * z) - np.float32(pace * time)
        # Waves that are smaller than a pixel would only flicker.
        steep = np.cos(phase) * np.float32(height * number) * np.exp(-distance / (length * 22))
        slope += ahead[:, None] * steep
    small = np.exp(-distance / 16) * 0.55
    for turn, pace in ((0.0, 0.05), (0.37, -0.04)):
        u, v = x * 0.21 + turn + pace * time, z * 0.21 + 0.03 * time
        here = look_up(_ripples(), u, v)
        slope[0] += (look_up(_ripples(), u + 0.012, v) - here) * small
        slope[1] += (look_up(_ripples(), u, v + 0.012) - here) * small
    return slope


def _seen_in_water(
    shown: NDArray[np.bool_], slope: Floats, distance: Floats, reflection: Floats
) -> Floats:
    """Return what the water mirrors: the still reflection, shaken by the waves."""
    rows, columns = reflection.shape[1:]
    row, column = np.nonzero(shown)
    # A steeper wave shows a higher part of the sky; far away, all of it is squeezed.
    shake = rows * 0.9 / (1 + distance * 0.02)
    row_ = row / 2 + slope[1] * shake * 1.2 + np.abs(slope[0]) * shake * 0.4
    column_ = column / 2 + slope[0] * shake * 0.7
    row_ = np.clip(row_, 0, rows - 1).astype(np.int32)
    column_ = np.clip(column_, 0, columns - 1).astype(np.int32)
    return reflection[:, row_, column_]


def _water(direction: Floats, slope: Floats, mirrored: Floats, distance: Floats) -> Floats:
    normal = unit(np.stack([-slope[0], np.ones_like(distance), -slope[1]]))
    ahead = unit(direction)
    cosine = np.clip(-(ahead * normal).sum(0), 0, 1)
    fresnel = 0.03 + 0.90 * (1 - cosine) ** 4
    deep = vector((0.014, 0.038, 0.060))[:, None] + SKYLIGHT[:, None] * 0.03
    towards = ahead + normal * (2 * cosine)
    glint = _glint(towards, distance)
    # What stands between the sun and the water hides the glint too.
    open_sky = between(0.12, 0.42, mirrored[0])
    return _haze(direction, mix(deep, mirrored, fresnel), distance * 0.8) + glint * open_sky


def _glint(towards: Floats, distance: Floats) -> Floats:
    sideways = towards[0] - SUN[0] / SUN[2] * towards[2]
    upwards = towards[1] - SUN[1]
    rough = 0.020 + 0.050 * (1 - np.exp(-distance / 60))
    shape = np.exp(-((sideways / rough) ** 2) - (upwards / (rough * 2.6)) ** 2)
    return vector(vector((3.0, 1.30, 0.45))[:, None] * shape)
