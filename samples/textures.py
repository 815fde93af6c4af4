"""Tileable noise: made once, looked up many times."""

from __future__ import annotations

import numpy as np

from samples.geometry import Floats, Ints


def noise(seed: int, size: int = 512, coarsest: int = 4, octaves: int = 6) -> Floats:
    """Return a (size, size) tile of fractal noise, 0..1, whose edges meet."""
    generator = np.random.default_rng(seed)
    total, weight = np.zeros((size, size), np.float32), 1.0
    for octave in range(octaves):
        cells = coarsest << octave
        lattice = generator.random((cells, cells), np.float32)
        total += np.float32(weight) * _stretched(lattice, size)
        weight *= 0.5
    low, high = total.min(), total.max()
    scaled: Floats = (total - low) / (high - low)
    return scaled


def _stretched(lattice: Floats, size: int) -> Floats:
    cells = len(lattice)
    at = np.arange(size, dtype=np.float32) * (cells / size)
    cell = at.astype(np.int32)
    part = at - cell
    smooth = part * part * (3 - 2 * part)
    after = (cell + 1) % cells
    rows = lattice[cell] + (lattice[after] - lattice[cell]) * smooth[:, None]
    result: Floats = rows[:, cell] + (rows[:, after] - rows[:, cell]) * smooth[None, :]
    return result


def look_up(tile: Floats, u: Floats, v: Floats) -> Floats:
    """Return `tile` at (u, v), interpolated; 1 is the width of the tile, and it repeats.

    The width must be a power of two.
    """
    size = len(tile)
    x, y = u * np.float32(size), v * np.float32(size)
    left, top = np.floor(x), np.floor(y)
    part_x, part_y = x - left, y - top
    column, row = left.astype(np.int32), top.astype(np.int32)
    mask, flat = size - 1, tile.ravel()
    column, after = column & mask, (column + 1) & mask
    row, below = (row & mask) * size, ((row + 1) & mask) * size
    above = flat[row + column] * (1 - part_x) + flat[row + after] * part_x
    under = flat[below + column] * (1 - part_x) + flat[below + after] * part_x
    between_rows: Floats = above + (under - above) * part_y
    return between_rows


def scattered(numbers: Ints, seed: int = 0) -> Floats:
    """Return a value 0..1 for each whole number, always the same and without a pattern."""
    mixed = (numbers.astype(np.int64) + seed * 7919).astype(np.uint32) * np.uint32(2654435761)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(2246822519)
    mixed ^= mixed >> np.uint32(13)
    return mixed.astype(np.float32) / np.float32(2**32)


def between(low: float, high: float, value: Floats) -> Floats:
    """Return 0 below `low`, 1 above `high`, and a smooth step between them."""
    share = np.clip((value - low) / (high - low), 0, 1)
    smooth: Floats = share * share * (3 - 2 * share)
    return smooth
