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

    The state is everything known about all prompts and runs. It is a file on
    this machine, or one that several machines share: see `state` in
    cosmos-jobs.yaml.

    \b
    Examples:
      cosmos-jobs state show
      cosmos-jobs state pull > copy.json
    """


@state_command.command("show")
@options.format_option()
@options.project_option
def _show(form: str, project: Path | None) -> None:
    """Show where the state is, how old it is, and who wrote it last.

    \b
    Example:
      cosmos-jobs state show --format json
    """
    facts = operations(project, offline=True).show_state()
    console.echo(state_file.as_json(facts) if form == "json" else state_file.text(facts))


@state_command.command("pull")
@click.option(
    "--backup", is_flag=True, help="Write the state before the last change, or an older one."
)
@options.project_option
def _pull(backup: bool, project: Path | None) -> None:
    """Write the state file to stdout, unchanged.

    \b
    Examples:
      cosmos-jobs state pull > copy.json
      cosmos-jobs state pull --backup > old.json
    """
    console.echo(operations(project).pull_state(backup=backup), nl=False)


@state_command.command("push")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option(
    "--force",
    is_flag=True,
    help="Replace a state of another lineage, a newer or a damaged one, too.",
)
@options.project_option
def _push(file: str, force: bool, project: Path | None) -> None:
    """Replace the state by a state file.

    It refuses a file of another lineage, and a file that was pulled before
    others wrote. The replaced state becomes the backup.

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
    """Show who is writing the state, and since when.

    A command holds the lock only while it writes. An object store has no lock.

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

    The first command that writes does the same.

    \b
    Example:
      cosmos-jobs state migrate
    """
    operations(project).migrate_state()
