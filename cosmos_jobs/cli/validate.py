"""The command validate."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations, paths_or_jobs
from cosmos_jobs.cli.views import diagnostics, plans
from cosmos_jobs.core.diagnostics import Severity


@click.command("validate")
@options.job_files
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github prints workflow annotations.",
)
@options.since_option
@options.project_option
@options.verbosity
def validate_command(
    paths: tuple[str, ...],
    form: str,
    since: str | None,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Check job files and report every problem.

    The exit code is 3 when a file has an error. Only the cache is written.

    \b
    Examples:
      cosmos-jobs validate                     every file in jobs/
      cosmos-jobs validate jobs/sunsets.yaml
      cosmos-jobs validate --format github     in a GitHub workflow
      cosmos-jobs validate --changed-since origin/main
    """
    ops = operations(project, paths, offline=True)
    chosen = paths_or_jobs(paths, ops)
    jobs, problems = ops.validate(chosen, hashing=console.hashing(quiet=quiet), since=since)
    wrong = any(each.severity is Severity.ERROR for each in problems)
    match form:
        case "json":
            click.echo(orjson.dumps(diagnostics.as_json(problems), option=orjson.OPT_INDENT_2))
        case "github":
            click.echo(diagnostics.github(problems), nl=False)
        case _:
            shown = [each for each in problems if not quiet or each.severity is Severity.ERROR]
            if shown:
                click.echo(diagnostics.text(shown, color=True), err=True)
            if not quiet:
                if since is not None and not jobs and not problems:
                    click.echo(f"no job file differs from {since}")
                for job in jobs:
                    click.echo(f"{job.file}: ok, {plans.plural(len(job.expansion.runs), 'run')}")
    if wrong:
        click.echo(f"{diagnostics.counted(problems)}", err=True)
        click.get_current_context().exit(3)
