"""Names that are made for people: of prompts by their text, of videos by their settings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache

from cosmos_jobs.core.job import Contract
from cosmos_jobs.core.run import InputFile, Run, Scalar

MAX_SLUG = 40
"""Characters of a prompt's name that is made of its text."""

MAX_LABEL_BYTES = 180
"""A file name has at most 255 bytes on every file system; an id may come behind."""

MAX_PART = 40

_SMALL = "a an and are as at be by for from has have in into is it its of on or over that the their"
_SMALL_TOO = "there this to under was were where which while with"
_IGNORED = frozenset(f"{_SMALL} {_SMALL_TOO}".split())
_LETTERS = str.maketrans({"æ": "ae", "đ": "d", "ð": "d", "ł": "l", "ø": "o", "œ": "oe", "þ": "th"})


def weights_text(weights: Mapping[str, float]) -> str:
    """Return weights for readers: `edge 0.7, vis 0.2`."""
    return ", ".join(f"{control} {value:g}" for control, value in weights.items())


def prompt_name(text: str, prompt_id: str, taken: Collection[str]) -> str:
    """Return a name for a prompt by the words of its text, such as `pier_golden_hour`.

    The same text has the same name on every machine; where another prompt has
    it (`taken`), a part of the id follows. It is never empty, and at most
    MAX_SLUG characters long.
    """
    digits = prompt_id.removeprefix("ps_")
    slug = _slug(text) or f"prompt-{digits[:4]}"
    lowered = {each.casefold() for each in taken}
    if slug not in lowered:
        return slug
    names = (f"{slug[: MAX_SLUG - n - 1].rstrip('_')}-{digits[:n]}" for n in (4, 8, 16))
    return next((name for name in names if name not in lowered), f"prompt-{digits}")


def _slug(text: str) -> str:
    """Return the first words of a text that tell something, in ASCII; "" when it has none."""
    folded = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    plain = re.sub(r"['’]", "", folded).encode("ascii", "ignore").decode()
    every = re.findall(r"[a-z0-9]+", plain)
    slug = ""
    for word in [each for each in every if each not in _IGNORED] or every:
        longer = f"{slug}_{word}" if slug else word[:MAX_SLUG]
        if len(longer) > MAX_SLUG:
            break
        slug = longer
    return slug


def label(run: Run, contract: Contract, files: Mapping[str, InputFile]) -> str:
    """Return a file name by what sets a run apart: `vis0.3_edge0.7-num_steps50`.

    It shows the weights, and the parameters that differ from the engine's
    defaults; `files` are those of them that are files.
    """
    parts = ["_".join(f"{control}{value:g}" for control, value in run.weights.items())]
    for name, default in contract.defaults.items():
        value = run.params.get(name)
        if value != default or isinstance(value, bool) != isinstance(default, bool):
            shown = files[name].path.stem if name in files else _shown(value)
            parts.append(f"{name}{part(shown)}")
    return "-".join(filter(None, parts)).encode()[:MAX_LABEL_BYTES].decode(errors="ignore") or "_"


@lru_cache(maxsize=4096)
def part(value: str) -> str:
    """Return `value` with everything but letters, digits, dots and dashes as one underscore."""
    kept = "".join(char if char.isalnum() or char in ".-" else " " for char in value)
    return "_".join(kept.split())[:MAX_PART] or "_"


def _shown(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
