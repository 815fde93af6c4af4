"""Where the state is and which one it is, as text and JSON."""

from __future__ import annotations

import time
from dataclasses import asdict

import orjson

from cosmos_jobs.cli.views.plans import plural
from cosmos_jobs.core.snapshot import StateFacts

_CLOCK = "%Y-%m-%d %H:%M:%S"


def text(facts: StateFacts) -> str:
    """Return a line for each fact."""
    lines = [
        f"place    {facts.place}",
        f"lineage  {facts.lineage}",
        f"serial   {facts.serial:,}",
        f"holds    {plural(facts.prompts, 'prompt')}, {plural(facts.runs, 'run')};"
        f" {facts.size / 1e3:,.1f} kB",
    ]
    if facts.written is not None:
        by = f" by {facts.client}" if facts.client else ""
        lines.append(f"written  {time.strftime(_CLOCK, time.localtime(facts.written))}{by}")
    return "\n".join(lines)


def as_json(facts: StateFacts) -> bytes:
    """Return the facts as JSON."""
    return orjson.dumps(asdict(facts), option=orjson.OPT_INDENT_2)
