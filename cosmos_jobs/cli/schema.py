"""The command schema."""

from __future__ import annotations

import click
import orjson

from cosmos_jobs.config import schema
from cosmos_jobs.errors import UsageError


@click.command("schema")
@click.argument("kind", type=click.Choice(["job", "project", "engine", "events"]))
@click.argument("name", required=False, metavar="[ENGINE]")
def schema_command(kind: str, name: str | None) -> None:
    """Print a JSON Schema (draft-07), for editors and tools.

    \b
    Examples:
      cosmos-jobs schema job > job.schema.json
      cosmos-jobs schema engine preview
      cosmos-jobs schema events                the events of `apply --format json`
    """
    engines = schema.engines()
    if kind == "engine" and name not in engines:
        said = f"unknown engine `{name}`" if name else "which engine?"
        raise UsageError(said, hint=f"one of {', '.join(engines)}")
    if kind != "engine" and name:
        raise UsageError(f"the {kind} schema has no part `{name}`")
    document = schema.load(f"engines/{name}" if name else kind)
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
