"""The options and arguments that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from cosmos_jobs.cli import completion
from cosmos_jobs.cli.project import CONNECT_TIMEOUT
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S

Command = TypeVar("Command", bound=Callable[..., Any])

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


def job_files(command: Command) -> Command:
    """Add the argument FILE…; without any, it is the folder `jobs`."""
    return click.argument(
        "paths", metavar="[FILE]...", nargs=-1, shell_complete=completion.complete_job_files
    )(command)


def since_option(command: Command) -> Command:
    """Add --changed-since."""
    return click.option(
        "--changed-since",
        "since",
        metavar="REF",
        help="Only job files that changed since a git ref, or that use a changed file.",
    )(command)


def names(command: Command) -> Command:
    """Add the argument NAME…: runs, jobs or job files; without any it is everything."""
    return click.argument(
        "names", metavar="[rs_…|JOB]...", nargs=-1, shell_complete=completion.complete_ids
    )(command)


def connecting(default: float = CONNECT_TIMEOUT_S) -> Callable[[Command], Command]:
    """Add --connect-timeout; where it is given, `operations` goes by it."""
    return click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        expose_value=False,
        callback=_keep_given,
        help="How long to try a machine that does not answer.",
    )


def _keep_given(context: click.Context, param: click.Parameter, value: float) -> None:
    # The default only says what holds where no target has a time of its own.
    if context.get_parameter_source("connect_timeout") is ParameterSource.COMMANDLINE:
        context.meta[CONNECT_TIMEOUT] = value


def logs_option(command: Command) -> Command:
    """Add --logs."""
    return click.option(
        "--logs",
        is_flag=True,
        help="Show the engines' logs, from where an earlier command stopped.",
    )(command)


def project_option(command: Command) -> Command:
    """Add -C, the project's folder."""
    return click.option(
        "-C",
        "--project",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Project folder; by default the nearest one, from here up, with a cosmos-jobs.yaml.",
    )(command)


def verbosity(command: Command) -> Command:
    """Add -v and -q."""
    command = click.option("-v", "--verbose", is_flag=True, help="Show run ids and every run.")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="Print errors only.")(command)


def format_option(choice: click.Choice[str] = FORMATS) -> Callable[[Command], Command]:
    """Add --format."""
    return click.option("--format", "form", type=choice, default="text", show_default=True)


def events_option(command: Command) -> Command:
    """Add --format of the commands that last."""
    return click.option(
        "--format",
        "form",
        type=FORMATS,
        default="text",
        show_default=True,
        help="json prints one event per line; see docs/ci.md.",
    )(command)


def junit_option(command: Command) -> Command:
    """Add --junit."""
    return click.option(
        "--junit",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a JUnit report with one test case per run.",
    )(command)


def selecting(command: Command) -> Command:
    """Add what says which runs are meant: files, a target, and parts of them."""
    for option in (
        verbosity,
        project_option,
        since_option,
        click.option("--force", is_flag=True, help="Run finished runs again, as new attempts."),
        click.option(
            "--only",
            metavar="PROMPT|rs_…",
            multiple=True,
            help="Only this prompt's runs, or this run. May be repeated.",
            shell_complete=completion.complete_ids,
        ),
        click.option("--target", metavar="NAME", default="", help="Run on this target instead."),
        job_files,
    ):
        command = option(command)
    return command
