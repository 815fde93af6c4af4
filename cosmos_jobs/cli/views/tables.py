"""Tables of prompts, runs and jobs: aligned, as wide as they need to be in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import click

from cosmos_jobs.checks.registry import BY_NAME, METRICS, Measured
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.outcome import COLORS
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.run import RUN

GAP = 2
SINCE = "%m-%d %H:%M"
STYLES = {str(state): color for state, color in COLORS.items()}
FOLDED = 12
"""Cells that the column which gives way keeps at least."""


def prompts(records: Iterable[PromptRecord]) -> str:
    """Return a line a prompt: id, name, video, text."""
    rows = [
        (
            each.prompt.id,
            each.name,
            each.prompt.inputs.get(RUN, each.video),
            " ".join(each.prompt.text.split()),
        )
        for each in records
    ]
    return _table(("PROMPT", "NAME", "VIDEO", "TEXT"), rows, fold=3)


def runs(
    records: Iterable[Record],
    measured: Mapping[str, Measured] = MappingProxyType({}),
    metric: str | None = None,
) -> str:
    """Return a line a run: id, state, its stars if any has, where it stands in its jobs, why.

    With a `metric` it is a column, from what was `measured`, by run id.
    """
    records = list(records)
    columns: dict[str, list[str]] = {
        "RUN": [each.run.id for each in records],
        "STATE": [str(each.state) for each in records],
    }
    if any(each.rating for each in records):
        columns["RATING"] = [stars(each.rating) for each in records]
    if metric in BY_NAME:
        values = [measured.get(each.run.id, Measured()).values.get(metric) for each in records]
        columns[metric.upper()] = [number(each) for each in values]
    columns["PLACE"] = [_places(each) for each in records]
    columns["REASON"] = [" ".join(each.reason.split()) for each in records]
    rows = list(zip(*columns.values(), strict=True))
    return _table(list(columns), rows, fold=len(columns) - 1)


def measured(records: Sequence[Record], found: Mapping[str, Measured]) -> str:
    """Return a line a run with what was measured, then why the rest was not."""
    shown = [each for each in METRICS if any(each.name in one.values for one in found.values())]
    rows = [
        (
            each.run.id,
            *(number(found[each.run.id].values.get(metric.name)) for metric in shown),
            _places(each),
        )
        for each in records
    ]
    head = ("RUN", *(each.name.upper() for each in shown), "PLACE")
    table = _table(head, rows, fold=len(head) - 1)
    better = "; ".join(
        f"{each.name}: {_BETTER[each.better]}" for each in shown if each.better in _BETTER
    )
    return "\n".join([table, "", better, *_unmeasured(found.values())])


_BETTER = {1: "higher is better", -1: "lower is better"}


def _unmeasured(found: Iterable[Measured]) -> Iterator[str]:
    """Say of each metric that some runs lack why, each reason once."""
    counts = Counter(reason for one in found for reason in one.why.items())
    for (name, why), runs in counts.items():
        yield f"no {name} of {plural(runs, 'run')}: {visible(why)}"


def number(value: float | None) -> str:
    """Return a measured number with three digits that count; a dash for none."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _places(record: Record) -> str:
    return " ".join(f"{job}/{place}" for job, place in record.jobs.items())


def stars(rating: int | None) -> str:
    """Return a rating as five stars, full and empty; empty for none."""
    return "★" * rating + "☆" * (5 - rating) if rating else ""


def change(record: Record) -> str:
    """Return the line of a run whose state has changed: its state, id, place, and why."""
    place = "/".join(next(iter(record.jobs.items()), ()))
    reason = " ".join(record.reason.split())
    parts = (str(record.state), record.run.id, place, reason)
    return "  ".join(visible(each) for each in parts if each)


def jobs(counts: Mapping[str, Mapping[State, int]]) -> str:
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
    from rich.cells import cell_len, set_cell_size

    shown = [[visible(cell) for cell in row] for row in rows]
    columns = list(zip(head, *shown, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    if sys.stdout.isatty():
        # An id that is cut is useless: a line may rather be longer than the terminal.
        taken = sum(widths) - widths[fold] + GAP * (len(widths) - 1)
        room = max(shutil.get_terminal_size().columns - taken, FOLDED)
        if widths[fold] > room:
            widths[fold] = room
            for row in shown:
                if cell_len(row[fold]) > room:
                    row[fold] = f"{set_cell_size(row[fold], room - 1).rstrip()}…"
    lines = [_line(head, widths, dict.fromkeys(head, "bold"))]
    return "\n".join([*lines, *(_line(row, widths, STYLES) for row in shown)])


def _line(cells: Sequence[str], widths: Sequence[int], styles: Mapping[str, str | None]) -> str:
    """Return cells, padded; one that `styles` knows as a whole is painted (click strips it)."""
    from rich.cells import cell_len

    padded = [
        _painted(cell, styles.get(cell)) + " " * (width - cell_len(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return (" " * GAP).join(padded).rstrip()


def _painted(text: str, style: str | None) -> str:
    # Rich painted on terminals only, and so do we: files and `less` get plain text.
    if not style or not sys.stdout.isatty():
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)
