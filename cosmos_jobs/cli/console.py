"""What commands say to people, and ask them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click
import orjson

from cosmos_jobs import cli
from cosmos_jobs.cli.views import diagnostics, progress
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.record import Record
from cosmos_jobs.errors import CosmosJobsError, UsageError
from cosmos_jobs.operations import WorkflowOperations


def echo(text: str | bytes, *, nl: bool = True) -> None:
    """Write to stdout; when its reader has gone, as `| head` does, work goes on in silence."""
    try:
        click.echo(text, nl=nl)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whatever is written or flushed later, at exit too, has somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_json(document: object) -> None:
    """Write a value to stdout as JSON."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


@contextmanager
def silent() -> Iterator[Callable[[int, int], None]]:
    """Yield what takes progress and shows nothing."""
    yield lambda done, total: None


def places(ops: WorkflowOperations, run_ids: Iterable[str]) -> dict[str, str]:
    """Return what people call runs: their place in the first job that asks for them."""
    known = ops.store.snapshot()
    jobs = {run_id: known.runs[run_id].jobs for run_id in run_ids}
    return {run_id: "/".join(next(iter(each.items()), ("",))) for run_id, each in jobs.items()}


def place_of(ops: WorkflowOperations, run_id: str) -> str:
    """Return the place of a run as the store knows it by now; empty when it does not."""
    return places(ops, [run_id])[run_id] if run_id in ops.store.snapshot().states else ""


def tell_troubles(troubles: Iterable[CosmosJobsError]) -> None:
    """Say what machines, or where outputs are published, did not do; and what to type next."""
    for error in troubles:
        cli.tell_error(cli.masked(error.message), error.hint)


def tell_traffic(traffic: Iterable[str], *, verbose: bool) -> None:
    """Say what went over each connection."""
    for line in traffic if verbose else ():
        click.echo(line, err=True)


def tell_left(ops: WorkflowOperations, run_ids: Collection[str]) -> list[Record]:
    """Say what goes on elsewhere after Ctrl-C, and what to type about it; return the runs."""
    wanted = set(run_ids)
    known = ops.store.snapshot()
    records = [known.runs[run_id] for run_id in dict.fromkeys(run_ids) if run_id in known.states]
    left = [lane for lane in ops.in_flight() if wanted.intersection(known.batches[lane.batch].runs)]
    if not left:
        click.echo("Stopped. What was made is kept; the same command goes on.", err=True)
        return records
    runs = sum(lane.runs - lane.done for lane in left)
    hosts = ", ".join(sorted({lane.host or lane.target for lane in left}))
    click.echo(
        f"Stopped watching: {runs:,} run{'s go' if runs != 1 else ' goes'} on at {hosts}.\n"
        "  re-attach: cosmos-jobs watch      stop them: cosmos-jobs cancel --all",
        err=True,
    )
    return records


def warn(problems: Sequence[Diagnostic], *, quiet: bool = False) -> None:
    """Show the warnings of job files on stderr."""
    if problems and not quiet:
        click.echo(diagnostics.text(problems, color=True), err=True)


def hashing(*, quiet: bool) -> Callable[[str, int, int], None] | None:
    """Return a reporter of long hashing on a terminal's stderr."""
    if quiet or not sys.stderr.isatty():
        return None
    return progress.Hashing()


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
