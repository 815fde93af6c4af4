"""The command that writes prompts in more detail."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import enhancements, plans
from cosmos_jobs.errors import UsageError


@click.command("enhance")
@click.argument("prompts", metavar="ps_…...", nargs=-1, shell_complete=completion.complete_ids)
@click.option(
    "--model", metavar="NAME[:MODEL]", default="", help="Enhancer; by default the project's."
)
@click.option("--overwrite", is_flag=True, help="Replace the text of a prompt that has no runs.")
@click.option("--force", is_flag=True, help="Ask again, even when the answer is known.")
@click.option("--dry-run", is_flag=True, help="Show old and new text side by side; write nothing.")
@click.option(
    "--call", is_flag=True, help="With --dry-run, also ask models that cost money or GPU time."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@options.connecting()
@options.project_option
def enhance_command(
    prompts: tuple[str, ...],
    model: str,
    overwrite: bool,
    force: bool,
    dry_run: bool,
    call: bool,
    yes: bool,
    project: Path | None,
) -> None:
    """Write prompts in more detail.

    Each text becomes a new prompt of the same videos, named NAME_enhanced.
    The enhancer `template` adds phrases by rules and needs no model. Other
    enhancers ask a model: list them under `enhancers` in cosmos-jobs.yaml.
    A model is not asked twice for the same text. The exit code is 1 when a
    prompt gets no new text.

    \b
    Examples:
      cosmos-jobs enhance ps_3f2a --dry-run
      cosmos-jobs enhance ps_3f2a ps_81c0 --model openai:gpt-4o
      cosmos-jobs enhance ps_3f2a --overwrite
    """
    if not prompts:
        click.echo(click.get_current_context().get_help())
        return
    if call and not dry_run:
        raise UsageError("--call belongs to --dry-run", hint="leave it out")
    ops = operations(project)
    if dry_run:
        drafts = ops.draft_enhancements(prompts, enhancement_model=model, call=call)
        console.echo(enhancements.beside(drafts))
        return
    if not yes and sys.stdin.isatty() and not ops.is_free(model):
        name = model or ops.project.enhancer
        click.confirm(f"Ask {name} about {plans.plural(len(prompts), 'prompt')}?", abort=True)
    made = ops.enhance_prompts(
        prompts,
        create_new=not overwrite,
        enhancement_model=model,
        force=force,
    )
    for line in enhancements.notes(made):
        click.echo(line, err=True)
    program = click.get_current_context().find_root().info_name or "cosmos-jobs"
    if said := enhancements.created(made, program):
        console.echo(said)
    if any(each.after is None for each in made):
        click.get_current_context().exit(1)
