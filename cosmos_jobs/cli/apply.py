"""The commands that carry plans out: apply, preview."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.cli import console, options, output
from cosmos_jobs.cli.plan import show
from cosmos_jobs.cli.project import operations, paths_or_jobs
from cosmos_jobs.cli.views import outcome, plans, progress
from cosmos_jobs.core.job import MAX_RUNS, Selection
from cosmos_jobs.core.record import IN_FLIGHT, UNSUCCESSFUL, State
from cosmos_jobs.errors import AnswerIsNo, HostError, StoreError, UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.plan import saved as saved_plans
from cosmos_jobs.plan.model import STARTS, WITHOUT_TEXT, Applied, Planned

HOW = (
    options.logs_option,
    click.option("--detach", is_flag=True, help="Return as soon as the machines have the work."),
    click.option(
        "--canary",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        help="Make N runs of each kind of batch first; the others only if these succeed.",
    ),
    click.option(
        "--keep-going/--fail-fast",
        default=True,
        show_default=True,
        help="When a run fails, finish the others or stop them.",
    ),
    click.option(
        "--max-gpu-hours",
        metavar="H",
        type=click.FloatRange(min=0),
        help="Start nothing when the estimate exceeds this many GPU hours.",
    ),
    click.option(
        "--max-runs",
        type=click.IntRange(min=0),
        default=MAX_RUNS,
        show_default=True,
        help="Start nothing when more runs than this would start.",
    ),
)
"""The options of how a plan is carried out, the last one of the help first."""


def _applying(command: Callable[..., None]) -> Callable[..., None]:
    """Add what says how a plan is carried out; the command gets it as one value."""

    @wraps(command)
    def collected(
        *,
        max_runs: int,
        max_gpu_hours: float | None,
        keep_going: bool,
        canary: int,
        detach: bool,
        logs: bool,
        **others: Any,
    ) -> None:
        how = ApplyOptions(
            max_runs=max_runs,
            max_gpu_hours=max_gpu_hours,
            fail_fast=not keep_going,
            canary=canary,
            detach=detach,
            with_logs=logs,
        )
        command(how=how, **others)

    for option in HOW:
        collected = option(collected)
    return collected


@click.command("apply")
@options.selecting
@_applying
@options.connecting()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="The same as plan.")
@options.events_option
@options.junit_option
def apply_command(
    paths: tuple[str, ...],
    target: str,
    only: tuple[str, ...],
    force: bool,
    since: str | None,
    project: Path | None,
    how: ApplyOptions,
    yes: bool,
    dry_run: bool,
    form: str,
    junit: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make the videos of job files; run only what is pending.

    FILE is a job file, a folder of them, or a plan that `plan --out` saved.
    The videos are in outputs/<job>/<prompt>/. You can stop it at
    any time: the next apply continues from there. The exit code is 1 when a
    run does not succeed.

    \b
    Examples:
      cosmos-jobs apply jobs/sunsets.yaml
      cosmos-jobs apply jobs/sunsets.yaml --only golden
      cosmos-jobs apply jobs/sunsets.yaml --target h100 --canary 1
      cosmos-jobs apply --detach               then: cosmos-jobs watch
      cosmos-jobs apply night.plan             refused when it is out of date
      cosmos-jobs apply --format json --junit report.xml      for programs
    """
    with output.reporting(form, junit) as report:
        ops = operations(project, paths)
        if any(map(_is_plan, paths)):
            if len(paths) > 1 or only or target or force or since is not None:
                raise UsageError("a saved plan is applied as it is: alone, and without selection")
            planned = _saved(ops, Path(paths[0]), quiet=quiet)
        else:
            chosen = paths_or_jobs(paths, ops)
            selection = Selection(chosen, target=target, only=only, force=force, since=since)
            planned = ops.plan(selection, hashing=console.hashing(quiet=quiet))
        telling = Telling(yes=yes, quiet=quiet, verbose=verbose, report=report)
        if dry_run:
            tell(planned, telling)
        else:
            carry_out(ops, planned, how, telling)


