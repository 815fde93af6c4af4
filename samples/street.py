"""A street in the morning: houses, trees, parked cars, and traffic that moves."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from samples.geometry import (
    Ball,
    Floats,
    Hits,
    Vector,
    View,
    box,
    cast,
    extrude,
    half_space,
    moved,
    no_hits,
    pinhole,
    rod,
    sun_view,
    unit,
    vector,
)
from samples.light import Scene, ShadowMap, Stage, Surface, Thing, dot, mix
from samples.textures import between, look_up, noise, scattered

SUN = unit((-0.62, 0.74, -0.42))
SUNLIGHT = vector((2.55, 2.15, 1.62))
SKYLIGHT = vector((0.37, 0.45, 0.57))
END = 118.0
"""How far the street goes, in metres."""

LABELS = {
    "sky": (70, 130, 180),
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (90, 90, 90),
    "car": (0, 0, 160),
    "tree": (107, 160, 35),
    "pole": (230, 200, 60),
    "person": (220, 20, 60),
}

_MAP_SIZE = (1408, 2048)


def view(time: float, aspect: float) -> View:
    """Return the camera, driving down the right lane; `time` is in seconds."""
    z = 4.2 * time
    x = 1.15 - 0.45 * math.sin(time * 0.8)
    return pinhole((x, 2.25, z), (x - 0.9 + 0.25 * time, 2.35, z + 20), 66, aspect)


def stage(time: float) -> Stage:
    """Return the things; those that move come last."""
    return Stage([*_still(), *_traffic(time)])


def picture(view: View, stage: Stage, hits: Hits, time: float) -> Floats:
    """Return the light of each pixel, (3, rows, columns)."""
    rays = view.rays(*hits.face.shape)
    result = np.empty((3, *hits.face.shape), np.float32)
    empty = hits.face < 0
    result[:, empty] = sky(rays.direction[:, empty])
    surface = stage.surface(rays, hits, ~empty)
    direction = rays.direction[:, ~empty]
    result[:, ~empty] = _haze(direction, _shaded(stage, surface, direction, time), surface.distance)
    return result


STREET = Scene("street", LABELS, 4.0, 130.0, 0.62, view, stage, picture)


# --- things -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _still() -> list[Thing]:
    ground = Thing(half_space(0), "road", "asphalt", (0.115, 0.115, 0.125))
    paths = [
        Thing(box((low, 0, -20), (low + 3.2, 0.14, END)), "sidewalk", "slabs", (0.42, 0.40, 0.37))
        for low in (-7.9, 4.7)
    ]
    houses = [part for side in (-1, 1) for part in _row_of_houses(side)]
    trees = [part for number in range(9) for part in _tree(number)]
    lamps = [part for number in range(6) for part in _lamp(number)]
    return [ground, *paths, *houses, *_tower(), *trees, *lamps, *_parked()]


_PLASTER = (
    (0.62, 0.46, 0.30),
    (0.66, 0.60, 0.50),
    (0.50, 0.24, 0.17),
    (0.40, 0.47, 0.50),
    (0.68, 0.55, 0.36),
    (0.55, 0.34, 0.26),
    (0.60, 0.62, 0.58),
)


def _row_of_houses(side: int) -> list[Thing]:
    generator = np.random.default_rng(40 + side)
    things: list[Thing] = []
    z, number = -14.0, 3 if side > 0 else 0
    while z < END - 4:
        width = float(generator.uniform(8.5, 12.5))
        floors = int(generator.integers(2, 5))
        things += _house(side, z, min(z + width, END), floors, _PLASTER[number % len(_PLASTER)])
        z, number = z + width, number + 1
    return things


def _house(side: int, near: float, far: float, floors: int, colour: Vector) -> list[Thing]:
    front, back, top = 7.9 * side, 17.0 * side, 0.4 + 3.0 * floors
    left, right = sorted((front, back))
    ledge_left, ledge_right = sorted((front - 0.18 * side, back))
    door = near + 1.3
    wall = box((left, 0, near), (right, top, far))
    ledge = box((ledge_left, top - 0.28, near), (ledge_right, top, far))
    roof = extrude(
        ((ledge_left, top), (ledge_right, top), ((left + right) / 2, top + 3.0)), near, far
    )
    door_left, door_right = sorted((front, front - 0.06 * side))
    chimney = box(
        (front + 2.5 * side - 0.35, top, near + 2),
        (front + 2.5 * side + 0.35, top + 2.6, near + 2.8),
    )
    tiles = (0.34, 0.13, 0.08) if floors % 2 else (0.17, 0.17, 0.19)
    return [
        Thing(wall, "building", "wall", colour),
        Thing(ledge, "building", "plain", (0.60, 0.57, 0.52)),
        Thing(roof, "building", "tiles", tiles),
        Thing(
            box((door_left, 0.14, door), (door_right, 2.35, door + 1.15)),
            "building",
            "plain",
            (0.10, 0.14, 0.12),
        ),
        Thing(chimney, "building", "plain", (0.35, 0.18, 0.13)),
    ]


def _tower() -> list[Thing]:
    stone = (0.58, 0.53, 0.44)
    spire = extrude(((-3.4, 19), (3.4, 19), (0, 29)), 124.6, 131.4)
    return [
        Thing(box((-16, 0, 126), (16, 10, 140)), "building", "wall", (0.60, 0.52, 0.42)),
        Thing(
            extrude(((-17, 10), (17, 10), (0, 15)), 126, 140),
            "building",
            "tiles",
            (0.20, 0.19, 0.20),
        ),
        Thing(box((-3, 0, 125), (3, 19, 131)), "building", "wall", stone),
        Thing(spire, "building", "tiles", (0.16, 0.22, 0.20)),
    ]


def _tree(number: int) -> list[Thing]:
    generator = np.random.default_rng(70 + number)
    x, z = (-5.6, 5.6)[number % 2], 9.5 + 12.0 * number
    trunk = rod((x, z), 0.1, 3.0, 0.13)
    crown = [
        Thing(
            Ball(vector((x + dx, 3.6 + dy, z + dz)), vector((radius, radius * 0.85, radius))),
            "tree",
            "leaves",
            (0.13 + tone, 0.26 + tone, 0.05),
        )
        for dx, dy, dz, radius, tone in zip(
            *generator.uniform(-0.95, 0.95, (3, 10)).tolist(),
            generator.uniform(0.5, 1.0, 10).tolist(),
            generator.uniform(-0.03, 0.04, 10).tolist(),
            strict=True,
        )
    ]
    return [Thing(trunk, "tree", "plain", (0.14, 0.10, 0.07)), *crown]


def _lamp(number: int) -> list[Thing]:
    side = (1, -1)[number % 2]
    x, z = 5.0 * side, 15.0 + 18.0 * number
    left, right = sorted((x, x - 1.3 * side))
    iron = (0.07, 0.09, 0.08)
    return [
        Thing(rod((x, z), 0.1, 5.6, 0.06), "pole", "plain", iron),
        Thing(box((left, 5.5, z - 0.04), (right, 5.6, z + 0.04)), "pole", "plain", iron),
        Thing(
            box((x - 1.5 * side - 0.25, 5.4, z - 0.12), (x - 1.5 * side + 0.25, 5.55, z + 0.12)),
            "pole",
            "plain",
            (0.5, 0.5, 0.48),
        ),
    ]


def _parked() -> list[Thing]:
    right = (
        (11.5, (0.30, 0.02, 0.03)),
        (17.3, (0.45, 0.45, 0.46)),
        (34, (0.03, 0.10, 0.22)),
        (40.2, (0.55, 0.50, 0.40)),
        (58, (0.04, 0.05, 0.05)),
        (76, (0.42, 0.06, 0.04)),
    )
    left = (
        (21, (0.06, 0.16, 0.12)),
        (27, (0.62, 0.60, 0.56)),
        (47, (0.50, 0.30, 0.03)),
        (53, (0.10, 0.11, 0.13)),
        (82, (0.35, 0.38, 0.42)),
    )
    return [
        *(part for z, colour in right for part in _car(3.65, z, 0, colour)),
        *(part for z, colour in left for part in _car(-3.65, z, math.pi, colour)),
    ]


def _traffic(time: float) -> list[Thing]:
    return [
        *_car(1.45, 15.5 + 5.4 * time, 0, (0.06, 0.20, 0.45)),
        *_car(1.55, 46 + 6.5 * time, 0, (0.55, 0.53, 0.50)),
        *_car(-1.5, 31 - 8.5 * time, math.pi, (0.52, 0.09, 0.03)),
        *_car(-1.45, 68 - 9.0 * time, math.pi, (0.60, 0.46, 0.06)),
        *_car(-1.5, 96 - 8.0 * time, math.pi, (0.10, 0.10, 0.11)),
        *_walker(6.9, 12.5 + 1.3 * time, time, (0.45, 0.10, 0.08)),
        *_walker(-6.6, 24.0 - 1.2 * time, time + 0.4, (0.08, 0.15, 0.35)),
        *_walker(6.5, 31.0 - 1.25 * time, time + 0.2, (0.50, 0.42, 0.20)),
    ]


_BODY = ((-2.12, 0.34), (2.08, 0.34), (2.16, 0.58), (1.95, 0.80), (-2.02, 0.93), (-2.16, 0.72))
_CABIN = ((-1.78, 0.90), (1.08, 0.82), (0.42, 1.38), (-1.28, 1.42))
_ROOF = ((-1.36, 1.38), (0.46, 1.34), (0.30, 1.45), (-1.16, 1.48))


def _car(x: float, z: float, turn: float, colour: Vector) -> list[Thing]:
    parts = [
        (extrude(_BODY, -0.88, 0.88, 0), "paint", colour),
        (extrude(_CABIN, -0.74, 0.74, 0), "glass", (0.02, 0.025, 0.03)),
        (extrude(_ROOF, -0.72, 0.72, 0), "paint", colour),
        (box((-0.5, 0.42, -2.19), (0.5, 0.58, -2.1)), "plain", (0.5, 0.5, 0.45)),
    ]
    for side in (-1, 1):
        inner, outer = sorted((0.60 * side, 0.90 * side))
        parts += [
            (rod((axle, 0.33), inner, outer, 0.33, 0), "plain", (0.02, 0.02, 0.022))
            for axle in (-1.32, 1.34)
        ]
        low, high = sorted((0.52 * side, 0.82 * side))
        parts += [
            (box((low, 0.66, -2.17), (high, 0.80, -2.06)), "light", (0.9, 0.03, 0.02)),
            (box((low, 0.58, 2.02), (high, 0.70, 2.145)), "light", (1.5, 1.45, 1.3)),
        ]
    return [Thing(moved(solid, (x, 0, z), turn), "car", look, tint) for solid, look, tint in parts]


def _walker(x: float, z: float, time: float, coat: Vector) -> list[Thing]:
    stride = 0.30 * math.sin(time * 6.5)
    dark, skin = (0.05, 0.05, 0.07), (0.45, 0.28, 0.20)
    ball = (
        (0, 1.63, 0, 0.11, 0.14, 0.12, skin),
        (0, 1.17, 0, 0.21, 0.38, 0.15, coat),
        (-0.09, 0.52, stride / 2, 0.09, 0.46, 0.11 + abs(stride) / 4, dark),
        (0.09, 0.52, -stride / 2, 0.09, 0.46, 0.11 + abs(stride) / 4, dark),
        (-0.25, 1.12, -stride / 3, 0.06, 0.33, 0.08, coat),
        (0.25, 1.12, stride / 3, 0.06, 0.33, 0.08, coat),
    )
    return [
        Thing(
            Ball(vector((x + dx, y + 0.10, z + dz)), vector((a, b, c))), "person", "plain", colour
        )
        for dx, y, dz, a, b, c, colour in ball
    ]


# --- light --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _clouds() -> Floats:
    return noise(31, coarsest=4)


@lru_cache(maxsize=1)
def _rough() -> Floats:
    return noise(8, coarsest=8, octaves=6)


@lru_cache(maxsize=1)
def _still_shadows() -> Hits:
    return cast(_sun(), [t.shape for t in _still()[1:]], no_hits(*_MAP_SIZE))


def _sun() -> View:
    return sun_view(SUN, (0, 3, 52), (62, 43))


@lru_cache(maxsize=1)
def _shadows(time: float) -> ShadowMap:
    shapes = [thing.shape for thing in _traffic(time)]
    return ShadowMap(_sun(), cast(_sun(), shapes, _still_shadows()).distance)


def sky(direction: Floats) -> Floats:
    """Return the light from `direction`, (3, n), of any length; below it is as the horizon."""
    ahead = unit(direction)
    height = np.maximum(ahead[1], 0)
    low, high = vector((0.98, 1.08, 1.16)), vector((0.16, 0.36, 0.82))
    colour = mix(low[:, None], high[:, None], between(-0.05, 0.62, height))
    far = 1 / (height + 0.16)
    cover = look_up(_clouds(), ahead[0] * far * 0.16 + 0.2, ahead[2] * far * 0.16)
    share = between(0.56, 0.86, cover) * between(0.02, 0.16, height)
    shade = 1.9 - 0.75 * between(0.6, 0.95, cover)
    return mix(colour, vector((1, 1, 1.03))[:, None] * shade, share)


def _haze(direction: Floats, colour: Floats, distance: Floats) -> Floats:
    share = 1 - np.exp(-np.maximum(distance - 12, 0) / 300)
    return mix(colour, vector((0.92, 0.98, 1.02))[:, None], share)


def _shaded(stage: Stage, surface: Surface, direction: Floats, time: float) -> Floats:
    colour = surface.colour.copy()
    mirror = np.zeros_like(surface.distance)
    for material, paint in _PAINTS.items():
        here = stage.of(surface, material)
        if here.any():
            colour[:, here], mirror[here] = paint(surface.part(here))
    facing = np.maximum(dot(surface.normals, SUN), 0)
    sunny = _shadows(time).lit(surface.points + surface.normals * 0.05, 0.08)
    # Light is scarcer near the ground between the houses, and below cars.
    open_sky = (0.50 + 0.50 * surface.normals[1]) * 0.75 + 0.30
    light = SUNLIGHT[:, None] * (facing * sunny) + SKYLIGHT[:, None] * open_sky
    light += vector((0.22, 0.19, 0.15))[:, None] * (0.5 - 0.5 * surface.normals[1])
    result = np.where(stage.of(surface, "light"), surface.colour * 1.4, colour * light)
    shiny = mirror > 0
    result[:, shiny] = _mirrored(
        surface.part(shiny), direction[:, shiny], result[:, shiny], mirror[shiny], sunny[shiny]
    )
    return result


def _mirrored(
    surface: Surface, direction: Floats, colour: Floats, mirror: Floats, sunny: Floats
) -> Floats:
    ahead = unit(direction)
    cosine = -(ahead * surface.normals).sum(0)
    towards = ahead + surface.normals * (2 * cosine)
    share = mirror * (0.25 + 0.75 * np.clip(1 - cosine, 0, 1) ** 3)
    # What a street mirrors below the roofs is the other side of the street.
    around = mix(
        vector((0.30, 0.27, 0.24))[:, None], sky(towards) * 0.9, between(0.10, 0.40, towards[1])
    )
    spark = np.maximum(dot(towards, SUN), 0) ** 90 * 3 * sunny * (mirror > 0.3)
    return mix(colour, around, share) + spark


def _asphalt(surface: Surface) -> tuple[Floats, Floats]:
    x, _, z = surface.points
    fine = 0.78 + 0.5 * look_up(_rough(), x * 0.35, z * 0.35)
    worn = 0.85 + 0.35 * look_up(_rough(), x * 0.05 + 0.4, z * 0.012)
    colour = surface.colour * (fine * worn)
    dashes = (np.abs(x) < 0.07) & (z % 6.0 < 2.6)
    edges = np.abs(np.abs(x) - 2.62) < 0.05
    crossing = (np.abs(z - 44.0) < 1.6) & (x % 1.0 < 0.5) & (np.abs(x) < 4.5)
    marked = (dashes & (np.abs(z - 44.0) > 3)) | edges | crossing
    faded = 0.75 * between(0.15, 0.45, look_up(_rough(), x * 0.6, z * 0.6 + 0.3))
    white = vector((0.62, 0.61, 0.57))[:, None]
    return mix(colour, white, marked * faded), np.zeros_like(x)


def _slabs(surface: Surface) -> tuple[Floats, Floats]:
    x, y, z = surface.points
    row, column = np.floor(z / 0.8), np.floor(x / 0.8)
    inner = np.minimum(
        np.minimum(z / 0.8 - row, row + 1 - z / 0.8),
        np.minimum(x / 0.8 - column, column + 1 - x / 0.8),
    )
    sharp = 1 - between(8, 30, surface.distance)
    joint = (1 - between(0.0, 0.06, inner)) * sharp
    number = (row * 17 + column).astype(np.int32)
    tone = 0.85 + 0.2 * scattered(number) * sharp + 0.25 * look_up(_rough(), x * 0.2, z * 0.2)
    kerb = np.where(y < 0.139, 0.7, 1.0).astype(np.float32)
    return surface.colour * (tone * (1 - 0.45 * joint) * kerb), np.zeros_like(x)


def _wall(surface: Surface) -> tuple[Floats, Floats]:
    """Return plaster with rows of windows; they face the street and the viewer alike."""
    x, y, z = surface.points
    along = np.where(np.abs(surface.normals[0]) > 0.5, z, x)
    stains = (
        0.80
        + 0.22 * look_up(_rough(), along * 0.11, y * 0.06)
        + 0.14 * look_up(_rough(), along * 0.5, y * 0.5)
    )
    plinth = np.where(y < 0.75, 0.62, 1.0).astype(np.float32)
    colour = surface.colour * (stains * plinth)
    column, storey = np.floor(along / 2.15), np.floor((y - 0.4) / 3.0)
    u, v = along / 2.15 - column, (y - 0.4) / 3.0 - storey
    frame = (np.abs(u - 0.5) < 0.29) & (np.abs(v - 0.50) < 0.285) & (y > 0.6)
    pane = (np.abs(u - 0.5) < 0.235) & (np.abs(v - 0.50) < 0.25) & (y > 0.6)
    bar = (np.abs(u - 0.5) < 0.022) | (np.abs(v - 0.58) < 0.016)
    glass = pane & ~bar
    number = (column * 31 + storey * 7 + surface.thing).astype(np.int32)
    drawn = glass & (v > 0.25 + 0.6 * scattered(number, 2)) & (scattered(number, 5) < 0.55)
    colour = np.where(frame, vector((0.66, 0.64, 0.60))[:, None], colour)
    colour = np.where(glass, vector((0.035, 0.045, 0.055))[:, None], colour)
    colour = np.where(drawn, vector((0.42, 0.38, 0.31))[:, None], colour)
    sill = (np.abs(u - 0.5) < 0.31) & (np.abs(v - 0.20) < 0.02) & (y > 0.6)
    colour = np.where(sill, vector((0.30, 0.28, 0.26))[:, None], colour)
    return vector(colour), np.where(glass & ~drawn, 0.8, np.where(drawn, 0.25, 0)).astype(
        np.float32
    )


def _tiles(surface: Surface) -> tuple[Floats, Floats]:
    x, y, z = surface.points
    row = np.floor(y / 0.28)
    part = y / 0.28 - row
    sharp = 1 - between(18, 60, surface.distance)
    seam = (part < 0.2).astype(np.float32) * sharp
    tone = 0.8 + 0.35 * look_up(_rough(), z * 0.3, y * 0.3 + x * 0.2) - 0.3 * seam
    return vector(surface.colour * tone), np.zeros_like(x)


def _leaves(surface: Surface) -> tuple[Floats, Floats]:
    x, y, z = surface.points
    sides = look_up(_rough(), x * 0.9, y * 0.9) + look_up(_rough(), z * 0.9 + 0.3, y * 0.9 + 0.6)
    clump = (sides + look_up(_rough(), x * 0.9 + 0.7, z * 0.9)) / np.float32(3)
    tone = 0.35 + 1.15 * between(0.38, 0.64, clump)
    below = 0.55 + 0.45 * between(-0.8, 0.4, surface.normals[1])
    return surface.colour * (tone * below), np.zeros_like(x)


def _paint(surface: Surface) -> tuple[Floats, Floats]:
    return surface.colour, np.full_like(surface.distance, 0.42)


def _glass(surface: Surface) -> tuple[Floats, Floats]:
    return surface.colour, np.full_like(surface.distance, 0.85)


_PAINTS = {
    "asphalt": _asphalt,
    "slabs": _slabs,
    "wall": _wall,
    "tiles": _tiles,
    "leaves": _leaves,
    "paint": _paint,
    "glass": _glass,
}
