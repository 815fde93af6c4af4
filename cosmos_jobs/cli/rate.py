"""The command rate."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.cli import completion, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import tables
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.report.ratings import MAX_NOTE


@click.command("rate")
@click.argument("run", metavar="[rs_…]", required=False, shell_complete=completion.complete_ids)
@click.argument("stars", metavar="[1..5]", type=click.IntRange(1, 5), required=False)
@click.option("--note", metavar="TEXT", help="Note to keep with the run; an empty text removes it.")
@click.option("--clear", is_flag=True, help="Remove the stars and the note.")
@click.option(
    "--import",
    "source",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Import the ratings that a report's page exported.",
)
@options.project_option
def rate_command(
    run: str | None,
    stars: int | None,
    note: str | None,
    clear: bool,
    source: Path | None,
    project: Path | None,
) -> None:
    """Give a run one to five stars, and a note.

    A run keeps them when it is made again. `show`, `list runs` and `report`
    show them. `list runs --stars 4` and `export --best` select runs by them.

    With --import it reads the file that a report's page exports, and takes the
    ratings from it, nothing else. It lists the runs that are not in the store;
    the exit code is then 1.

    \b
    Examples:
      cosmos-jobs rate rs_3f2a 4
      cosmos-jobs rate rs_3f2a 5 --note "the planks stay straight"
      cosmos-jobs rate rs_3f2a --clear
      cosmos-jobs rate --import ratings.json
    """
    ops = operations(project)
    if source is not None:
        if run or note is not None or clear:
            raise UsageError("--import takes a file alone", hint="leave out the rest")
        _import_ratings(ops, source)
        return
    if run is None or clear == (stars is not None or note is not None):
        raise UsageError(
            "say which run, and how many stars, 1 to 5, a --note, or --clear",
            hint="such as: cosmos-jobs rate rs_3f2a 4",
        )
    if note is not None and len(note) > MAX_NOTE:
        raise UsageError(f"a note has at most {MAX_NOTE:,} characters")
    kept = stars if stars is not None or clear else ops.get_run(run).rating
    rated = ops.rate(run, kept, "" if clear else note)
    said = (rated.run.id, tables.stars(rated.rating) or "not rated", visible(rated.note))
    click.echo("  ".join(filter(None, said)))


def _import_ratings(ops: WorkflowOperations, source: Path) -> None:
    rated, skipped = ops.import_ratings(source)
    click.echo(f"Rated {plural(rated, 'run')}.")
    if skipped:
        click.echo(f"Not here, or without a video: {', '.join(skipped)}", err=True)
        click.get_current_context().exit(1)
