"""The manifest of a run that was made: its full provenance, beside its output."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from cosmos_jobs.apply.in_flight import InFlight
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Outcome
from cosmos_jobs.core.record import Output, PromptRecord, Record
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.targets.fleet import Machine

GUARDRAILS = "guardrails"


@dataclass(frozen=True, slots=True)
class Made:
    """What a run has made: its video or image, and the sha256 of all its files by name."""

    output: Output
    files: Mapping[SafePath, str]


def manifest(
    machine: Machine, batch: InFlight, record: Record, prompt: PromptRecord, made: Made
) -> bytes:
    """Return a run's full provenance as JSON: what was asked, where it ran, what came of it."""
    asked = {each.run: each for each in serialize.asked(batch.texts) or ()}
    given = asked.get(record.run.id)
    status, outcome = batch.status, batch.outcomes[record.run.id]
    document = {
        "run": asdict(record.run),
        "prompt": {**serialize.prompt_document(prompt), "id": prompt.prompt.id},
        "jobs": record.jobs,
        "paths": record.files,
        "output": asdict(made.output),
        "files": {str(name): sha256 for name, sha256 in made.files.items()},
        "inputs": given.inputs if given else prompt.prompt.inputs,
        "batch": batch.id,
        "companions": [run for run in batch.batch.runs if run != record.run.id],
        "target": batch.batch.target,
        "host": machine.name,
        "gpu": status.gpu,
        **status.facts,
        "attempt": len(record.attempts),
        "started": status.started,
        "made": status.finished or time.time(),
        "checkpoint": batch.engine.checkpoint(record.run),
        "guardrails": _guardrails(record, outcome),
        "engine": {key: each for key, each in outcome.details.items() if key != GUARDRAILS},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _guardrails(record: Record, outcome: Outcome) -> object:
    """Return what was asked of the guardrails, and what the engine says that they did."""
    told = outcome.details.get(GUARDRAILS)
    if not isinstance(told, Mapping):
        return None
    return {"requested": record.run.params.get(GUARDRAILS, True), **told}
