"""What the engines have to say about the runs of a job, before any starts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from cosmos_jobs import engines
from cosmos_jobs.config.document import Values
from cosmos_jobs.core.batch import Note
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import Desired, Expansion, JobSpec
from cosmos_jobs.core.run import InputFile

_Group: TypeAlias = tuple[bool, str, str]
"""Whether the runs work on outputs of others, what the notes are about, and their words."""


def noted(job: JobSpec | None, expansion: Expansion) -> Iterator[Diagnostic]:
    """Yield what the engines have to say about the runs; what concerns many is said once.

    `job` is what a job file says; None where there is no file.
    """
    totals = Counter(bool(each.after) for each in expansion.runs)
    concerned: Counter[_Group] = Counter()
    notes: dict[_Group, dict[str, Note]] = {}
    for each, count in _kinds(expansion):
        files = expansion.prompts[each.run.prompt_id].files
        groups = set()
        for note in engines.get(each.run.engine).notes(each.run, files):
            group = (bool(each.after), note.about, _words(note))
            notes.setdefault(group, {}).setdefault(note.message, note)
            groups.add(group)
        concerned.update(dict.fromkeys(groups, count))
    for group, alike in notes.items():
        yield _told(job, tuple(alike.values()), concerned[group], totals[group[0]])


def _kinds(expansion: Expansion) -> Iterator[tuple[Desired, int]]:
    """Yield one run for all that engines see alike, and how many these are.

    They differ only in their seed, their text and what their videos show.
    """
    shapes = {key: _shape(source.files) for key, source in expansion.prompts.items()}
    first: dict[object, Desired] = {}
    counts: Counter[object] = Counter()
    for each in expansion.runs:
        run = each.run
        values = tuple({**run.params, "seed": None}.values())
        kind = (run.engine, tuple(run.weights.items()), values, shapes[run.prompt_id])
        first.setdefault(kind, each)
        counts[kind] += 1
    return ((each, counts[kind]) for kind, each in first.items())


def _shape(files: Mapping[str, InputFile]) -> tuple[object, ...]:
    return tuple(
        (role, one.path.suffix, one.frames, one.width, one.height, one.fps)
        for role, one in files.items()
    )


def _words(note: Note) -> str:
    """Return what notes have in common that one warning stands for: all but the numbers."""
    return note.message if note.is_error else re.sub(r"\d[\d.,]*", "#", note.message)


def _told(job: JobSpec | None, alike: Sequence[Note], count: int, total: int) -> Diagnostic:
    note = alike[0]
    more = f", and {len(alike) - 1} more like it" if alike[1:] else ""
    part = f" ({count:,} of {total:,} runs)" if count < total else ""
    at = _place(job, note.about) if job else ()
    source = job.source if job else Values()
    return source.diagnostic(
        at,
        "engine-refuses" if note.is_error else "engine-note",
        f"{note.message}{more}{part}",
        key=len(at) == 1,
        hint=note.hint,
        severity=Severity.ERROR if note.is_error else Severity.WARNING,
    )


def _place(job: JobSpec, about: str) -> Where:
    """Return where a job file says what a note is about; for a default that is its engine."""
    if about == "video":
        return ("videos",)
    if about in ("weights", "regions", "upscale"):
        return (about,)
    if about in job.params:
        return ("params", *about.split("."))
    included = (number for number, one in enumerate(job.include) if about in one.params)
    return next((("include", number, about) for number in included), ("engine",))
