"""The commands on job files: validate, plan, apply, preview."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import orjson

from cosmos_jobs.cli import common, reports
from cosmos_jobs.cli.views import plans
from cosmos_jobs.core import atomic
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.diagnostics import Severity
from cosmos_jobs.core.job import MAX_RUNS, Selection
from cosmos_jobs.core.record import IN_FLIGHT, State
from cosmos_jobs.errors import AnswerIsNo, HostError, StoreError, UsageError
from cosmos_jobs.jobs.load import located
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.plan import saved as saved_plans
from cosmos_jobs.plan.model import STARTS, Action, Applied, Planned

FAILED = (State.FAILED, State.BLOCKED, State.LOST, State.CANCELLED)


@click.command("validate")
@common.job_files
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github prints workflow annotations.",
)
@common.since_option
@common.project_option
@common.verbosity
def validate_command(
    paths: tuple[str, ...],
    form: str,
    since: str | None,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Check job files; say all that is wrong with them.

    Exit code 3 when a file has an error. Nothing is written but a cache.

    \b
    Examples:
      cosmos-jobs validate                     every file in jobs/
      cosmos-jobs validate jobs/sunsets.yaml
      cosmos-jobs validate --format github     in a GitHub workflow
      cosmos-jobs validate --changed-since origin/main
    """
    from cosmos_jobs.cli.views import diagnostics

    ops = common.operations(project, paths, offline=True)
    chosen = common.paths_or_jobs(paths, ops)
    jobs, problems = ops.validate(chosen, hashing=common.hashing(quiet=quiet), since=since)
    wrong = any(each.severity is Severity.ERROR for each in problems)
    match form:
        case "json":
            click.echo(orjson.dumps(diagnostics.as_json(problems), option=orjson.OPT_INDENT_2))
        case "github":
            click.echo(diagnostics.github(problems), nl=False)
        case _:
            shown = [each for each in problems if not quiet or each.severity is Severity.ERROR]
            if shown:
                click.echo(diagnostics.text(shown, color=True), err=True)
            if not quiet:
                if since is not None and not jobs and not problems:
                    click.echo(f"no job file differs from {since}")
                for job in jobs:
                    click.echo(
                        f"{job.spec.path}: ok, {plans.plural(len(job.expansion.runs), 'run')}"
                    )
    if wrong:
        click.echo(f"{diagnostics.counted(problems)}", err=True)
        click.get_current_context().exit(3)


def _selecting(command: common._Command) -> common._Command:
    for option in (
        common.verbosity,
        common.project_option,
        common.since_option,
        click.option("--force", is_flag=True, help="Run again what is done, as a new attempt."),
        click.option(
            "--only",
            metavar="PROMPT|rs_…",
            multiple=True,
            help="Only this prompt's runs, or this run. May be repeated.",
            shell_complete=common.complete_ids,
        ),
        click.option("--target", metavar="NAME", default="", help="Run on this target instead."),
        common.job_files,
    ):
        command = option(command)
    return command


