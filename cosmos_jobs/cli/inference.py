"""The command that makes the videos of prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import orjson

from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.apply import Telling, conclude, perform
from cosmos_jobs.cli.plan import show
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import batches
from cosmos_jobs.config import schema
from cosmos_jobs.core.run import CONTROLS
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import arguments

SHORTHANDS = {
    "num_steps": ("--steps", "Denoising steps; more are slower and give more detail."),
    "guidance": ("--guidance", "Strength of the prompt."),
    "seed": ("--seed", "Seed of the noise."),
    "fps": ("--fps", "Frames per second of the video."),
    "sigma_max": ("--sigma-max", "Lower values keep more of the input."),
}
"""Parameters that have an option of their own, which not every engine has."""


def _shorthands(command: options.Command) -> options.Command:
    for name, (option, text) in reversed(SHORTHANDS.items()):
        command = click.option(option, name, metavar="N", help=text)(command)
    return command


@click.command("inference")
@click.argument("prompt_ids", metavar="[ps_…]...", nargs=-1, shell_complete=completion.complete_ids)
@click.option(
    "--prompts-file",
    metavar="FILE",
    help="Also read ids from this file; - is stdin. # starts a comment.",
)
@click.option(
    "-w",
    "--weights",
    nargs=len(CONTROLS),
    type=float,
    metavar="VIS EDGE DEPTH SEG",
    help="Control weights, 0 to 1. Without them each is 0.25.",
)
@_shorthands
@click.option(
    "--param",
    "others",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any parameter of the engine. May be repeated.",
)
@click.option(
    "--engine", type=click.Choice(schema.engines()), help="Engine; by default the project's."
)
@click.option("--target", metavar="NAME", default="", help="Run on this target.")
@click.option("--force", is_flag=True, help="Make finished videos again.")
@click.option(
    "--batch-name",
    metavar="NAME",
    default="",
    help="Put the videos in outputs/NAME/ instead of outputs/inference/.",
)
@options.connecting()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@options.format_option()
@options.project_option
@options.verbosity
def inference_command(
    prompt_ids: tuple[str, ...],
    prompts_file: str | None,
    weights: tuple[float, ...] | None,
    others: tuple[str, ...],
    engine: str | None,
    target: str,
    force: bool,
    batch_name: str,
    yes: bool,
    dry_run: bool,
    form: str,
    project: Path | None,
    quiet: bool,
    verbose: bool,
    **shorthands: str | None,
) -> None:
    """Make videos of prompts.

    You can shorten ids as long as they stay unique. All prompts get the same
    weights and parameters. A parameter that you leave out has the engine's
    default: see `cosmos-jobs schema engine NAME`. The videos are in
    outputs/inference/<prompt>/. The same call again runs nothing and says
    where they are. The exit code is 1 when a run does not succeed.

    \b
    Examples:
      cosmos-jobs inference ps_3f2a
      cosmos-jobs inference ps_3f2a ps_81c0 -w 0.5 0.2 0.2 0.1 --steps 50
      cosmos-jobs inference --prompts-file night.txt --target h100
      cosmos-jobs inference ps_3f2a --param masks.edge=masks/pier.mp4
    """
    if not prompt_ids and prompts_file is None:
        click.echo(click.get_current_context().get_help())
        return
    ops = operations(project)
    ids = [*prompt_ids, *_listed(prompts_file)]
    if not ids:
        raise UsageError(f"there are no ids of prompts in {prompts_file}")
    given = {name: value for name, value in shorthands.items() if value is not None}
    silent = quiet or form == "json"
    planned = ops.plan_inference(
        ids,
        weights,
        engine=engine or "",
        target=target,
        force=force,
        batch_name=batch_name,
        params=_params(given, others, engine or ops.project.engine),
        hashing=console.hashing(quiet=silent),
    )
    if dry_run:
        show(planned, form, quiet=quiet, verbose=verbose)
        return
    # However many there are: each was named.
    options = ApplyOptions(max_runs=len(planned.desired))
    telling = Telling(yes=yes, quiet=silent, verbose=verbose)
    show(planned, "text", quiet=silent, verbose=verbose)
    applied = perform(ops, planned, options, telling)
    _tell(ops.inferred(applied), form, quiet=quiet, verbose=verbose)
    conclude(applied, options, telling)


def _tell(inferred: dict[str, Any], form: str, *, quiet: bool, verbose: bool) -> None:
    if form == "json":
        console.echo(orjson.dumps(inferred, option=orjson.OPT_INDENT_2))
    elif not quiet:
        console.echo(batches.text(inferred, verbose=verbose))
    elif inferred["counts"].keys() - batches.GOOD:
        click.echo(batches.text(inferred, verbose=verbose), err=True)


def _listed(path: str | None) -> Iterable[str]:
    """Return the ids in a file; blank lines and what is behind a `#` do not count."""
    if path is None:
        return []
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="an id a line: ps_…") from error
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _params(given: dict[str, str], others: Iterable[str], engine: str) -> dict[str, object]:
    """Return the parameters by name, each as the type that the engine wants."""
    found = dict(given)
    for each in others:
        name, equals, value = each.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"`{each}` is not KEY=VALUE", hint="for example --param num_steps=50")
        if name in found:
            option = SHORTHANDS.get(name, ("--param", ""))[0] if name in given else "--param"
            raise UsageError(f"`{name}` is given twice: by {option} and by --param")
        found[name] = value
    contract = schema.contract(engine)
    return {name: arguments.value(value, name, contract) for name, value in found.items()}
