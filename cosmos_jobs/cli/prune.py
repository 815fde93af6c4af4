"""The command prune."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations, paths_or_jobs
from cosmos_jobs.cli.views import plans
from cosmos_jobs.cli.views.library import size
from cosmos_jobs.core.record import Record
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations


@click.command("prune")
@options.job_files
@click.option("--job", metavar="NAME", default="", help="All runs in a job whose file is gone.")
@click.option("--cache", is_flag=True, help="Empty the cache of digests and control maps.")
@click.option(
    "--remote", is_flag=True, help="Remove unused batches and inputs from the machines of targets."
)
@click.option("--target", metavar="NAME", default="", help="With --remote, this target only.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@options.connecting()
@options.project_option
def prune_command(
    paths: tuple[str, ...],
    job: str,
    cache: bool,
    remote: bool,
    target: str,
    yes: bool,
    dry_run: bool,
    project: Path | None,
) -> None:
    """Remove runs no longer in a job file, or the cache.

    Apply never deletes. A run that is no longer in its job file is orphaned,
    and stays. Prune removes orphaned runs, their videos, and the working files
    of batches that have ended. It asks first; without a terminal it needs
    --yes.

    With --remote it removes ended batches and unused inputs from the machines
    of targets. It keeps what this store or another client still needs.

    \b
    Examples:
      cosmos-jobs prune --dry-run
      cosmos-jobs prune jobs/sunsets.yaml --yes
      cosmos-jobs prune --cache
      cosmos-jobs prune --remote --dry-run
    """
    ops = operations(project)
    if remote:
        _prune_remote(ops, paths, target, yes=yes, dry_run=dry_run)
        return
    if target:
        raise UsageError("--target goes with --remote")
    if job and paths:
        raise UsageError("--job is for a job whose file is gone; leave out the files")
    if cache:
        freed = 0 if dry_run else ops.prune_cache()
        click.echo("The cache would be emptied." if dry_run else f"Freed {size(freed)}.")
        return
    leaving = ops.job_runs(job) if job else _orphans(ops, paths)
    console.may_ask("prune", yes=yes or dry_run or not leaving)
    for name, record in leaving:
        others = "" if len(record.jobs) == 1 else "  (stays in other jobs)"
        click.echo(f"- {record.run.id}  {name}/{record.jobs[name]}{others}")
    going = [record for _, record in leaving if len(record.jobs) == 1]
    freed = sum(ops.outputs.size(record.run.id) for record in going)
    total = f"{plans.plural(len(going), 'run')}, {size(freed)}"
    for name in () if job else ops.jobs_without_file():
        click.echo(f"The file of job `{name}` is gone; see: cosmos-jobs prune --job {name}")
    if dry_run:
        click.echo(f"To remove: {total}." if leaving else "No run has left its job file.")
        return
    if leaving:
        console.confirm(f"Remove {total}?", yes=yes)
    done = ops.prune(leaving)
    said = [f"Removed {plans.plural(done.removed, 'run')}"]
    said += [f"{done.kept:,} kept by other jobs"] if done.kept else []
    said += [f"{done.in_flight:,} in flight left alone"] if done.in_flight else []
    click.echo(f"{', '.join(said)}; freed {size(done.freed)}.")


def _orphans(ops: WorkflowOperations, paths: tuple[str, ...]) -> tuple[tuple[str, Record], ...]:
    """Return the runs that left job files; UsageError for the name of a job."""
    for name in paths:
        if name in ops.status() and not Path(name).exists():
            raise UsageError(
                f"`{name}` is a job, not a job file",
                hint=f"all its runs, once it has no file: cosmos-jobs prune --job {name}",
            )
    return ops.orphans(paths_or_jobs(paths, ops))


def _prune_remote(
    ops: WorkflowOperations,
    paths: Sequence[str],
    target: str,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    if paths:
        raise UsageError(
            "--remote takes no files: it is about machines",
            hint=f"one target only: --target {paths[0]}",
        )
    console.may_ask("prune", yes=yes or dry_run)
    found = ops.prune_remote(target, delete=False)
    for host, each in found.items():
        for swept in each:
            click.echo(f"- {host}  {swept.name}  {size(swept.size)}")
    going = [swept for each in found.values() for swept in each]
    total = f"{plans.plural(len(going), 'item')}, {size(sum(each.size for each in going))}"
    if dry_run or not going:
        click.echo(f"To remove: {total}." if going else "Nothing there can go.")
        return
    console.confirm(f"Remove {total}?", yes=yes)
    gone = ops.prune_remote(target, delete=True)
    freed = sum(swept.size for each in gone.values() for swept in each)
    click.echo(f"Freed {size(freed)} on {', '.join(gone)}.")
