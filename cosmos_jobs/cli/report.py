"""The commands to choose among videos: evaluate, report."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import spreadsheet, tables
from cosmos_jobs.cli.views.documents import run_document
from cosmos_jobs.cli.views.progress import counting


@click.command("evaluate")
@options.names
@options.format_option(options.FORMATS_WITH_CSV)
@options.project_option
def evaluate_command(names: tuple[str, ...], form: str, project: Path | None) -> None:
    """Measure how closely videos follow their input.

    It also measures how steady and how sharp they are. It computes everything
    on this machine's CPU, and measures each video once. `list runs --sort
    edge_f1` and `report` show the same numbers. docs/report.md explains what
    each metric means and needs. It measures previews, too, but they are not
    model output.

    \b
    Examples:
      cosmos-jobs evaluate sunsets
      cosmos-jobs evaluate rs_3f2a --format json
      cosmos-jobs evaluate --format csv > all.csv
    """
    ops = operations(project, offline=True)
    with counting("measured") if sys.stderr.isatty() else console.silent() as tell:
        records, measured = ops.evaluate(names, tell)
    if form == "json":
        console.write_json(
            [run_document(each, ops.outputs.video(each), measured) for each in records]
        )
    elif form == "csv":
        click.echo(spreadsheet.runs(records, measured), nl=False)
    elif records:
        click.echo(tables.measured(records, measured))
    else:
        click.echo("There is no video to measure. Make some: cosmos-jobs apply")


@click.command("report")
@click.argument("job", metavar="JOB|FILE", shell_complete=completion.complete_job_files)
@click.option("-o", "--out", metavar="DIR", default="", help="Write to this folder.")
@click.option("--open", "opening", is_flag=True, help="Open the page in the browser.")
@click.option("--embed", is_flag=True, help="Write one file with small copies of the videos in it.")
@options.project_option
def report_command(job: str, out: str, opening: bool, embed: bool, project: Path | None) -> None:
    """Write a page that plays a job's videos in step.

    The page is reports/JOB/index.html in the project. It needs no server and
    loads nothing from the network. You can move the folder, or keep it as a
    CI artifact. The page also lists failed and pending runs, and it plots what
    `evaluate` measured. Press ? on the page for its keys. To store the ratings
    given there, type: cosmos-jobs rate --import FILE.

    \b
    Examples:
      cosmos-jobs report sunsets --open
      cosmos-jobs report jobs/sunsets.yaml -o public
      cosmos-jobs report sunsets --embed -o to-send
    """
    ops = operations(project, (job,), offline=True)
    page = ops.report(job, out, embed=embed)
    click.echo(str(page))
    if opening and click.launch(page.resolve().as_uri()):
        click.echo("no browser could be started here: open that file in one", err=True)
