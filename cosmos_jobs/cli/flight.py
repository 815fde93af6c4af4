"""The commands on what is in flight: watch, fetch, logs, cancel, retry, adopt."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from cosmos_jobs.cli import common, reports
from cosmos_jobs.cli.reports import Report
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import MAX_RUNS
from cosmos_jobs.core.record import IN_FLIGHT, State
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.plan.model import Followed

LATE = 124
"""The exit code of a watch whose time is over, as that of coreutils' timeout."""

RETRIED = frozenset({State.FAILED, State.LOST, State.CANCELLED})


@click.command("watch")
@common.names
@common.logs_option
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=common.seconds,
    help="Stop watching after this time, such as 50m or 5h30m; exit code 124.",
)
@common.connecting()
@common.events_option
@common.junit_option
@common.project_option
@common.verbosity
def watch_command(
    names: tuple[str, ...],
    logs: bool,
    timeout: float | None,
    connect_timeout: float,
    form: str,
    junit: Path | None,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Follow what is in flight to its end.

    It shows what each GPU is at, and the end of its log. It goes on where an
    apply was stopped: batches that no machine has yet are started, and
    finished videos are fetched. Ctrl-C leaves all work on other machines
    running. Exit code 1 when a run did not succeed. With --timeout it is 124,
    as that of timeout(1), while something is in flight: all goes on by itself,
    and the same command follows it again.

    \b
    Examples:
      cosmos-jobs watch                  everything
      cosmos-jobs watch sunsets          one job, by name or file
      cosmos-jobs watch --logs           and what the engines say
      cosmos-jobs watch --timeout 50m    where a job of CI may last an hour
    """
    with reports.reporting(form, junit) as report:
        ops = common.operations(project, connect_timeout=connect_timeout)
        runs = ops.select(names, IN_FLIGHT)
        if runs:
            with _watching(ops, runs, report, quiet=quiet, verbose=verbose) as notify:
                done = ops.watch(
                    runs,
                    notify,
                    connect_timeout_s=connect_timeout,
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
            common.echo("Nothing is in flight.")


@contextmanager
def _watching(
    ops: WorkflowOperations,
    runs: Sequence[str],
    report: Report,
    *,
    quiet: bool,
    verbose: bool,
) -> Iterator[Callable[[Event], None]]:
    """Yield what shows a watch to people, or tells it to programs."""
    from cosmos_jobs.cli.views import progress

    gc.enable()
    place = common.places(ops, runs).get
    try:
        if report.stream:
            report.stream.expect(len(runs), place)
            yield report.stream
        else:
            with progress.lanes(place, len(runs), quiet=quiet, verbose=verbose) as notify:
                yield notify
    except KeyboardInterrupt:
        report.interrupted(common.tell_left(ops, runs))
        raise


@click.command("fetch")
@common.names
@common.logs_option
@common.connecting()
@common.project_option
@common.verbosity
def fetch_command(
    names: tuple[str, ...],
    logs: bool,
    connect_timeout: float,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Fetch what is made by now, and return.

    It looks once at what is in flight, starts nothing and waits for nothing.
    Videos that were made and are not in outputs/ are fetched from where
    outputs are published, or if their machine still has them. Of a job file,
    also what others have published and no machine here knows of.

    \b
    Examples:
      cosmos-jobs fetch
      cosmos-jobs fetch jobs/sunsets.yaml
    """
    from cosmos_jobs.cli.views import plans, progress

    ops = common.operations(project, connect_timeout=connect_timeout)
    job_files = [each for each in names if Path(each).is_file()]
    with progress.lanes(lambda run: None, 0, quiet=quiet, verbose=verbose) as notify:
        taken = ops.take_published(job_files, notify, connect_timeout_s=connect_timeout)
    runs = ops.select(names, IN_FLIGHT | {State.SUCCEEDED})
    before = set(ops.select(names, IN_FLIGHT))
    lost = ops.lost_videos(runs)
    gc.enable()
    places = common.places(ops, runs)
    with progress.lanes(places.get, len(places), quiet=quiet, verbose=verbose) as notify:
        done = ops.fetch(runs, notify, connect_timeout_s=connect_timeout, with_logs=logs)
    now = Followed(
        tuple(each for each in done.records if each.run.id in before), done.troubles, done.traffic
    )
    left = len(ops.lost_videos(runs))
    came = taken + len(lost) - left
    if not quiet and came:
        common.echo(f"Fetched {plans.plural(came, 'video')} made before.")
    elif not quiet and not before and not left:
        common.echo("Nothing to fetch.")
        if not runs and ops.project.published:
            hint = "what others have published: cosmos-jobs fetch jobs/NAME.yaml"
            click.echo(f"  {hint}", err=True)
    if left and not done.troubles:
        where = "where they were made or published"
        click.echo(f"{plans.plural(left, 'video')} could not be had {where}", err=True)
    _end(now, Path(ops.project.root), quiet=quiet, verbose=verbose)


@click.command("logs")
@click.argument("run", metavar="rs_…", shell_complete=common.complete_ids)
@click.option("-f", "--follow", is_flag=True, help="Go on until the batch has ended.")
@common.connecting()
@common.project_option
def logs_command(run: str, follow: bool, connect_timeout: float, project: Path | None) -> None:
    """Show the log of a run's batch.

    The runs of a batch share a process, and so a log. Values of known secrets
    are masked.

    \b
    Examples:
      cosmos-jobs logs rs_3f2a
      cosmos-jobs logs rs_3f2a -f
    """
    ops = common.operations(project, connect_timeout=connect_timeout)
    if not run.startswith("rs_"):
        more = f" --job {run}" if run in ops.status() else ""
        raise UsageError(f"`{run}` is no run id", hint=f"see them: cosmos-jobs list runs{more}")
    ops.log(
        run,
        lambda part: common.echo(part, nl=False),
        follow=follow,
        connect_timeout_s=connect_timeout,
    )


@click.command("cancel")
@common.names
@click.option("--all", "every", is_flag=True, help="Everything of this project in flight.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common.connecting()
@common.project_option
def cancel_command(
    names: tuple[str, ...], every: bool, yes: bool, connect_timeout: float, project: Path | None
) -> None:
    """Stop runs in flight.

    Their process groups and containers end, and no others. The runs of a
    batch share a process: all of them stop. What they made before is kept;
    apply makes the others.

    \b
    Examples:
      cosmos-jobs cancel rs_3f2a
      cosmos-jobs cancel sunsets
      cosmos-jobs cancel --all
    """
    ops = common.operations(project, connect_timeout=connect_timeout)
    if bool(names) == every:
        raise UsageError(
            "say what to cancel" if not names else "--all is all: leave out the names",
            hint="a run (rs_…), a job, or --all",
        )
    runs = ops.select(names, IN_FLIGHT)
    if not runs:
        common.echo("Nothing of this is in flight.")
        return
    if not yes and sys.stdin.isatty():
        click.confirm(f"Stop {plural(len(runs), 'run')} in flight?", abort=True)
    done = ops.cancel(runs, connect_timeout_s=connect_timeout)
    asked = set(runs)
    stopped = [each for each in done.records if each.state is State.CANCELLED]
    others = sum(each.run.id not in asked for each in stopped)
    said = [f"Stopped {plural(len(stopped), 'run')}"]
    said += [f"{others:,} of them in the same batches"] if others else []
    made = sum(each.run.id in asked and each.state is State.SUCCEEDED for each in done.records)
    said += [f"{made:,} had succeeded"] if made else []
    common.echo(f"{', '.join(said)}.")


@click.command("retry")
@common.names
@click.option("--blocked", is_flag=True, help="Also runs that a guardrail refused.")
@click.option("--target", metavar="NAME", default="", help="Run on this target instead.")
@click.option("--max-runs", type=click.IntRange(min=0), default=MAX_RUNS, show_default=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common.connecting()
@common.project_option
@common.verbosity
def retry_command(
    names: tuple[str, ...],
    blocked: bool,
    target: str,
    max_runs: int,
    yes: bool,
    connect_timeout: float,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run again what failed, was lost or was cancelled.

    It starts nothing else, and starts them where they ran last. Without a
    name it is everything in the store. Exit code 1 when a run did not succeed.

    \b
    Examples:
      cosmos-jobs retry sunsets
      cosmos-jobs retry rs_3f2a
      cosmos-jobs retry jobs/sunsets.yaml --blocked
    """
    from cosmos_jobs.cli import jobs

    ops = common.operations(project, connect_timeout=connect_timeout)
    runs = ops.select(names, RETRIED | ({State.BLOCKED} if blocked else frozenset()))
    if not runs:
        common.echo("Nothing to retry.")
        return
    planned = ops.retrying(runs, target, is_choice=bool(names))
    jobs.carry_out(
        ops,
        planned,
        jobs.Options(max_runs=max_runs, connect_timeout_s=connect_timeout, yes=yes),
        quiet=quiet,
        verbose=verbose,
    )


@click.command("adopt")
@click.argument("target", required=False, default="")
@common.connecting()
@common.project_option
@common.verbosity
def adopt_command(
    target: str, connect_timeout: float, project: Path | None, quiet: bool, verbose: bool
) -> None:
    """Rebuild a lost store from outputs and machines.

    Runs whose videos are in outputs/ are known again; what a machine made or
    is making is fetched or followed. Nothing is run, and what the store knows
    already stays as it is. Without TARGET it asks the machines of all targets.

    \b
    Examples:
      cosmos-jobs adopt
      cosmos-jobs adopt h100
    """
    from cosmos_jobs.cli.views import progress

    ops = common.operations(project, connect_timeout=connect_timeout)
    # The store gets to know the runs, and so their number and places, while it is at it.
    with progress.lanes(partial(common.place_of, ops), 0, quiet=quiet, verbose=verbose) as notify:
        done = ops.adopt(target, notify, connect_timeout_s=connect_timeout)
    if not quiet:
        common.echo(f"Adopted {plural(len(done.records), 'run')}.")
    _end(done, Path(ops.project.root), quiet=quiet, verbose=verbose, failing=False)


def _end(done: Followed, root: Path, *, quiet: bool, verbose: bool, failing: bool = True) -> None:
    """Say what became of runs; exit 5 when machines did not answer, 1 when runs failed."""
    from cosmos_jobs.cli.views import results

    if not quiet and done.records:
        common.echo(results.followed(done, root))
    common.tell_traffic(done.traffic, verbose=verbose)
    common.tell_troubles(done.troubles)
    if done.troubles:
        click.get_current_context().exit(done.troubles[0].exit_code)
    unmade = RETRIED | {State.BLOCKED, State.PENDING}
    if failing and any(record.state in unmade for record in done.records):
        click.get_current_context().exit(1)
