"""What an unquoted text means by the core schema of YAML 1.2: a number, a word or itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cosmos_jobs.config.document import shortened
from cosmos_jobs.core.run import Scalar

MAX_INTEGER = 2**53 - 1
MIN_FLOAT, MAX_FLOAT = 1e-5, 1e15

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: Mapping[str, Scalar] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("+-.0123456789")


class Mistake(Exception):
    """A text that looks like a number and is none of those that are taken."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def meaning(text: str) -> Scalar:
    """Return the value of an unquoted text; raise Mistake for a number that is not taken."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _NOT_FINITE.fullmatch(text):
        hint = f'write a finite number, or `"{text}"` for the text'
        raise Mistake("not-finite", f"`{text}` is not a finite number", hint)
    if not (_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)):
        return text
    return number(text)


def number(text: str) -> int | float:
    """Return the number in a text; raise Mistake unless it can be written in one way only."""
    if _LEADING_ZERO.match(text):
        bare = text.lstrip("+-").lstrip("0") or "0"
        plain = text[0].replace("+", "") + bare if text[0] in "+-" else bare
        hint = f'write `{plain}` for the number, or `"{text}"` for the text'
        raise Mistake("leading-zero", f"`{text}` has a leading zero", hint)
    value = _parse_number(text)
    if value is None:
        hint = (
            f"use 0, integers up to {MAX_INTEGER}, or decimals of {MIN_FLOAT:g} to"
            f" {MAX_FLOAT:g}; quote it for a text"
        )
        message = f"`{shortened(text)}` is too large or too small a number"
        raise Mistake("number-range", message, hint)
    return value


def _parse_number(text: str) -> int | float | None:
    """Return the number, or None when it cannot be written in one way only.

    Within these ranges every JSON writer prints the same digits, so a run's id
    does not depend on who computed it.
    """
    if len(text) > 400:
        return None
    if _INTEGER.fullmatch(text):
        integer = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return integer if abs(integer) <= MAX_INTEGER else None
    number = float(text)
    if number == 0:
        return 0.0
    return number if MIN_FLOAT <= abs(number) < MAX_FLOAT else None
