"""`{start, stop, step}` → its values, in decimal arithmetic: 0.1 to 0.9 by 0.2 is five values."""

from __future__ import annotations

from decimal import Context, Decimal

MAX_VALUES = 1_000_000

# Numbers of a job file have at most 17 digits between 1e-5 and 1e15, so that every
# sum of them is exact within 60 digits.
_EXACT = Context(prec=60)


def count(start: float, stop: float, step: float) -> int:
    """Return how many values a range has, the stop included when the steps reach it.

    0 when it goes down or `step` is not above 0.
    """
    first, last, distance = _decimal(start), _decimal(stop), _decimal(step)
    if distance <= 0 or last < first:
        return 0
    return int(_EXACT.divide_int(_EXACT.subtract(last, first), distance)) + 1


def values(start: float, stop: float, step: float) -> tuple[int | float, ...]:
    """Return the values of a range; integral ones are ints. Look at `count` first."""
    first, distance = _decimal(start), _decimal(step)
    steps = range(count(start, stop, step))
    return tuple(_number(_EXACT.add(first, _EXACT.multiply(distance, i))) for i in steps)


def snapped(value: float) -> float:
    """Return `value` rounded to 0.01, halves away from zero, by its decimal digits."""
    return float(_decimal(value).quantize(Decimal("0.01"), "ROUND_HALF_UP"))


def _decimal(value: float) -> Decimal:
    # repr is the shortest text of a float: what the user wrote.
    return Decimal(repr(value))


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value(context=_EXACT) else float(value)
