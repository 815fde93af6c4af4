"""The commands to choose among videos: evaluate."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cosmos_jobs.cli import common
from cosmos_jobs.cli.records import run_document, write_json
from cosmos_jobs.render import spreadsheet, tables
from cosmos_jobs.render.progress import counting


@click.command("evaluate")
@common.names
@common.format_option(common.FORMATS_WITH_CSV)
@common.project_option
def evaluate_command(names: tuple[str, ...], form: str, project: Path | None) -> None:
    """Measure videos: how well they keep to their input, and how steady they are.

    All is computed on this machine's CPU, and kept: a video is measured once.
    `list runs --sort edge_f1` and `report` show the same numbers. What a
    metric says, and what it needs, is in docs/report.md. The runs of a
    preview are measured, too, but are no model's work.

    \b
    Examples:
      cosmos-jobs evaluate sunsets
      cosmos-jobs evaluate rs_3f2a --format json
      cosmos-jobs evaluate --format csv > all.csv
    """
    ops = common.operations(project)
    with counting("measured") if sys.stderr.isatty() else common.silent() as tell:
        records, measured = ops.evaluate(names, tell)
    if form == "json":
        write_json([run_document(each, ops.outputs.video(each), measured) for each in records])
    elif form == "csv":
        click.echo(spreadsheet.runs(records, measured), nl=False)
    elif records:
        click.echo(tables.measured(records, measured))
    else:
        click.echo("There is no video to measure. Make some: cosmos-jobs apply")
