"""A prompt that was made, and what came of the videos of prompts, for people and scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from click import style

from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.outcome import COLORS
from cosmos_jobs.core.record import IN_FLIGHT, RETRIED, PromptRecord

SHOWN = 20
"""How many prompts of a status are named without -v."""

ORDER = (
    "failed",
    "blocked",
    "lost",
    "cancelled",
    "pending",
    "queued",
    "running",
    "succeeded",
    "up to date",
)
"""What needs a reader's attention comes first."""

GOOD = frozenset({"succeeded", "up to date"})
"""Of these there is a video."""


def created(record: PromptRecord, program: str) -> str:
    """Return what scripts and people want to know of a new prompt, its id first.

    Only the first line has `ID:` in it, behind which the id stands alone.
    """
    return "\n".join(
        (
            f"ID: {record.prompt.id}",
            f"Name: {record.name}",
            f"Video: {visible(next(iter(record.files.values())))}",
            f"Next step: {program} inference {record.prompt.id}",
        )
    )


def text(inferred: Mapping[str, Any], *, verbose: bool = False) -> str:
    """Return a line a prompt: its status and its video, or why there is none.

    `inferred` is what WorkflowOperations.inferred returns. Without `verbose`
    at most SHOWN prompts of each status are named, and no runs.
    """
    results: Sequence[Mapping[str, Any]] = inferred["results"]
    counts: Mapping[str, int] = inferred["counts"]
    groups = {
        status: [each for each in results if each["status"] == status]
        for status in sorted(counts, key=ORDER.index)
    }
    # A list that would hide one line only is shown whole.
    most = len(results) if verbose else SHOWN
    shown = {
        status: members if len(members) <= most + 1 else members[:most]
        for status, members in groups.items()
    }
    rows = [_row(each, verbose=verbose) for members in shown.values() for each in members]
    head = ("STATUS", "PROMPT", "NAME", *(("RUN",) if verbose else ()), "VIDEO OR REASON")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [style(_joined(head, widths), bold=True)]
    for status, members in shown.items():
        color = COLORS.get(status)  # type: ignore[call-overload]
        lines += [_painted(_row(each, verbose=verbose), widths, color) for each in members]
        if hidden := len(groups[status]) - len(members):
            more = f"… and {hidden:,} more {status}; -v shows all"
            lines.append(style(f"{'':<{widths[0]}}  {more}", dim=True))
    lines.append(f"{', '.join(f'{len(each):,} {status}' for status, each in groups.items())}.")
    return "\n".join([*lines, *_advice(groups, verbose=verbose)])


def _row(result: Mapping[str, Any], *, verbose: bool) -> tuple[str, ...]:
    run = (result["run_id"],) if verbose else ()
    path = result["output_path"]
    said = _near(path) if path else " ".join(result["reason"].split())
    return result["status"], result["prompt_id"], visible(result["prompt"]), *run, visible(said)


def _near(path: str) -> str:
    """Return a path as one types it here."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).is_relative_to(here) else path


def _painted(row: Sequence[str], widths: Sequence[int], color: str | None) -> str:
    line = _joined(row, widths)
    return style(line[: widths[0]], fg=color) + line[widths[0] :]


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def _advice(groups: Mapping[str, object], *, verbose: bool) -> Iterator[str]:
    if groups.keys() & RETRIED:
        ids = "" if verbose else "; -v shows run ids, for: cosmos-jobs logs RUN"
        yield f"Retry with the same command{ids}"
    if "blocked" in groups:
        yield "Blocked prompts are not retried: change their text, or use --force."
    if "pending" in groups:
        yield "What is pending did not begin: start it with the same command."
    if groups.keys() & IN_FLIGHT:
        yield "Follow what runs: cosmos-jobs watch      fetch what is made: cosmos-jobs fetch"
