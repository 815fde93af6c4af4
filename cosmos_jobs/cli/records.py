"""The commands on what the store knows: status, list, show, prune."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import click
import orjson

from cosmos_jobs.checks.registry import BY_NAME, METRICS, Measured
from cosmos_jobs.cli import common
from cosmos_jobs.cli.views import library, plans, results, spreadsheet, tables
from cosmos_jobs.cli.views.library import size
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.run import Run
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.operations.records import Overview

Listed = TypeVar("Listed", PromptRecord, Record)
STATES = click.Choice([str(state) for state in State])
ORDERS = click.Choice(["rating", *(each.name for each in METRICS)])


@click.command("status")
@click.option("--stream", is_flag=True, help="Go on until nothing is in flight.")
@common.format_option()
@common.project_option
def status_command(stream: bool, form: str, project: Path | None) -> None:
    """Show where each job stands, and what runs where.

    It says what was seen last, and asks no machine: `watch` and `fetch` do.
    With --stream it shows what an `apply` or `watch` elsewhere learns, as it
    learns it: on a terminal in place, in a pipe a line for each change, with
    --format json a document a line. Ctrl-C ends it, and nothing else.

    \b
    Examples:
      cosmos-jobs status
      cosmos-jobs status --stream
      cosmos-jobs status --format json
    """
    ops = common.operations(project, offline=True)
    if stream:
        # It may go on for days, and each look at the store leaves values behind.
        gc.enable()
    if stream and form == "json":
        for each in ops.stream_status():
            common.echo(orjson.dumps(_status_document(each)))
    elif stream and sys.stdout.isatty():
        with library.redrawing() as show:
            for each in ops.stream_status():
                show(_status(each))
        click.echo(_status(each))
    elif stream:
        _stream_lines(ops)
    elif form == "json":
        write_json(_status_document(ops.overview()))
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
            common.echo(_status(each))
        first = False
        for record in each.changed:
            common.echo(tables.change(record))


def _limit(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N."
    )(command)


def _status_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--status", type=STATES, multiple=True, help="Only these. May be repeated."
    )(command)


def _job_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--job", metavar="NAME", default="", help="Only those of this job.")(
        command
    )


def _prompt_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--prompt",
        metavar="ps_…",
        default="",
        help="Only those of this prompt.",
        shell_complete=common.complete_ids,
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
@common.format_option()
@common.project_option
def _list_prompts(
    job: str,
    prompt: str,
    status: tuple[str, ...],
    limit: int | None,
    form: str,
    project: Path | None,
) -> None:
    """List the prompts that were made or applied, by name.

    With --job or --status it lists those that have such a run.

    \b
    Examples:
      cosmos-jobs list prompts --limit 20
      cosmos-jobs list prompts --status failed --format json
    """
    ops = common.operations(project, offline=True)
    prompt_id = ops.get_prompt(prompt).prompt.id if prompt else ""
    found = ops.list_prompts(job=job, prompt=prompt_id, states=[State(each) for each in status])
    shown = _first(found, limit)
    if form == "json":
        write_json([prompt_document(each) for each in shown])
    elif shown:
        click.echo(tables.prompts(shown))
    else:
        click.echo("No such prompts." if job or prompt or status else "No prompts yet.")


@list_command.command("runs")
@_job_option
@_prompt_option
@_status_option
@click.option("--stars", type=click.IntRange(1, 5), help="Only those with at least so many.")
@click.option(
    "--sort",
    metavar="rating|METRIC",
    type=ORDERS,
    help="The best first: stars, or what `evaluate` measured.",
)
@_limit
@common.format_option(common.FORMATS_WITH_CSV)
@common.project_option
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
    """List runs: one output video each, in the order of their making.

    \b
    Examples:
      cosmos-jobs list runs --job sunsets
      cosmos-jobs list runs --status failed --status lost --limit 20
      cosmos-jobs list runs --sort edge_f1 --limit 5
      cosmos-jobs list runs --stars 4 --sort rating
      cosmos-jobs list runs --format csv > runs.csv
    """
    ops = common.operations(project, offline=True)
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
        write_json([run_document(each, ops.outputs.video(each), measured) for each in found])


@click.command("show")
@click.argument("id_", metavar="ps_…|rs_…", shell_complete=common.complete_ids)
@common.format_option()
@common.project_option
def show_command(id_: str, form: str, project: Path | None) -> None:
    """Show all that is known of a prompt or a run.

    The id may be shortened as long as it names only one.

    \b
    Examples:
      cosmos-jobs show rs_3f2a
      cosmos-jobs show ps_9b11c0de --format json
    """
    ops = common.operations(project, offline=True)
    if id_.startswith("ps_"):
        prompt = ops.get_prompt(id_)
        runs = len(ops.list_runs(prompt=prompt.prompt.id))
        if form == "json":
            write_json({**prompt_document(prompt), "runs": runs})
        else:
            click.echo(results.prompt(prompt, runs))
    elif id_.startswith("rs_"):
        run = ops.get_run(id_)
        video, manifest = ops.outputs.video(run), ops.manifest(run)
        measured = ops.measured([run])
        if form == "json":
            document = run_document(run, video, measured)
            write_json({**document, "manifest": manifest or None})
        else:
            click.echo(
                results.run(run, ops.prompt_of(run), video, manifest, measured.get(run.run.id))
            )
    else:
        raise UsageError(f"`{id_}` is no id", hint="ids begin with ps_ (prompt) or rs_ (run)")


@click.command("reproduce")
@click.argument("run", metavar="rs_…", shell_complete=common.complete_ids)
@common.project_option
def reproduce_command(run: str, project: Path | None) -> None:
    """Print the exact commands that make a run again.

    It is a shell script for the machine that made the run: the model's own
    command line with its spec files, the inputs by content, and the
    environment. Secrets are taken from the environment that it is run in.

    \b
    Examples:
      cosmos-jobs reproduce rs_3f2a
      cosmos-jobs reproduce rs_3f2a | ssh gpu-1 sh
    """
    click.echo(common.operations(project, offline=True).reproduce(run), nl=False)


@click.command("prune")
@common.job_files
@click.option("--job", metavar="NAME", default="", help="All runs of a job whose file is gone.")
@click.option("--cache", is_flag=True, help="Empty the cache of digests and control maps.")
@click.option("--remote", is_flag=True, help="What nobody needs on the machines of targets.")
@click.option("--target", metavar="NAME", default="", help="With --remote: this target only.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@common.connecting()
@common.project_option
def prune_command(
    paths: tuple[str, ...],
    job: str,
    cache: bool,
    remote: bool,
    target: str,
    yes: bool,
    dry_run: bool,
    connect_timeout: float,
    project: Path | None,
) -> None:
    """Remove runs that left their job files, or the cache.

    Apply never deletes: a run that its job file no longer asks for is
    orphaned and stays. Prune removes these runs and their videos, and the
    working files of batches that have ended. It asks first; without a
    terminal it needs --yes.

    With --remote it removes, on the machines of targets, batches that have
    ended and inputs, unless this store or another client still needs them.

    \b
    Examples:
      cosmos-jobs prune --dry-run
      cosmos-jobs prune jobs/sunsets.yaml --yes
      cosmos-jobs prune --cache
      cosmos-jobs prune --remote --dry-run
    """
    ops = common.operations(project, connect_timeout=connect_timeout)
    if remote:
        _prune_remote(ops, paths, target, connect_timeout, yes=yes, dry_run=dry_run)
        return
    if target:
        raise UsageError("--target goes with --remote")
    if job and paths:
        raise UsageError("--job is for a job whose file is gone; leave out the files")
    if cache:
        freed = 0 if dry_run else ops.prune_cache()
        click.echo("The cache would be emptied." if dry_run else f"Freed {size(freed)}.")
        return
    leaving = ops.job_runs(job) if job else _orphans(ops, paths)
    may_ask("prune", yes=yes or dry_run or not leaving)
    for name, record in leaving:
        others = "" if len(record.jobs) == 1 else "  (stays in other jobs)"
        click.echo(f"- {record.run.id}  {name}/{record.jobs[name]}{others}")
    going = [record for _, record in leaving if len(record.jobs) == 1]
    freed = sum(ops.outputs.size(record.run.id) for record in going)
    total = f"{plans.plural(len(going), 'run')}, {size(freed)}"
    for name in () if job else ops.jobs_without_file():
        click.echo(f"The file of job `{name}` is gone; see: cosmos-jobs prune --job {name}")
    if dry_run:
        click.echo(f"To remove: {total}." if leaving else "No run has left its job file.")
        return
    if leaving:
        confirm(f"Remove {total}?", yes=yes)
    done = ops.prune(leaving)
    said = [f"Removed {plans.plural(done.removed, 'run')}"]
    said += [f"{done.kept:,} kept by other jobs"] if done.kept else []
    said += [f"{done.in_flight:,} in flight left alone"] if done.in_flight else []
    click.echo(f"{', '.join(said)}; freed {size(done.freed)}.")


def _orphans(ops: WorkflowOperations, paths: tuple[str, ...]) -> tuple[tuple[str, Record], ...]:
    """Return the runs that left job files; UsageError for the name of a job."""
    for name in paths:
        if name in ops.status() and not Path(name).exists():
            raise UsageError(
                f"`{name}` is a job, not a job file",
                hint=f"all its runs, once it has no file: cosmos-jobs prune --job {name}",
            )
    return ops.orphans(common.paths_or_jobs(paths, ops))


def _prune_remote(
    ops: WorkflowOperations,
    paths: Sequence[str],
    target: str,
    connect_timeout: float,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    if paths:
        raise UsageError(
            "--remote takes no files: it is about machines",
            hint=f"one target only: --target {paths[0]}",
        )
    may_ask("prune", yes=yes or dry_run)
    found = ops.prune_remote(target, delete=False, connect_timeout_s=connect_timeout)
    for host, each in found.items():
        for swept in each:
            click.echo(f"- {host}  {swept.name}  {size(swept.size)}")
    going = [swept for each in found.values() for swept in each]
    total = f"{plans.plural(len(going), 'item')}, {size(sum(each.size for each in going))}"
    if dry_run or not going:
        click.echo(f"To remove: {total}." if going else "Nothing there can go.")
        return
    confirm(f"Remove {total}?", yes=yes)
    gone = ops.prune_remote(target, delete=True, connect_timeout_s=connect_timeout)
    freed = sum(swept.size for each in gone.values() for swept in each)
    click.echo(f"Freed {size(freed)} on {', '.join(gone)}.")


def may_ask(command: str, *, yes: bool) -> None:
    """Refuse to delete where nobody can be asked; UsageError."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            f"{command} deletes files and there is no terminal to ask on",
            hint="add --yes, or look first: --dry-run",
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless told not to; a no ends the command."""
    if not yes:
        click.confirm(question, abort=True)


def prompt_document(record: PromptRecord) -> dict[str, object]:
    """Return a prompt as JSON has it."""
    return {
        **asdict(record.prompt),
        "name": record.name,
        "video": record.video,
        "files": dict(record.files),
        "frames": record.frames,
        "parent": record.parent or None,
        "enhancer": record.enhancer or None,
    }


def run_document(
    record: Record, video: Path, measured: Mapping[str, Measured]
) -> dict[str, object]:
    """Return a run as JSON has it, with its video's place and what was measured of it."""
    return {
        **{each.name: getattr(record.run, each.name) for each in fields(Run)},
        "jobs": dict(record.jobs),
        "state": str(record.state),
        "reason": record.reason,
        "rating": record.rating,
        "note": record.note,
        # orjson writes dataclasses itself, many times faster than asdict.
        "attempts": record.attempts,
        "output": {"path": str(video), **asdict(record.output)} if record.output else None,
        "metrics": dict(measured[record.run.id].values) if record.run.id in measured else {},
    }


def write_json(document: object) -> None:
    """Write a value to stdout as JSON."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
