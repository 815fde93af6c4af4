"""What the shell completes: the script that asks for it, and the names that are offered."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from cosmos_jobs.errors import CosmosJobsError, EngineError, UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options, job files and the ids in the store.

    \b
    Examples:
      cosmos-jobs completion bash >> ~/.bashrc
      cosmos-jobs completion zsh >> ~/.zshrc
      cosmos-jobs completion fish > ~/.config/fish/completions/cosmos-jobs.fish
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    name = root.info_name or "cosmos-jobs"
    made = get_completion_class(shell)
    if made is None:
        raise EngineError(f"no completion for {shell}")
    variable = f"_{name.replace('-', '_').replace('.', '_')}_COMPLETE".upper()
    try:
        click.echo(made(root.command, {}, name, variable).source())
    except RuntimeError as error:
        raise UsageError(str(error)) from error


def complete_job_files(
    context: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the job files and folders that begin as typed."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [
        f"{each}/" if each.is_dir() else str(each)
        for each in there
        if each.is_dir() or each.suffix in (".yaml", ".yml", ".plan")
    ]
    return [CompletionItem(each) for each in found if each.startswith(incomplete)]


def complete_ids(
    context: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the ids in the store that begin as typed."""
    # Whoever wants the script of a shell, or completes a file, needs none of it.
    from cosmos_jobs.cli.project import operations

    try:
        ops = operations(context.params.get("project"), offline=True, asking=False)
        known = ops.store.snapshot()
    except CosmosJobsError:
        return []
    prompts = {key: known.prompts[key].name for key in known.prompts if key.startswith(incomplete)}
    runs = {key: str(known.states[key]) for key in known.states if key.startswith(incomplete)}
    jobs = {key: path for key, path in known.jobs.items() if key.startswith(incomplete)}
    found = {**prompts, **runs, **(jobs if param.name == "names" else {})}
    return [CompletionItem(key, help=text) for key, text in found.items()]
