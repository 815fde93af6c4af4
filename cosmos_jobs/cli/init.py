"""The command init."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.config import scaffold
from cosmos_jobs.errors import UsageError


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init_command(folder: Path) -> None:
    """Create a project that works at once.

    Writes cosmos-jobs.yaml, a first job file, the sample videos it uses and
    a .gitignore. It changes no file that already exists.

    \b
    Example:
      cosmos-jobs init my-project && cd my-project && cosmos-jobs apply
    """
    try:
        made, kept = scaffold.write(folder)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    for path in made:
        click.echo(f"made {path}")
    for path in kept:
        click.echo(f"kept {path}, which was there")
    there = "" if folder == Path() else f"cd {folder} && "
    click.echo(f"Next step: {there}cosmos-jobs apply jobs/sunsets.yaml")