@click.command("preview")
@options.job_files
@click.option("--only", metavar="PROMPT|rs_…", multiple=True, help="Only this prompt's runs.")
@click.option("--max-runs", type=click.IntRange(min=0), default=MAX_RUNS, show_default=True)
@options.project_option
@options.verbosity
def preview_command(
    paths: tuple[str, ...],
    only: tuple[str, ...],
    max_runs: int,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show any job's control inputs, on this machine's CPU.

    The preview engine makes all runs, whatever the job's engine: control maps,
    blended by the weights and captioned with the prompt and the parameters.
    A preview shows what conditions a model. It is not model output.

    \b
    Examples:
      cosmos-jobs preview jobs/night.yaml      videos in outputs/night.preview/
    """
    ops = operations(project, paths)
    selection = Selection(paths_or_jobs(paths, ops), only=only, preview=True)
    planned = ops.plan(selection, hashing=console.hashing(quiet=quiet))
    carry_out(ops, planned, ApplyOptions(max_runs=max_runs), Telling(quiet=quiet, verbose=verbose))


def _is_plan(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return path.endswith(".plan") or saved_plans.FORMAT.encode() in file.read(100)
    except OSError:
        return path.endswith(".plan")


def _saved(ops: WorkflowOperations, path: Path, *, quiet: bool) -> Planned:
    """Return the plan of today for what a saved plan selected; refuse when it is another one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    saved = saved_plans.load(data, str(path))
    hint = f"look again: cosmos-jobs plan {shlex.join(saved.selection.paths)} --out {path}"
    try:
        planned = ops.plan(saved.selection, hashing=console.hashing(quiet=quiet))
    except UsageError as error:
        # A job file, a prompt or a target that was there is not.
        raise AnswerIsNo(f"the saved plan {path} is stale: {error.message}", hint=hint) from error
    if moved := tuple(saved_plans.moved_on(saved, planned)):
        raise AnswerIsNo(f"the saved plan {path} is stale: {'; '.join(moved)}", hint=hint)
    return planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is told of an apply, and to whom; with `yes` nothing is asked."""

    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    report: output.Report = field(default_factory=output.Report)


def tell(planned: Planned, telling: Telling) -> None:
    """Show a plan to people, or tell it to programs."""
    if telling.report.stream:
        telling.report.stream.planned(planned)
    else:
        show(planned, "text", quiet=telling.quiet, verbose=telling.verbose)


def carry_out(
    ops: WorkflowOperations, planned: Planned, how: ApplyOptions, telling: Telling
) -> None:
    """Show a plan, ask where that is due, carry it out, and say what came of it."""
    tell(planned, telling)
    pending = progress.pending(planned) or plans.count(planned, *WITHOUT_TEXT)
    applied = perform(ops, planned, how, telling)
    telling.report.applied(applied)
    if telling.report.stream:
        telling = replace(telling, verbose=False)
    elif not telling.quiet and pending:
        console.echo(outcome.text(applied, ops.project.root))
    elif telling.quiet and _failed(applied):
        click.echo(outcome.text(applied, ops.project.root), err=True)
    conclude(applied, how, telling)


def perform(
    ops: WorkflowOperations, planned: Planned, how: ApplyOptions, telling: Telling
) -> Applied:
    """Ask where that is due, carry a plan out, and show how that goes on."""
    unchecked = planned.estimate.unknown
    gpus = any(ops.project.targets[job.target].gpus for job in planned.jobs)
    if how.max_gpu_hours is not None and unchecked and gpus:
        said = f"not checked for {plans.plural(unchecked, 'run')}, whose length is unknown yet"
        click.echo(f"--max-gpu-hours: {said}", err=True)
    _agree(planned, telling)
    if plans.count(planned, *WITHOUT_TEXT):
        planned = _enhanced(ops, planned, how, telling)
    # Unlike the other commands this one lasts, for days perhaps.
    gc.enable()
    # What is published may be told of, too.
    silent = not progress.pending(planned) and not ops.project.published
    stream = telling.report.stream
    shown = progress.reporter(planned, quiet=telling.quiet or silent, verbose=telling.verbose)
    try:
        with nullcontext(stream) if stream else shown as notify:
            return ops.carry_out(planned, notify, how)
    except KeyboardInterrupt:
        left = console.tell_left(ops, [each.run.id for each in planned.desired])
        telling.report.interrupted(left)
        raise


def conclude(applied: Applied, how: ApplyOptions, telling: Telling) -> None:
    """Say what machines did not do, and exit with a code unless every run succeeded."""
    console.tell_traffic(applied.traffic, verbose=telling.verbose)
    console.tell_troubles(applied.troubles)
    left = IN_FLIGHT | ({State.PENDING} if not applied.held_back else frozenset())
    waiting = not how.detach and any(each.state in left for each in applied.records)
    exit_with = click.get_current_context().exit
    codes = [each.exit_code for each in applied.troubles]
    if HostError.exit_code in codes and (waiting or how.detach):
        exit_with(HostError.exit_code)
    if _failed(applied, detached=how.detach):
        exit_with(1)
    if StoreError.exit_code in codes:
        exit_with(StoreError.exit_code)
    if waiting:
        exit_with(1)


def _enhanced(
    ops: WorkflowOperations, planned: Planned, how: ApplyOptions, telling: Telling
) -> Planned:
    """Have the prompts enhanced that runs await, and say what is to be done then."""
    stream = telling.report.stream
    if not telling.quiet and not stream:
        click.echo("Writing prompts in more detail …", err=True)
    now = ops.enhance(planned, max_runs=how.max_runs)
    if stream:
        stream.planned(now)
    elif not telling.quiet:
        console.echo(plans.summary(now))
    return now


def _failed(applied: Applied, *, detached: bool = False) -> bool:
    # Who detaches asks what came of what is started now, and not of what failed before.
    ours = applied.started | applied.awaited
    judged = (each for each in applied.records if not detached or each.run.id in ours)
    failed = any(record.state in UNSUCCESSFUL for record in judged)
    unknown = any(each.action in WITHOUT_TEXT for each in applied.planned.plan.changes)
    return failed or unknown or bool(applied.held_back)


def _agree(planned: Planned, telling: Telling) -> None:
    """Ask once, on a terminal, before work starts elsewhere than on this machine."""
    away = sorted({job.target for job in planned.jobs} - {"local"})
    starts = plans.count(planned, *WITHOUT_TEXT, *STARTS)
    if telling.yes or not away or not starts or not sys.stdin.isatty():
        return
    if telling.report.stream:
        raise UsageError("with --format json nothing is asked", hint="add --yes")
    click.confirm(f"Start {plans.plural(starts, 'run')} on {', '.join(away)}?", abort=True)