@click.command("plan")
@_selecting
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 when there is something to run.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="markdown is for a comment on a pull request.",
)
def plan_command(
    paths: tuple[str, ...],
    target: str,
    only: tuple[str, ...],
    force: bool,
    since: str | None,
    project: Path | None,
    out: Path | None,
    exit_code: bool,
    form: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what apply would do, and why. Changes nothing.

    \b
    + new      ~ retry or again     > in flight
    ! blocked  - orphaned: no longer in its job file     ? known after enhance

    \b
    Examples:
      cosmos-jobs plan jobs/sunsets.yaml
      cosmos-jobs plan --out night.plan        then: cosmos-jobs apply night.plan
      cosmos-jobs plan --exit-code -q          in scripts: 1 means changes
      cosmos-jobs plan --format markdown --changed-since origin/main
                                               what a pull request would run
    """
    from cosmos_jobs.cli.views import markdown
    from cosmos_jobs.config import project as projects

    ops = common.operations(project, paths, offline=True)
    selection = Selection(common.paths_or_jobs(paths, ops), target, only, force, since=since)
    planned = ops.plan(selection, hashing=common.hashing(quiet=quiet))
    if form == "markdown":
        common.echo(markdown.text(planned, projects.in_repository(ops.project.root)), nl=False)
    else:
        show(planned, form, quiet=quiet, verbose=verbose)
    if out:
        _save(ops, planned, out)
        if not quiet:
            click.echo(f"Saved. Apply exactly this: cosmos-jobs apply {out}", err=True)
    if exit_code and plans.count(planned, Action.UNKNOWN, *STARTS):
        click.get_current_context().exit(1)


def _save(ops: WorkflowOperations, planned: Planned, out: Path) -> None:
    """Save a plan with paths that hold wherever in the project it is applied."""
    if not out.resolve().parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {out.parent}")
    root, chosen = ops.project.root, planned.selection.paths
    if planned.selection.since is not None:
        # What differs from a ref is another thing once that has moved on.
        chosen = tuple(job.spec.path for job in planned.jobs)
    paths = (os.path.relpath(located(path, root), root) for path in chosen)
    selection = replace(planned.selection, paths=tuple(paths), since=None)
    try:
        atomic.write(out, saved_plans.dump(replace(planned, selection=selection)))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error


def show(planned: Planned, form: str, *, quiet: bool, verbose: bool) -> None:
    """Print a plan, and the warnings of its files."""
    common.warn(planned.warnings, quiet=quiet)
    if form == "json":
        common.echo(saved_plans.dump(planned), nl=False)
    elif not quiet:
        common.echo(plans.text(planned, verbose=verbose))


@click.command("apply")
@_selecting
@click.option(
    "--max-runs",
    type=click.IntRange(min=0),
    default=MAX_RUNS,
    show_default=True,
    help="Start nothing when more runs than this would start.",
)
@click.option(
    "--max-gpu-hours",
    metavar="H",
    type=click.FloatRange(min=0),
    help="Start nothing when it would take more GPU hours than this, as far as that is known.",
)
@click.option(
    "--keep-going/--fail-fast",
    default=True,
    show_default=True,
    help="What to do when a run fails: finish the others, or stop them.",
)
@click.option(
    "--canary",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="First make N runs of each kind of batch; the others only if all of these succeed.",
)
@click.option("--detach", is_flag=True, help="Return as soon as the machines have the work.")
@common.logs_option
@common.connecting()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="The same as plan.")
@common.events_option
@common.junit_option
def apply_command(
    paths: tuple[str, ...],
    target: str,
    only: tuple[str, ...],
    force: bool,
    since: str | None,
    project: Path | None,
    max_runs: int,
    max_gpu_hours: float | None,
    keep_going: bool,
    canary: int,
    detach: bool,
    logs: bool,
    connect_timeout: float,
    yes: bool,
    dry_run: bool,
    form: str,
    junit: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make what the job files ask for: only the pending runs.

    FILE is a job file, a folder of them, or a plan that `plan --out` saved.
    The videos are in outputs/<job>/<prompt>/. Stop it at any time: the next
    apply goes on where this one was. Exit code 1 when a run did not succeed.

    \b
    Examples:
      cosmos-jobs apply jobs/sunsets.yaml
      cosmos-jobs apply jobs/sunsets.yaml --only golden
      cosmos-jobs apply jobs/sunsets.yaml --target h100 --canary 1
      cosmos-jobs apply --detach               then: cosmos-jobs watch
      cosmos-jobs apply night.plan             refused when the world moved on
      cosmos-jobs apply --format json --junit report.xml      for programs
    """
    with reports.reporting(form, junit) as report:
        ops = common.operations(project, paths, connect_timeout=connect_timeout)
        if any(map(_is_plan, paths)):
            if len(paths) > 1 or only or target or force or since is not None:
                raise UsageError("a saved plan is applied as it is: alone, and without selection")
            planned = _saved(ops, Path(paths[0]), quiet=quiet)
        else:
            chosen = common.paths_or_jobs(paths, ops)
            selection = Selection(chosen, target, only, force, since=since)
            planned = ops.plan(selection, hashing=common.hashing(quiet=quiet))
        options = Options(
            max_runs,
            connect_timeout,
            not keep_going,
            canary,
            detach,
            yes,
            logs,
            max_gpu_hours,
            report,
        )
        if dry_run:
            tell(planned, options, quiet=quiet, verbose=verbose)
            return
        carry_out(ops, planned, options, quiet=quiet, verbose=verbose)


@click.command("preview")
@common.job_files
@click.option("--only", metavar="PROMPT|rs_…", multiple=True, help="Only this prompt's runs.")
@click.option("--max-runs", type=click.IntRange(min=0), default=MAX_RUNS, show_default=True)
@common.project_option
@common.verbosity
def preview_command(
    paths: tuple[str, ...],
    only: tuple[str, ...],
    max_runs: int,
    project: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show any job's control inputs, on this machine's CPU.

    Whatever a job's engine, its runs go through the preview engine: control
    maps, blended by the weights, captioned with the prompt and the
    parameters. It is what a model would be conditioned on, not what it makes.

    \b
    Examples:
      cosmos-jobs preview jobs/night.yaml      videos in outputs/night.preview/
    """
    ops = common.operations(project, paths)
    selection = Selection(common.paths_or_jobs(paths, ops), only=only, preview=True)
    planned = ops.plan(selection, hashing=common.hashing(quiet=quiet))
    carry_out(ops, planned, Options(max_runs), quiet=quiet, verbose=verbose)


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
        planned = ops.plan(saved.selection, hashing=common.hashing(quiet=quiet))
    except UsageError as error:
        # A job file, a prompt or a target that was there is not.
        raise AnswerIsNo(f"the saved plan {path} is stale: {error.message}", hint=hint) from error
    if moved := tuple(saved_plans.moved_on(saved, planned)):
        raise AnswerIsNo(f"the saved plan {path} is stale: {'; '.join(moved)}", hint=hint)
    return planned


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is carried out; as the options of apply."""

    max_runs: int = MAX_RUNS
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    fail_fast: bool = False
    canary: int = 0
    detach: bool = False
    yes: bool = False
    logs: bool = False
    max_gpu_hours: float | None = None
    report: reports.Report = field(default_factory=reports.Report)


def tell(planned: Planned, options: Options, *, quiet: bool, verbose: bool) -> None:
    """Show a plan to people, or tell it to programs."""
    if options.report.stream:
        options.report.stream.planned(planned)
    else:
        show(planned, "text", quiet=quiet, verbose=verbose)


def carry_out(
    ops: WorkflowOperations, planned: Planned, options: Options, *, quiet: bool, verbose: bool
) -> None:
    """Show a plan, ask where that is due, carry it out, and say what came of it."""
    from cosmos_jobs.cli.views import progress, results

    tell(planned, options, quiet=quiet, verbose=verbose)
    pending = progress.pending(planned) or plans.count(planned, Action.UNKNOWN)
    applied = perform(ops, planned, options, quiet=quiet, verbose=verbose)
    options.report.applied(applied)
    if options.report.stream:
        verbose = False
    elif not quiet and pending:
        common.echo(results.text(applied, ops.project.root))
    elif quiet and _failed(applied):
        click.echo(results.text(applied, ops.project.root), err=True)
    conclude(applied, options, verbose=verbose)


def perform(
    ops: WorkflowOperations, planned: Planned, options: Options, *, quiet: bool, verbose: bool
) -> Applied:
    """Ask where that is due, carry a plan out, and show how that goes on."""
    from cosmos_jobs.cli.views.progress import pending, reporter

    unchecked = planned.estimate.unknown
    gpus = any(ops.project.targets[job.target].gpus for job in planned.jobs)
    if options.max_gpu_hours is not None and unchecked and gpus:
        said = f"not checked for {plans.plural(unchecked, 'run')}, whose length is unknown yet"
        click.echo(f"--max-gpu-hours: {said}", err=True)
    _agree(planned, options)
    if plans.count(planned, Action.UNKNOWN):
        planned = _enhanced(ops, planned, options, quiet=quiet)
    # Unlike the other commands this one lasts, for days perhaps.
    gc.enable()
    # What is published may be told of, too.
    silent = not pending(planned) and not ops.project.published
    stream = options.report.stream
    shown = reporter(planned, quiet=quiet or silent, verbose=verbose)
    try:
        with nullcontext(stream) if stream else shown as notify:
            return ops.apply(
                planned,
                notify,
                max_runs=options.max_runs,
                max_gpu_hours=options.max_gpu_hours,
                fail_fast=options.fail_fast,
                connect_timeout_s=options.connect_timeout_s,
                canary=options.canary,
                detach=options.detach,
                with_logs=options.logs,
            )
    except KeyboardInterrupt:
        left = common.tell_left(ops, [each.run.id for each in planned.desired])
        options.report.interrupted(left)
        raise


def conclude(applied: Applied, options: Options, *, verbose: bool) -> None:
    """Say what machines did not do, and exit with a code unless every run succeeded."""
    common.tell_traffic(applied.traffic, verbose=verbose)
    common.tell_troubles(applied.troubles)
    left = IN_FLIGHT | ({State.PENDING} if not applied.held_back else frozenset())
    waiting = not options.detach and any(each.state in left for each in applied.records)
    exit_with = click.get_current_context().exit
    codes = [each.exit_code for each in applied.troubles]
    if HostError.exit_code in codes and (waiting or options.detach):
        exit_with(HostError.exit_code)
    if _failed(applied, detached=options.detach):
        exit_with(1)
    if StoreError.exit_code in codes:
        exit_with(StoreError.exit_code)
    if waiting:
        exit_with(1)


def _enhanced(
    ops: WorkflowOperations, planned: Planned, options: Options, *, quiet: bool
) -> Planned:
    """Have the prompts enhanced that runs await, and say what is to be done then."""
    stream = options.report.stream
    if not quiet and not stream:
        click.echo("Writing prompts in more detail …", err=True)
    now = ops.enhance(
        planned, max_runs=options.max_runs, connect_timeout_s=options.connect_timeout_s
    )
    if stream:
        stream.planned(now)
    elif not quiet:
        common.echo(plans.summary(now))
    return now


def _failed(applied: Applied, *, detached: bool = False) -> bool:
    # Who detaches asks what came of what is started now, and not of what failed before.
    ours = applied.started | applied.awaited
    judged = (each for each in applied.records if not detached or each.run.id in ours)
    failed = any(record.state in FAILED for record in judged)
    unknown = any(each.action is Action.UNKNOWN for each in applied.planned.plan.changes)
    return failed or unknown or bool(applied.held_back)


def _agree(planned: Planned, options: Options) -> None:
    """Ask once, on a terminal, before work starts elsewhere than on this machine."""
    away = sorted({job.target for job in planned.jobs} - {"local"})
    starts = plans.count(planned, Action.UNKNOWN, *STARTS)
    if options.yes or not away or not starts or not sys.stdin.isatty():
        return
    if options.report.stream:
        raise UsageError("with --format json nothing is asked", hint="add --yes")
    click.confirm(f"Start {plans.plural(starts, 'run')} on {', '.join(away)}?", abort=True)
