"""Runs as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from cosmos_jobs.checks.registry import METRICS, Measured
from cosmos_jobs.core.record import Record
from cosmos_jobs.core.run import CONTROLS, Scalar

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_FIXED = ("run", "state", "rating", "note", "job", "place", "engine", "prompt")


def runs(records: Sequence[Record], measured: Mapping[str, Measured]) -> str:
    """Return a line a run: what it is, its weights and parameters, and what was measured.

    Parameters that no run has are left out. A text that a spreadsheet would
    take for a formula begins with an apostrophe.
    """
    params = list(dict.fromkeys(name for each in records for name in each.run.params))
    head = [*_FIXED, *CONTROLS, *params, *(each.name for each in METRICS)]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(head)
    for each in records:
        values = measured.get(each.run.id, Measured()).values
        numbers = [f"{values[name.name]:.6g}" if name.name in values else "" for name in METRICS]
        weights = [each.run.weights.get(control, 0) for control in CONTROLS]
        given = [_cell(each.run.params.get(name)) for name in params]
        writer.writerow([*_fixed(each), *weights, *given, *numbers])
    return written.getvalue()


def _fixed(record: Record) -> list[object]:
    job, place = next(iter(record.jobs.items()), ("", ""))
    run = record.run
    texts = [
        run.id,
        str(record.state),
        record.rating,
        record.note,
        job,
        place,
        run.engine,
        run.prompt_id,
    ]
    return [_cell(each) for each in texts]


def _cell(value: Scalar) -> Scalar:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
