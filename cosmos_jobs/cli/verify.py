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
@click.option("--repair", is_flag=True, help="Make links; give up runs without a whole video.")
@options.format_option()
@options.project_option
def verify_command(repair: bool, form: str, project: Path | None) -> None:
    """Check that outputs and inputs are what the store says.

    Every file is read: videos, the other files of runs, input videos and files
    of parameters. It also finds files that no run has made, and runs without
    files. Exit code 1 when something is found and not repaired.

    --repair does what is safe: it makes missing links in outputs/JOB/, and
    marks runs whose video is missing or damaged as lost, so that the next
    apply makes them again. It moves, replaces and deletes no file.

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
