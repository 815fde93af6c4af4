"""The text of prompts: `{name}` stands for a variable, `{{` and `}}` for literal braces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bad>\{[^{}]*\}|[{}])")


def normalised(text: str) -> str:
    """Return `text` in NFC and without trailing white space, as it enters a run's identity."""
    return unicodedata.normalize("NFC", text).rstrip()


@dataclass(frozen=True, slots=True)
class BadText:
    """Why a text cannot be a prompt's; `what` continues a sentence about it."""

    code: str
    what: str
    hint: str


def checked(text: str) -> str | BadText:
    """Return the text of a prompt as it enters runs, or why it cannot be one."""
    # An editor's or git's choice of line ends must not make another prompt.
    text = normalised(text.replace("\r\n", "\n"))
    if not text:
        return BadText("empty-prompt", "is empty", "write the prompt into it")
    for number, line in enumerate(text.split("\n"), start=1):
        for character in line:
            if unicodedata.category(character) == "Cc" and character != "\t":
                return BadText(
                    "control-character",
                    f"has the control character U+{ord(character):04X} in line {number}",
                    "remove it",
                )
    return text


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names of the variables that `text` uses, each once, in order."""
    if "{" not in text:
        return ()
    return tuple(dict.fromkeys(name for m in _TOKEN.finditer(text) if (name := m["name"])))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced and its doubled braces made single.

    Values are put in as they are: braces in them mean nothing. Raises KeyError for
    a variable without a value. Malformed braces stay.
    """
    if "{" not in text and "}" not in text:
        return text
    return _TOKEN.sub(lambda match: _replacement(match, values), text)


def malformed(text: str) -> Iterator[tuple[str, int]]:
    """Yield each brace that is neither doubled nor part of a `{name}`, and its occurrence.

    The occurrence counts from 0 among all places where the same part stands in `text`.
    """
    if "{" not in text and "}" not in text:
        return
    for match in _TOKEN.finditer(text):
        if bad := match["bad"]:
            yield bad, text.count(bad, 0, match.start())


def _replacement(match: re.Match[str], values: Mapping[str, str]) -> str:
    if name := match["name"]:
        return values[name]
    return match["bad"] or match[0][0]
