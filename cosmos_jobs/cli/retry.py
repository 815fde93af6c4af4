"""The command retry."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.apply import Telling, carry_out
from cosmos_jobs.cli.project import operations
from cosmos_jobs.core.job import MAX_RUNS
from cosmos_jobs.core.record import RETRIED, UNSUCCESSFUL


@click.command("retry")
@options.names
@click.option("--blocked", is_flag=True, help="Also runs that a guardrail refused.")
@click.option("--target", metavar="NAME", default="", help="Run on this target instead.")
@click.option("--max-runs", type=click.IntRange(min=0), default=MAX_RUNS, show_default=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@options.connecting()
@options.project_option
@options.verbosity
def retry_command(
    names: tuple[str, ...],
    blocked: bool,
    target: str,
    max_runs: int,
    yes: bool,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run failed, lost and cancelled runs again.

    It starts no other runs, and starts each on the target where it ran last.
    Without a name, it retries all such runs in the store. The exit code is 1
    when a run does not succeed.

    \b
    Examples:
      cosmos-jobs retry sunsets
      cosmos-jobs retry rs_3f2a
      cosmos-jobs retry jobs/sunsets.yaml --blocked
    """
    ops = operations(project)
    runs = ops.select(names, UNSUCCESSFUL if blocked else RETRIED)
    if not runs:
        console.echo("Nothing to retry.")
        return
    planned = ops.retrying(runs, target, is_choice=bool(names))
    telling = Telling(yes=yes, quiet=quiet, verbose=verbose)
    carry_out(ops, planned, ApplyOptions(max_runs=max_runs), telling)
