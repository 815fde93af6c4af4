"""The commands that show what the store knows: status, list, search, show, reproduce."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import click
import orjson

from cosmos_jobs.checks.registry import BY_NAME, METRICS
from cosmos_jobs.cli import completion, console, options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import library, outcome, spreadsheet, tables
from cosmos_jobs.cli.views.documents import prompt_document, run_document
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.operations.listing import Overview

Listed = TypeVar("Listed", PromptRecord, Record)
STATES = click.Choice([str(state) for state in State])
ORDERS = click.Choice(["rating", *(each.name for each in METRICS)])


@click.command("status")
@click.option("--stream", is_flag=True, help="Continue until nothing is in flight.")
@options.format_option()
@options.project_option
def status_command(stream: bool, form: str, project: Path | None) -> None:
    """Show where each job stands, and what runs where.

    It shows what was seen last. It asks no machine: `watch` and `fetch` do.

    With --stream it follows what an `apply` or `watch` elsewhere learns. On a
    terminal it updates in place; in a pipe it prints a line per change, and
    with --format json a document per line. Ctrl-C ends only this command.

    \b
    Examples:
      cosmos-jobs status
      cosmos-jobs status --stream
      cosmos-jobs status --format json
    """
    ops = operations(project, offline=True)
    if stream:
        # It may go on for days, and each look at the store leaves values behind.
        gc.enable()
    if stream and form == "json":
        for each in ops.stream_status():
            console.echo(orjson.dumps(_status_document(each)))
    elif stream and sys.stdout.isatty():
        with library.redrawing() as show:
            for each in ops.stream_status():
                show(_status(each))
        click.echo(_status(each))
    elif stream:
        _stream_lines(ops)
    elif form == "json":
        console.write_json(_status_document(ops.overview()))
    else:
        click.echo(_status(ops.overview()))


def _status(seen: Overview) -> str:
    if not seen.jobs:
        return "Nothing was applied yet. Begin with: cosmos-jobs apply jobs/FILE.yaml"
    shown = tables.jobs(seen.jobs)
    return f"{shown}\n\n{tables.lanes(seen.lanes)}" if seen.lanes else shown


def _status_document(seen: Overview) -> dict[str, object]:
    jobs = {job: {str(state): n for state, n in each.items()} for job, each in seen.jobs.items()}
    return {"jobs": jobs, "in_flight": [asdict(lane) for lane in seen.lanes]}


def _stream_lines(ops: WorkflowOperations) -> None:
    """Write how all stands, then a line for each run that changes."""
    first = True
    for each in ops.stream_status():
        if first:
            console.echo(_status(each))
        first = False
        for record in each.changed:
            console.echo(tables.change(record))


def _limit(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N."
    )(command)


def _status_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--status", type=STATES, multiple=True, help="Only this state. May be repeated."
    )(command)


def _job_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--job", metavar="NAME", default="", help="Only those in this job.")(
        command
    )


def _prompt_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--prompt",
        metavar="ps_…",
        default="",
        help="Only those of this prompt.",
        shell_complete=completion.complete_ids,
    )(command)


def _first(found: Sequence[Listed], limit: int | None) -> Sequence[Listed]:
    """Return the first ones, and say on stderr how many more there are."""
    if limit is None or len(found) <= limit:
        return found
    click.echo(f"… and {len(found) - limit:,} more", err=True)
    return found[:limit]


@click.group("list")
def list_command() -> None:
    """List prompts or runs."""


@list_command.command("prompts")
@_job_option
@_prompt_option
@_status_option
@_limit
@options.format_option()
@options.project_option
def _list_prompts(
    job: str,
    prompt: str,
    status: tuple[str, ...],
    limit: int | None,
    form: str,
    project: Path | None,
) -> None:
    """List prompts by name.

    With --job or --status, it lists the prompts that have such a run.

    \b
    Examples:
      cosmos-jobs list prompts --limit 20
      cosmos-jobs list prompts --status failed --format json
    """
    ops = operations(project, offline=True)
    prompt_id = ops.get_prompt(prompt).prompt.id if prompt else ""
    found = ops.list_prompts(job=job, prompt=prompt_id, states=[State(each) for each in status])
    shown = _first(found, limit)
    if form == "json":
        console.write_json([prompt_document(each) for each in shown])
    elif shown:
        click.echo(tables.prompts(shown))
    else:
        click.echo("No such prompts." if job or prompt or status else "No prompts yet.")


@list_command.command("runs")
@_job_option
@_prompt_option
@_status_option
@click.option("--stars", type=click.IntRange(1, 5), help="Only runs with at least this many stars.")
@click.option(
    "--sort",
    metavar="rating|METRIC",
    type=ORDERS,
    help="Sort the best first, by stars or by a metric of `evaluate`.",
)
@_limit
@options.format_option(options.FORMATS_WITH_CSV)
@options.project_option
def _list_runs(
    job: str,
    prompt: str,
    status: tuple[str, ...],
    stars: int | None,
    sort: str | None,
    limit: int | None,
    form: str,
    project: Path | None,
) -> None:
    """List runs in the order they were made; each is one output video.

    \b
    Examples:
      cosmos-jobs list runs --job sunsets
      cosmos-jobs list runs --status failed --status lost --limit 20
      cosmos-jobs list runs --sort edge_f1 --limit 5
      cosmos-jobs list runs --stars 4 --sort rating
      cosmos-jobs list runs --format csv > runs.csv
    """
    ops = operations(project, offline=True)
    prompt_id = ops.get_prompt(prompt).prompt.id if prompt else ""
    states = [State(each) for each in status]
    records = ops.list_runs(job=job, prompt=prompt_id, states=states, stars=stars or 0)
    found = _first(ops.ranked(records, sort) if sort else records, limit)
    if form == "text":
        values = ops.measured(found) if sort in BY_NAME else {}
        click.echo(tables.runs(found, values, sort) if found else "No such runs.")
    elif form == "csv":
        click.echo(spreadsheet.runs(found, ops.measured(found)), nl=False)
    else:
        measured = ops.measured(found)
        console.write_json(
            [run_document(each, ops.outputs.video(each), measured) for each in found]
        )


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@options.format_option()
@options.project_option
def search_command(query: tuple[str, ...], form: str, project: Path | None) -> None:
    """Find prompts by their words or names.

    It finds QUERY anywhere in a text or a name, and ignores case. No character
    has a special meaning, and several words are one text. The exit code is 0
    even when nothing is found, as with `list`.

    \b
    Examples:
      cosmos-jobs search golden hour
      cosmos-jobs search "100 %" --format json
    """
    found = operations(project, offline=True).search_prompts(" ".join(query))
    if form == "json":
        console.write_json([prompt_document(each) for each in found])
    else:
        click.echo(tables.prompts(found) if found else "No prompt matches.")


@click.command("show")
@click.argument("id_", metavar="ps_…|rs_…", shell_complete=completion.complete_ids)
@options.format_option()
@options.project_option
def show_command(id_: str, form: str, project: Path | None) -> None:
    """Show everything known about a prompt or a run.

    You can shorten the id as long as it stays unique.

    \b
    Examples:
      cosmos-jobs show rs_3f2a
      cosmos-jobs show ps_9b11c0de --format json
    """
    ops = operations(project, offline=True)
    if id_.startswith("ps_"):
        prompt = ops.get_prompt(id_)
        runs = len(ops.list_runs(prompt=prompt.prompt.id))
        if form == "json":
            console.write_json({**prompt_document(prompt), "runs": runs})
        else:
            click.echo(outcome.prompt(prompt, runs))
    elif id_.startswith("rs_"):
        run = ops.get_run(id_)
        video, manifest = ops.outputs.video(run), ops.manifest(run)
        measured = ops.measured([run])
        if form == "json":
            document = run_document(run, video, measured)
            console.write_json({**document, "manifest": manifest or None})
        else:
            click.echo(
                outcome.run(
                    run, ops.prompt_of(run), video, manifest, measured=measured.get(run.run.id)
                )
            )
    else:
        raise UsageError(f"`{id_}` is no id", hint="ids begin with ps_ (prompt) or rs_ (run)")


@click.command("reproduce")
@click.argument("run", metavar="rs_…", shell_complete=completion.complete_ids)
@options.project_option
def reproduce_command(run: str, project: Path | None) -> None:
    """Print the exact commands that make a run again.

    It prints a shell script for the machine that made the run: the model's own
    command line with its spec files, the inputs by content, and the
    environment. The script takes secrets from the environment it runs in.

    \b
    Examples:
      cosmos-jobs reproduce rs_3f2a
      cosmos-jobs reproduce rs_3f2a | ssh gpu-1 sh
    """
    click.echo(operations(project, offline=True).reproduce(run), nl=False)
