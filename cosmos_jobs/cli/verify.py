"""The command verify."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import library


@click.command("verify")
@click.option(
    "--repair", is_flag=True, help="Make missing links; mark runs without a valid video as lost."
)
@options.format_option()
@options.project_option
def verify_command(repair: bool, form: str, project: Path | None) -> None:
    """Check that outputs and inputs match the store.

    It reads every file: videos, the other files of runs, input videos and
    files of parameters. It also finds files that belong to no run, and runs
    without files. The exit code is 1 when a problem remains.

    --repair makes missing links in outputs/JOB/. It marks a run as lost when
    its video is missing or damaged; the next apply makes it again. It does not
    move, replace or delete files.

    \b
    Examples:
      cosmos-jobs verify
      cosmos-jobs verify --repair
      cosmos-jobs verify --format json
    """
    ops = operations(project)
    progress = library.hashing() if sys.stderr.isatty() else None
    done = ops.verify(repair=repair, progress=progress)
    if form == "json":
        console.write_json(
            {
                "checked": {"runs": done.runs, "files": done.files, "bytes": done.bytes},
                "findings": [{**asdict(each), "hint": each.hint} for each in done.findings],
            }
        )
    else:
        click.echo(library.verified(done))
    if done.left:
        click.get_current_context().exit(1)
