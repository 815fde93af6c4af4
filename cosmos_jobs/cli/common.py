"""What the commands share: their options, their arguments and how they get at the project."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from cosmos_jobs import cli
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.errors import CosmosJobsError, UsageError

if TYPE_CHECKING:
    from cosmos_jobs.core.diagnostics import Diagnostic
    from cosmos_jobs.core.record import Record
    from cosmos_jobs.operations import WorkflowOperations

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS = click.Choice(["text", "json"])
FORMATS_WITH_CSV = click.Choice(["text", "json", "csv"])


def seconds(context: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a time such as 90, 90s, 50m or 5h30m; BadParameter for none."""
    if value is None:
        return None
    found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s?)?", value)
    hours, minutes, rest = (int(each or 0) for each in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + rest
    if not total:
        raise click.BadParameter(f"`{value}` is no time: write 90s, 50m or 5h30m")
    return float(total)


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


def job_files(command: _Command) -> _Command:
    """Add the argument FILE…; without any, it is the folder `jobs`."""
    return click.argument(
        "paths", metavar="[FILE]...", nargs=-1, shell_complete=complete_job_files
    )(command)


def since_option(command: _Command) -> _Command:
    """Add --changed-since."""
    return click.option(
        "--changed-since",
        "since",
        metavar="REF",
        help="Only job files that differ from a git ref, or name a file that does.",
    )(command)


def names(command: _Command) -> _Command:
    """Add the argument NAME…: runs, jobs or job files; without any it is everything."""
    return click.argument("names", metavar="[rs_…|JOB]...", nargs=-1, shell_complete=complete_ids)(
        command
    )


def connecting(default: float = CONNECT_TIMEOUT_S) -> Callable[[_Command], _Command]:
    """Add --connect-timeout."""
    return click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        help="How long to try a machine that does not answer.",
    )


def logs_option(command: _Command) -> _Command:
    """Add --logs."""
    return click.option(
        "--logs", is_flag=True, help="Show what engines say, from where it was shown last."
    )(command)


def project_option(command: _Command) -> _Command:
    """Add -C, the project's folder."""
    return click.option(
        "-C",
        "--project",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="The project's folder; else the nearest one upwards with a cosmos-jobs.yaml.",
    )(command)


def verbosity(command: _Command) -> _Command:
    """Add -v and -q."""
    command = click.option("-v", "--verbose", is_flag=True, help="Show run ids and every run.")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def format_option(choice: click.Choice[str] = FORMATS) -> Callable[[_Command], _Command]:
    """Add --format."""
    return click.option("--format", "form", type=choice, default="text", show_default=True)


@contextmanager
def silent() -> Iterator[Callable[[int, int], None]]:
    """Yield what takes progress and shows nothing."""
    yield lambda done, total: None


def events_option(command: _Command) -> _Command:
    """Add --format of the commands that last."""
    return click.option(
        "--format",
        "form",
        type=FORMATS,
        default="text",
        show_default=True,
        help="json is one event a line; see docs/ci.md.",
    )(command)


def junit_option(command: _Command) -> _Command:
    """Add --junit."""
    return click.option(
        "--junit",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a JUnit report: one test case a run.",
    )(command)


def echo(text: str | bytes, *, nl: bool = True) -> None:
    """Write to stdout; when its reader has gone, as `| head` does, work goes on in silence."""
    try:
        click.echo(text, nl=nl)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whatever is written or flushed later, at exit too, has somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def operations(
    project: Path | None,
    paths: Sequence[str] = (),
    *,
    offline: bool = False,
    asking: bool = True,
    connect_timeout: float = CONNECT_TIMEOUT_S,
) -> WorkflowOperations:
    """Return the operations of the project in a folder, or around the working directory.

    Outside of any project it is the one around the first of `paths`. Commands
    that only read say `offline`: a shared state that is out of reach is the last copy.
    Without `asking` it is so whenever there is one.
    """
    from cosmos_jobs.config import project as projects
    from cosmos_jobs.operations import WorkflowOperations

    root = project.resolve() if project else projects.find(_start(paths))
    ops = WorkflowOperations(
        projects.load(root),
        lambda line: click.echo(line, err=True),
        offline=offline,
        asking=asking,
        connect_timeout_s=connect_timeout,
    )
    # The shell's completion has no context.
    if context := click.get_current_context(silent=True):
        context.call_on_close(ops.close)
    return ops


def _start(paths: Sequence[str]) -> Path:
    """Return where the search for the project begins: here, or at the first path elsewhere."""
    from cosmos_jobs.config import project as projects

    places = (Path.cwd(), *(Path(path).resolve().parent for path in paths[:1]))
    found = (place for place in places if (projects.find(place) / projects.FILE).is_file())
    return next(found, places[0])


def paths_or_jobs(paths: Sequence[str], ops: WorkflowOperations) -> tuple[str, ...]:
    """Return the paths given, or the project's folder of job files."""
    from cosmos_jobs.config import project as projects

    if paths:
        return tuple(paths)
    folder = ops.project.root / "jobs"
    if not folder.is_dir():
        raise UsageError(
            "no job file was given, and there is no folder `jobs`",
            hint="name one: jobs/sunsets.yaml, or begin with: cosmos-jobs init",
        )
    return (projects.shown(folder, Path.cwd()),)


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
        from cosmos_jobs.cli.views import diagnostics

        click.echo(diagnostics.text(problems, color=True), err=True)


def hashing(*, quiet: bool) -> Callable[[str, int, int], None] | None:
    """Return a reporter of long hashing on a terminal's stderr."""
    if quiet or not sys.stderr.isatty():
        return None
    from cosmos_jobs.cli.views.progress import Hashing

    return Hashing()
