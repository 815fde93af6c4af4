"""Tables of prompts, runs and jobs: aligned, as wide as they need to be in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import StringIO

from cosmos_jobs.model import PromptRecord, Record, State
from cosmos_jobs.render.diagnostics import visible
from cosmos_jobs.render.results import COLORS, moment

PIPE_WIDTH = 10_000


def prompts(records: Iterable[PromptRecord]) -> str:
    """Return a line a prompt: id, name, video, text."""
    rows = [
        (each.prompt.id, each.name, each.video, " ".join(each.prompt.text.split()))
        for each in records
    ]
    return _table(("PROMPT", "NAME", "VIDEO", "TEXT"), rows, fold=3)


def runs(records: Iterable[Record]) -> str:
    """Return a line a run: id, state, where it stands in its jobs, when it ended, why."""
    rows = [
        (
            each.run.id,
            str(each.state),
            " ".join(f"{job}/{place}" for job, place in each.jobs.items()),
            moment(each.last.finished) if each.last and each.last.finished else "",
            " ".join(each.reason.split()),
        )
        for each in records
    ]
    return _table(("RUN", "STATE", "PLACE", "FINISHED", "REASON"), rows, fold=4)


def jobs(counts: dict[str, dict[State, int]]) -> str:
    """Return a line a job: how many runs are in which state."""
    shown = [state for state in State if any(each[state] for each in counts.values())]
    rows = [
        (job, *(str(each[state] or "") for state in shown), str(sum(each.values())))
        for job, each in counts.items()
    ]
    return _table(("JOB", *(str(state).upper() for state in shown), "RUNS"), rows, fold=0)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, fold: int) -> str:
    """Return a table in which only the column `fold` gives way to a narrow terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=True, overflow="ellipsis" if index == fold else "fold")
    styles = {str(state): color or "" for state, color in COLORS.items()}
    for row in rows:
        table.add_row(*(Text(visible(cell), style=styles.get(cell, "")) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(
        file=StringIO(), force_terminal=terminal, width=None if terminal else PIPE_WIDTH
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
