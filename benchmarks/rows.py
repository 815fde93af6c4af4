"""A table of measurements: each beside what it is compared with and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, beside what, and the ratio aimed at."""

    what: str
    measured: str
    reference: str
    ratio: float
    target: str


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text in columns."""
    cells = [
        (row.what, row.measured, row.reference, f"{row.ratio:.2f}", row.target) for row in rows
    ]
    head = ("what", "measured", "reference", "ratio", "target")
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in (head, *cells)
    )
    return "\n".join(line.rstrip() for line in lines)


def best(timed: Callable[[], float], times: int = 3) -> float:
    """Return the smallest of some measurements: what the machine's other work adds is noise."""
    return min(timed() for _ in range(times))
