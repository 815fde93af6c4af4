"""The command cancel."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core.record import IN_FLIGHT, State
from cosmos_jobs.errors import UsageError


@click.command("cancel")
@options.names
@click.option("--all", "every", is_flag=True, help="Every run in flight of this project.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@options.connecting()
@options.project_option
def cancel_command(names: tuple[str, ...], every: bool, yes: bool, project: Path | None) -> None:
    """Stop runs in flight.

    It stops their process groups and containers, and no others. The runs of a
    batch share a process, so all of them stop. Finished videos are kept. The
    next apply makes the others.

    \b
    Examples:
      cosmos-jobs cancel rs_3f2a
      cosmos-jobs cancel sunsets
      cosmos-jobs cancel --all
    """
    ops = operations(project)
    if bool(names) == every:
        raise UsageError(
            "say what to cancel" if not names else "--all is all: leave out the names",
            hint="a run (rs_…), a job, or --all",
        )
    runs = ops.select(names, IN_FLIGHT)
    if not runs:
        console.echo("Nothing of this is in flight.")
        return
    if not yes and sys.stdin.isatty():
        click.confirm(f"Stop {plural(len(runs), 'run')} in flight?", abort=True)
    done = ops.cancel(runs)
    asked = set(runs)
    stopped = [each for each in done.records if each.state is State.CANCELLED]
    others = sum(each.run.id not in asked for each in stopped)
    said = [f"Stopped {plural(len(stopped), 'run')}"]
    said += [f"{others:,} of them in the same batches"] if others else []
    made = sum(each.run.id in asked and each.state is State.SUCCEEDED for each in done.records)
    said += [f"{made:,} had succeeded"] if made else []
    console.echo(f"{', '.join(said)}.")
