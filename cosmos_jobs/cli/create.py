"""The command that makes a prompt without a job file."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.cli import console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import batches


@click.group("create")
def create_command() -> None:
    """Create a prompt from a text and a video.

    \b
    Examples:
      cosmos-jobs create prompt "A pier at golden hour" inputs/videos/pier
    """


@create_command.command("prompt")
@click.argument("text", metavar="TEXT")
@click.argument("video", metavar="VIDEO_DIR", type=click.Path(path_type=str))
@click.option(
    "--name", metavar="NAME", default="", help="Name of the prompt; by default made from the text."
)
@click.option("--negative", metavar="TEXT", default="", help="What the video must not show.")
@options.project_option
def prompt_command(text: str, video: str, name: str, negative: str, project: Path | None) -> None:
    """Create a prompt from a text and a video.

    VIDEO_DIR is a video file, or a folder with color.mp4 and optionally
    depth.mp4, segmentation.mp4, edge.mp4 and vis.mp4. The same text and video
    always give the same prompt. Braces in the text are literal.

    \b
    Examples:
      cosmos-jobs create prompt "A pier at golden hour" inputs/videos/pier
      cosmos-jobs create prompt "A pier in fog" clip.mp4 --name fog
    """
    ops = operations(project)
    before = ops.store.snapshot().prompts
    hashing = console.hashing(quiet=False)
    made = ops.create_prompt(text, video, name=name, negative=negative, hashing=hashing)
    if made.prompt.id in before:
        same = before[made.prompt.id].name == made.name
        what = "nothing is new" if same else "it has a new name"
        click.echo(f"This prompt is in the store already; {what}.", err=True)
    program = click.get_current_context().find_root().info_name or "cosmos-jobs"
    click.echo(batches.created(made, program))
