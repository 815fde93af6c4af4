"""The commands that delete: delete prompt, delete run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import library


@click.group("delete")
def delete_command() -> None:
    """Delete prompts or runs, with their outputs.

    \b
    Examples:
      cosmos-jobs delete run rs_3f2a --dry-run
      cosmos-jobs delete prompt ps_9b11c0de --force
    """


def _deletion(command: Callable[..., None]) -> Callable[..., None]:
    """Add what deleting takes, whatever is deleted."""
    for option in (
        options.project_option,
        click.option("--dry-run", is_flag=True, help="Only show what would be deleted."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--keep-outputs", is_flag=True, help="Keep videos and links."),
        click.argument(
            "ids", metavar="ID...", nargs=-1, required=True, shell_complete=completion.complete_ids
        ),
    ):
        command = option(command)
    return command


@delete_command.command("prompt")
@click.option("--force", is_flag=True, help="Also delete their runs.")
@_deletion
def _delete_prompt(
    ids: tuple[str, ...],
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry_run: bool,
    project: Path | None,
) -> None:
    """Delete prompts; those with runs need --force.

    It shows what it deletes and asks first; without a terminal it needs --yes.
    It deletes no run in flight, unless its target is no longer in
    cosmos-jobs.yaml. It keeps input videos.

    \b
    Examples:
      cosmos-jobs delete prompt ps_9b11c0de --dry-run
      cosmos-jobs delete prompt ps_9b11c0de ps_77aa --force --yes
    """
    _delete("prompt", ids, project, keep_outputs=keep_outputs, force=force, yes=yes, dry=dry_run)


@delete_command.command("run")
@click.option("--force", is_flag=True, help="Also delete runs in flight whose target is gone.")
@_deletion
def _delete_run(
    ids: tuple[str, ...],
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry_run: bool,
    project: Path | None,
) -> None:
    """Delete runs, their folders in outputs/runs/ and the links to them.

    It shows what it deletes and asks first; without a terminal it needs --yes.
    It deletes no run in flight: cancel it first. If its target is no longer in
    cosmos-jobs.yaml, it cannot be cancelled, and --force deletes it. With
    --keep-outputs only the records go, and `adopt` brings them back.

    \b
    Examples:
      cosmos-jobs delete run rs_3f2a rs_77aa --dry-run
      cosmos-jobs delete run rs_3f2a --keep-outputs --yes
    """
    _delete("run", ids, project, keep_outputs=keep_outputs, force=force, yes=yes, dry=dry_run)


def _delete(
    kind: str,
    ids: tuple[str, ...],
    project: Path | None,
    *,
    keep_outputs: bool,
    force: bool,
    yes: bool,
    dry: bool,
) -> None:
    ops = operations(project)
    going = ops.deleting(kind, ids, force=force)
    console.may_ask("delete", yes=yes or dry)
    click.echo(library.doomed(going, keep_outputs=keep_outputs))
    if dry:
        return
    what = library.counted(len(going.prompts), len(going.runs))
    console.confirm(f"Delete {what}?", yes=yes)
    runs, freed = ops.delete(going, keep_outputs=keep_outputs)
    click.echo(library.deleted(going, runs, freed))
