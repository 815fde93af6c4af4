"""The commands on work in flight that look on: watch, fetch, logs, adopt."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from cosmos_jobs.cli import completion, console, options, output
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views import outcome, plans, progress
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.record import IN_FLIGHT, UNSUCCESSFUL, State
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.plan.model import Followed

LATE = 124
"""The exit code of a watch whose time is over, as that of coreutils' timeout."""


@click.command("watch")
@options.names
@options.logs_option
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=options.seconds,
    help="Stop watching after this time, such as 50m or 5h30m, with exit code 124.",
)
@options.connecting()
@options.events_option
@options.junit_option
@options.project_option
@options.verbosity
def watch_command(
    names: tuple[str, ...],
    logs: bool,
    timeout: float | None,
    form: str,
    junit: Path | None,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Follow runs in flight until they end.

    It shows what each GPU does, and the end of its log. It continues a stopped
    apply: it starts the batches that no machine has yet, and fetches finished
    videos. Ctrl-C leaves all work on other machines running.

    The exit code is 1 when a run does not succeed. With --timeout it is 124,
    as with timeout(1), when runs are still in flight. They continue, and the
    same command follows them again.

    \b
    Examples:
      cosmos-jobs watch                  everything
      cosmos-jobs watch sunsets          one job, by name or file
      cosmos-jobs watch --logs           with the engines' logs
      cosmos-jobs watch --timeout 50m    in a CI job of at most an hour
    """
    with output.reporting(form, junit) as report:
        ops = operations(project)
        runs = ops.select(names, IN_FLIGHT)
        if runs:
            with _watching(ops, runs, report, quiet=quiet, verbose=verbose) as notify:
                done = ops.watch(
                    runs,
                    notify,
                    with_logs=logs,
                    timeout_s=timeout,
                )
            report.followed(done)
            silent = quiet or report.stream is not None
            late = timeout is not None and any(each.state in IN_FLIGHT for each in done.records)
            _end(done, ops.project.root, quiet=silent, verbose=verbose, failing=not late)
            if late:
                click.get_current_context().exit(LATE)
        elif not report.stream:
            # A report that an apply wrote of the same runs stays as it is.
            console.echo("Nothing is in flight.")


@contextmanager
def _watching(
    ops: WorkflowOperations,
    runs: Sequence[str],
    report: output.Report,
    *,
    quiet: bool,
    verbose: bool,
) -> Iterator[Callable[[Event], None]]:
    """Yield what shows a watch to people, or tells it to programs."""
    gc.enable()
    place = console.places(ops, runs).get
    try:
        if report.stream:
            report.stream.expect(len(runs), place)
            yield report.stream
        else:
            with progress.lanes(place, len(runs), quiet=quiet, verbose=verbose) as notify:
                yield notify
    except KeyboardInterrupt:
        report.interrupted(console.tell_left(ops, runs))
        raise


@click.command("fetch")
@options.names
@options.logs_option
@options.connecting()
@options.project_option
@options.verbosity
def fetch_command(
    names: tuple[str, ...],
    logs: bool,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Fetch finished videos, and return.

    It checks the runs in flight once, starts nothing and does not wait. It
    also fetches finished videos that are missing from outputs/, from published
    outputs or from the machine that made them. With a job file, it fetches
    what others have published, too.

    \b
    Examples:
      cosmos-jobs fetch
      cosmos-jobs fetch jobs/sunsets.yaml
    """
    ops = operations(project)
    job_files = [each for each in names if Path(each).is_file()]
    with progress.lanes(lambda run: None, 0, quiet=quiet, verbose=verbose) as notify:
        taken = ops.take_published(job_files, notify)
    runs = ops.select(names, IN_FLIGHT | {State.SUCCEEDED})
    before = set(ops.select(names, IN_FLIGHT))
    lost = ops.lost_videos(runs)
    gc.enable()
    places = console.places(ops, runs)
    with progress.lanes(places.get, len(places), quiet=quiet, verbose=verbose) as notify:
        done = ops.fetch(runs, notify, with_logs=logs)
    now = Followed(
        tuple(each for each in done.records if each.run.id in before), done.troubles, done.traffic
    )
    left = len(ops.lost_videos(runs))
    came = taken + len(lost) - left
    if not quiet and came:
        console.echo(f"Fetched {plans.plural(came, 'video')} made before.")
    elif not quiet and not before and not left:
        console.echo("Nothing to fetch.")
        if not runs and ops.project.published:
            hint = "what others have published: cosmos-jobs fetch jobs/NAME.yaml"
            click.echo(f"  {hint}", err=True)
    if left and not done.troubles:
        where = "where they were made or published"
        click.echo(f"{plans.plural(left, 'video')} could not be had {where}", err=True)
    _end(now, Path(ops.project.root), quiet=quiet, verbose=verbose)


@click.command("logs")
@click.argument("run", metavar="rs_…", shell_complete=completion.complete_ids)
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the batch ends.")
@options.connecting()
@options.project_option
def logs_command(run: str, follow: bool, project: Path | None) -> None:
    """Show the log of a run's batch.

    The runs of a batch share a process, and therefore a log. Known secrets are
    masked.

    \b
    Examples:
      cosmos-jobs logs rs_3f2a
      cosmos-jobs logs rs_3f2a -f
    """
    ops = operations(project)
    if not run.startswith("rs_"):
        more = f" --job {run}" if run in ops.status() else ""
        raise UsageError(f"`{run}` is no run id", hint=f"see them: cosmos-jobs list runs{more}")
    ops.log(
        run,
        lambda part: console.echo(part, nl=False),
        follow=follow,
    )


@click.command("adopt")
@click.argument("target", required=False, default="")
@options.connecting()
@options.project_option
@options.verbosity
def adopt_command(target: str, project: Path | None, quiet: bool, verbose: bool) -> None:
    """Rebuild a lost store from outputs and machines.

    It records the runs whose videos are in outputs/, fetches what the machines
    have made, and follows what they are making. It starts no run, and changes
    no record that the store has. Without TARGET, it asks the machines of all
    targets.

    \b
    Examples:
      cosmos-jobs adopt
      cosmos-jobs adopt h100
    """
    ops = operations(project)
    # The store gets to know the runs, and so their number and places, while it is at it.
    with progress.lanes(partial(console.place_of, ops), 0, quiet=quiet, verbose=verbose) as notify:
        done = ops.adopt(target, notify)
    if not quiet:
        console.echo(f"Adopted {plural(len(done.records), 'run')}.")
    _end(done, Path(ops.project.root), quiet=quiet, verbose=verbose, failing=False)


def _end(done: Followed, root: Path, *, quiet: bool, verbose: bool, failing: bool = True) -> None:
    """Say what became of runs; exit 5 when machines did not answer, 1 when runs failed."""
    if not quiet and done.records:
        console.echo(outcome.followed(done, root))
    console.tell_traffic(done.traffic, verbose=verbose)
    console.tell_troubles(done.troubles)
    if done.troubles:
        click.get_current_context().exit(done.troubles[0].exit_code)
    unmade = UNSUCCESSFUL | {State.PENDING}
    if failing and any(record.state in unmade for record in done.records):
        click.get_current_context().exit(1)
