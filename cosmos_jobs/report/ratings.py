"""Ratings as the report's page exports them: a small JSON file, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.errors import InvalidFiles

FORMAT = 1
STARS = range(1, 6)
MAX_NOTE = 2000
"""Characters of a note."""

_RUN = re.compile(r"rs_[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Rating:
    """What somebody thinks of a run: stars, None for none, and a note."""

    run: str
    stars: int | None
    note: str


def parse(data: bytes, path: str) -> tuple[Rating, ...]:
    """Return the ratings of a file; the last one of a run counts.

    ``{"cosmos_jobs_ratings": 1, "ratings": [{"run": "rs_…", "stars": 4, "note": "…"}]}``.
    Raises InvalidFiles with every problem.
    """
    try:
        document = orjson.loads(data)
        found = document["ratings"]
        known = document["cosmos_jobs_ratings"] == FORMAT and isinstance(found, list)
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        message = "is no file of ratings that this cosmos-jobs knows"
        hint = "on the page of a report, press `Export ratings`"
        raise InvalidFiles(f"{path} {message}", (Diagnostic("ratings", message, path, hint=hint),))
    problems = tuple(
        Diagnostic("rating", f"ratings[{number}]: {problem}", path)
        for number, each in enumerate(found)
        for problem in _problems(each)
    )
    if problems:
        raise InvalidFiles(f"{path} is invalid", problems)
    return tuple({each["run"]: _rating(each) for each in found}.values())


def _problems(each: Any) -> Iterator[str]:
    if not isinstance(each, dict):
        yield "is no mapping with `run`, `stars` and `note`"
        return
    run, stars, note = each.get("run"), each.get("stars"), each.get("note", "")
    if not isinstance(run, str) or not _RUN.fullmatch(run):
        yield "`run` is no id of a run"
    if stars is not None and (type(stars) is not int or stars not in STARS):
        yield "`stars` is neither 1 to 5 nor null"
    if not isinstance(note, str) or len(note) > MAX_NOTE:
        yield f"`note` is no text of at most {MAX_NOTE:,} characters"


def _rating(each: dict[str, Any]) -> Rating:
    return Rating(each["run"], each.get("stars"), each.get("note", "").strip())
