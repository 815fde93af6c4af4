"""The command plan."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations, paths_or_jobs
from cosmos_jobs.cli.views import markdown, plans, reasons
from cosmos_jobs.config import project as projects
from cosmos_jobs.core import atomic
from cosmos_jobs.core.job import Selection
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs.load import located
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.plan import saved
from cosmos_jobs.plan.model import STARTS, WITHOUT_TEXT, Planned


@click.command("plan")
@options.selecting
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan.")
@click.option("--exit-code", is_flag=True, help="Exit with code 1 when there is something to run.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="markdown is for comments on pull requests.",
)
def plan_command(
    paths: tuple[str, ...],
    target: str,
    only: tuple[str, ...],
    force: bool,
    since: str | None,
    project: Path | None,
    out: Path | None,
    exit_code: bool,
    form: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what apply would do, and why. Changes nothing.

    \b
    + new      ~ retry or again     > in flight
    ! blocked  - orphaned: no longer in its job file     ? known after enhance

    \b
    Examples:
      cosmos-jobs plan jobs/sunsets.yaml
      cosmos-jobs plan --out night.plan        then: cosmos-jobs apply night.plan
      cosmos-jobs plan --exit-code -q          in scripts: 1 means changes
      cosmos-jobs plan --format markdown --changed-since origin/main
                                               what a pull request would run
    """
    ops = operations(project, paths, offline=True)
    selection = Selection(
        paths_or_jobs(paths, ops), target=target, only=only, force=force, since=since
    )
    planned = ops.plan(selection, hashing=console.hashing(quiet=quiet))
    if form == "markdown":
        console.echo(markdown.text(planned, projects.in_repository(ops.project.root)), nl=False)
    else:
        show(planned, form, quiet=quiet, verbose=verbose)
    if out:
        _save(ops, planned, out)
        if not quiet:
            click.echo(f"Saved. Apply exactly this: cosmos-jobs apply {out}", err=True)
    if exit_code and plans.count(planned, *WITHOUT_TEXT, *STARTS):
        click.get_current_context().exit(1)


def _save(ops: WorkflowOperations, planned: Planned, out: Path) -> None:
    """Save a plan with paths that hold wherever in the project it is applied."""
    if not out.resolve().parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {out.parent}")
    root, chosen = ops.project.root, planned.selection.paths
    if planned.selection.since is not None:
        # What differs from a ref is another thing once that has moved on.
        chosen = tuple(job.file for job in planned.jobs)
    paths = (os.path.relpath(located(path, root), root) for path in chosen)
    selection = replace(planned.selection, paths=tuple(paths), since=None)
    try:
        atomic.write(out, saved.dump(replace(planned, selection=selection), reasons.text))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error


def show(planned: Planned, form: str, *, quiet: bool, verbose: bool) -> None:
    """Print a plan, and the warnings of its files."""
    console.warn(planned.warnings, quiet=quiet)
    if form == "json":
        console.echo(saved.dump(planned, reasons.text), nl=False)
    elif not quiet:
        console.echo(plans.text(planned, verbose=verbose))
