"""How commands get at the project: from an option, its files, or the working directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cosmos_jobs.config import project as projects
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations

CONNECT_TIMEOUT = "cosmos_jobs.connect_timeout_s"
"""Where the context of a command has how long to try machines, if that was asked for."""


def operations(
    project: Path | None,
    paths: Sequence[str] = (),
    *,
    offline: bool = False,
    asking: bool = True,
) -> WorkflowOperations:
    """Return the operations of the project in a folder, or around the working directory.

    Outside of any project it is the one around the first of `paths`. Commands
    that only read say `offline`: a shared state that is out of reach is the last copy.
    Without `asking` it is so whenever there is one.
    """
    # The shell's completion has no context.
    context = click.get_current_context(silent=True)
    root = project.resolve() if project else projects.find(_start(paths))
    ops = WorkflowOperations(
        projects.load(root),
        lambda line: click.echo(line, err=True),
        offline=offline,
        asking=asking,
        connect_timeout_s=context.meta.get(CONNECT_TIMEOUT) if context else None,
    )
    if context:
        context.call_on_close(ops.close)
    return ops


def _start(paths: Sequence[str]) -> Path:
    """Return where the search for the project begins: here, or at the first path elsewhere."""
    places = (Path.cwd(), *(Path(path).resolve().parent for path in paths[:1]))
    found = (place for place in places if (projects.find(place) / projects.FILE).is_file())
    return next(found, places[0])


def paths_or_jobs(paths: Sequence[str], ops: WorkflowOperations) -> tuple[str, ...]:
    """Return the paths given, or the project's folder of job files."""
    if paths:
        return tuple(paths)
    folder = ops.project.root / "jobs"
    if not folder.is_dir():
        raise UsageError(
            "no job file was given, and there is no folder `jobs`",
            hint="name one: jobs/sunsets.yaml, or begin with: cosmos-jobs init",
        )
    return (projects.shown(folder, Path.cwd()),)
