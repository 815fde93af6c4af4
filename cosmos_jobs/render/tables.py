"""Tables of prompts, runs and jobs: aligned, as wide as they need to be in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from io import StringIO

from cosmos_jobs.model import Lane, PromptRecord, Record, State
from cosmos_jobs.render.diagnostics import visible
from cosmos_jobs.render.results import COLORS

GAP = 2
SINCE = "%m-%d %H:%M"
FOLDED = 12
"""Cells that the column which gives way keeps at least."""


def prompts(records: Iterable[PromptRecord]) -> str:
    """Return a line a prompt: id, name, video, text."""
    rows = [
        (each.prompt.id, each.name, each.video, " ".join(each.prompt.text.split()))
        for each in records
    ]
    return _table(("PROMPT", "NAME", "VIDEO", "TEXT"), rows, fold=3)


def runs(records: Iterable[Record]) -> str:
    """Return a line a run: id, state, where it stands in its jobs, why."""
    rows = [
        (
            each.run.id,
            str(each.state),
            " ".join(f"{job}/{place}" for job, place in each.jobs.items()),
            " ".join(each.reason.split()),
        )
        for each in records
    ]
    return _table(("RUN", "STATE", "PLACE", "REASON"), rows, fold=3)


def jobs(counts: dict[str, dict[State, int]]) -> str:
    """Return a line a job: how many runs are in which state."""
    shown = [state for state in State if any(each[state] for each in counts.values())]
    rows = [
        (job, *(str(each[state] or "") for state in shown), str(sum(each.values())))
        for job, each in counts.items()
    ]
    return _table(("JOB", *(str(state).upper() for state in shown), "RUNS"), rows, fold=0)


def lanes(found: Iterable[Lane]) -> str:
    """Return a line a batch in flight: where it is, how far, since when, what it waits for.

    The batches of a target that no machine has yet are one line.
    """
    queued: dict[str, list[Lane]] = {}
    rows = []
    for each in found:
        if each.host:
            rows.append(_lane([each], each.batch, each.waits_for))
        else:
            queued.setdefault(each.target, []).append(each)
    for members in queued.values():
        why = "; ".join(dict.fromkeys(each.waits_for for each in members if each.waits_for))
        rows.append(
            _lane(
                members,
                members[0].batch if len(members) == 1 else f"{len(members):,} batches",
                f"no machine yet: {why}" if why else "no machine yet",
            )
        )
    return _table(("TARGET", "HOST", "GPU", "BATCH", "RUNS", "SINCE", "REASON"), rows, fold=6)


def _lane(members: Sequence[Lane], batch: str, reason: str) -> Sequence[str]:
    first = members[0]
    done, runs = sum(each.done for each in members), sum(each.runs for each in members)
    return (
        first.target,
        first.host or "-",
        first.gpu,
        batch,
        f"{done} of {runs}",
        "waits" if first.started is None else time.strftime(SINCE, time.localtime(first.started)),
        " ".join(reason.split()),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, fold: int) -> str:
    """Return a table in which only the column `fold` gives way to a narrow terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {str(state): color or "" for state, color in COLORS.items()}
    cells = [[Text(visible(cell), style=styles.get(cell, "")) for cell in row] for row in rows]
    widths = [
        max([len(name), *(row[index].cell_len for row in cells)]) for index, name in enumerate(head)
    ]
    terminal = sys.stdout.isatty()
    console = Console(file=StringIO(), force_terminal=terminal)
    if terminal:
        # An id that is cut is useless: a line may rather be longer than the terminal.
        room = console.width - sum(widths) + widths[fold] - GAP * (len(widths) - 1)
        widths[fold] = min(widths[fold], max(room, FOLDED))
    console.width = sum(widths) + GAP * (len(widths) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, width in zip(head, widths, strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*row)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
