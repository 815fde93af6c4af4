"""The commands around a project: init, schema, completion."""

from __future__ import annotations

from pathlib import Path

import click

from cosmos_jobs.errors import EngineError, UsageError


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init_command(folder: Path) -> None:
    """Make a project that works at once.

    Writes cosmos-jobs.yaml, a first job file, the sample videos it uses and
    a .gitignore. Files that are there already are left as they are.

    \b
    Example:
      cosmos-jobs init my-project && cd my-project && cosmos-jobs apply
    """
    from cosmos_jobs.config import scaffold

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


@click.command("schema")
@click.argument("kind", type=click.Choice(["job", "project", "engine", "events"]))
@click.argument("name", required=False, metavar="[ENGINE]")
def schema_command(kind: str, name: str | None) -> None:
    """Print a JSON Schema (draft-07), for editors and tools.

    \b
    Examples:
      cosmos-jobs schema job > job.schema.json
      cosmos-jobs schema engine preview
      cosmos-jobs schema events                of `apply --format json`
    """
    import orjson

    from cosmos_jobs.config import schema

    engines = schema.engines()
    if kind == "engine" and name not in engines:
        said = f"unknown engine `{name}`" if name else "which engine?"
        raise UsageError(said, hint=f"one of {', '.join(engines)}")
    if kind != "engine" and name:
        raise UsageError(f"the {kind} schema has no part `{name}`")
    document = schema.load(f"engines/{name}" if name else kind)
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


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
