"""The command upscale."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.apply.options import DEFAULTS
from cosmos_jobs.cli import completion, options
from cosmos_jobs.cli.apply import Telling, carry_out
from cosmos_jobs.cli.plan import show
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import plans
from cosmos_jobs.jobs import upscale
from cosmos_jobs.plan.model import STARTS, Action


@click.command("upscale")
@click.argument(
    "sources", metavar="rs_…|VIDEO...", nargs=-1, shell_complete=completion.complete_ids
)
@click.option(
    "--weight",
    type=click.FloatRange(0, 1),
    default=upscale.WEIGHT,
    show_default=True,
    help="How closely the 4K video follows its source.",
)
@click.option("--prompt", "words", metavar="TEXT", default="", help="What the video shows.")
@click.option(
    "--engine",
    type=click.Choice(["transfer1", "preview"]),
    help="Upscaler; preview resizes without a model. By default, the one that fits the source.",
)
@click.option("--target", metavar="NAME", default="", help="Run on this target.")
@click.option("--force", is_flag=True, help="Make finished videos again.")
@options.connecting()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@options.project_option
@options.verbosity
def upscale_command(
    sources: tuple[str, ...],
    weight: float,
    words: str,
    engine: str | None,
    target: str,
    force: bool,
    yes: bool,
    dry_run: bool,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make 4K videos of finished runs, or of any video.

    The 4K upscaler of Cosmos Transfer1 makes them, on a target that has the
    engine transfer1. A run keeps its prompt unless you give --prompt;
    a video file needs one. In a job file, `upscale:` does it for every run.

    \b
    Examples:
      cosmos-jobs upscale rs_3f2a --target h100
      cosmos-jobs upscale renders/pier.mp4 --prompt "A pier at dusk"
      cosmos-jobs upscale rs_3f2a --engine preview      resized, without a model
    """
    if not sources:
        click.echo(click.get_current_context().get_help())
        return
    ops = operations(project)
    planned = ops.upscale(
        sources, weight=weight, words=words, engine=engine or "", target=target, force=force
    )
    if dry_run:
        show(planned, "text", quiet=quiet, verbose=verbose)
        return
    carry_out(ops, planned, DEFAULTS, Telling(yes=yes, quiet=quiet, verbose=verbose))
    if not quiet and not plans.count(planned, Action.WAIT, *STARTS):
        for each in planned.desired:
            click.echo(str(ops.outputs.video(ops.get_run(each.run.id))))
