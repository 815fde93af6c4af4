"""The command doctor: what the machines of targets have and lack."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from cosmos_jobs.cli import options
from cosmos_jobs.cli.project import operations
from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.targets.doctor import CONNECT_TIMEOUT_S, Examined
from cosmos_jobs.targets.findings import Check, Verdict

WIDTH = 80
COLORS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.MISSING: "red"}


@click.command("doctor")
@click.argument("target", metavar="[TARGET]", default="")
@click.option(
    "--accept-new-host-key",
    is_flag=True,
    help="Accept the keys of machines that are not in known_hosts.",
)
@options.connecting(CONNECT_TIMEOUT_S)
@options.format_option()
@options.project_option
def doctor_command(
    target: str,
    accept_new_host_key: bool,
    form: str,
    project: Path | None,
) -> None:
    """Check what a target's machines have and lack.

    It checks each machine of TARGET, or of all targets: SSH, folder, disk space,
    GPUs, docker, engines, clock. For each missing thing it prints what to
    type. The exit code is 1 when something is missing.

    \b
    Examples:
      cosmos-jobs doctor h100
      cosmos-jobs doctor h100 --accept-new-host-key
      cosmos-jobs doctor --format json
    """
    found = operations(project).doctor(target, accept_new_host_key=accept_new_host_key)
    if form == "json":
        click.echo(orjson.dumps([asdict(each) for each in found], option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n\n".join("\n".join(_lines(each)) for each in found))
        click.echo(f"\n{_sum(found)}")
    if any(each.lacks for each in found):
        click.get_current_context().exit(1)


def _lines(examined: Examined) -> Iterator[str]:
    yield click.style(visible(f"{examined.target} on {examined.host}"), bold=True)
    width = max(len(each.name) for each in examined.checks)
    for check in examined.checks:
        yield from _check(check, width)


def _check(check: Check, width: int) -> Iterator[str]:
    """Yield a check's lines; a hint is one line however long it is, to be copied."""
    word = click.style(f"{check.verdict:7}", fg=COLORS[check.verdict])
    indent = " " * (2 + 7 + 2 + width + 2)
    detail = textwrap.wrap(
        visible(check.detail),
        max(20, WIDTH - len(indent)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    first, *rest = detail or [""]
    yield f"  {word}  {check.name:{width}}  {first}".rstrip()
    for line in rest:
        yield indent + line
    if check.hint:
        yield f"{' ' * 11}-> {visible(check.hint)}"


def _sum(found: Sequence[Examined]) -> str:
    verdicts = [check.verdict for each in found for check in each.checks]
    missing, warnings = (verdicts.count(each) for each in (Verdict.MISSING, Verdict.WARNING))
    said = f"{plural(missing, 'thing')} missing" if missing else "Nothing is missing"
    return f"{said}, {plural(warnings, 'warning')}." if warnings else f"{said}."
