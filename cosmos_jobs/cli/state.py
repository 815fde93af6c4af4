"""The commands on the state as a whole."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import state_file
from cosmos_jobs.operations.state_file import read


@click.group("state")
def state_command() -> None:
    """Show, copy, replace or move the state as a whole.

    The state is what is known of all runs: a file of this machine, or one that
    several machines share, as `state` in cosmos-jobs.yaml says.

    \b
    Examples:
      cosmos-jobs state show
      cosmos-jobs state pull > copy.json
    """


@state_command.command("show")
@options.format_option()
@options.project_option
def _show(form: str, project: Path | None) -> None:
    """Say where the state is, how old it is, and who wrote it last.

    \b
    Example:
      cosmos-jobs state show --format json
    """
    facts = operations(project, offline=True).show_state()
    console.echo(state_file.as_json(facts) if form == "json" else state_file.text(facts))


@state_command.command("pull")
@click.option("--backup", is_flag=True, help="The one before the last write, or a bit older.")
@options.project_option
def _pull(backup: bool, project: Path | None) -> None:
    """Write the state file to stdout, as it is.

    \b
    Examples:
      cosmos-jobs state pull > copy.json
      cosmos-jobs state pull --backup > old.json
    """
    console.echo(operations(project).pull_state(backup=backup), nl=False)


@state_command.command("push")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Also over another, a newer or a damaged state.")
@options.project_option
def _push(file: str, force: bool, project: Path | None) -> None:
    """Put a state file in the place of the state.

    It is refused when it is of another lineage, or when others have written
    since it was pulled. What it replaces becomes the backup.

    \b
    Examples:
      cosmos-jobs state push copy.json
      cosmos-jobs state push --force old.json
    """
    ops = operations(project)
    serial = ops.push_state(read(file), file, force=force)
    console.echo(f"{ops.store.file.name} has serial {serial} now.")


@state_command.command("lock-info")
@options.project_option
def _lock_info(project: Path | None) -> None:
    """Say who is writing the state just now, and since when.

    A lock is held for moments, and free when its holder is gone. An object
    store has none.

    \b
    Example:
      cosmos-jobs state lock-info
    """
    holder = operations(project).state_holder()
    console.echo(f"Being written by {holder}." if holder else "Nobody is writing.")


@state_command.command("migrate")
@options.project_option
def _migrate(project: Path | None) -> None:
    """Move the local state to where `state` says.

    The first command that writes does the same by itself.

    \b
    Example:
      cosmos-jobs state migrate
    """
    operations(project).migrate_state()
