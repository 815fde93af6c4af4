"""Records as JSON documents: what the store holds, and what a batch says of itself on a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.core.run import Prompt, Run
from cosmos_jobs.core.safe_path import SafePath

Document: TypeAlias = dict[str, Any]

STATES = {str(state): state for state in State}


def record(run_id: str, document: Document) -> Record:
    """Return the record of a run; KeyError, TypeError or ValueError when it is none."""
    output = document.get("output")
    return Record(
        Run(
            run_id,
            document["prompt"],
            document["engine"],
            document["contract"],
            document["weights"],
            document["params"],
        ),
        document["jobs"],
        State(document["state"]),
        document.get("reason", ""),
        tuple(_attempt(each) for each in document.get("attempts", ())),
        None if output is None else output_of(output),
        document.get("files", {}),
        tuple(document.get("passed", ())),
        document.get("rating"),
        document.get("note", ""),
    )


# There are two of them, in 100,000 records.
_name = lru_cache(maxsize=16)(SafePath)


def output_of(document: Document) -> Output:
    """Return what a run has made; KeyError, TypeError or ValueError when it is nothing."""
    named = {"name": _name(document["name"])} if "name" in document else {}
    return Output(**{**document, **named})


def record_document(record: Record) -> Document:
    """Return what is kept of a run."""
    run = record.run
    document: Document = {
        "prompt": run.prompt_id,
        "engine": run.engine,
        "contract": run.contract,
        "weights": dict(run.weights),
        "params": dict(run.params),
        "jobs": dict(record.jobs),
        "state": str(record.state),
    }
    if record.reason:
        document["reason"] = record.reason
    if record.attempts:
        document["attempts"] = [_attempt_document(attempt) for attempt in record.attempts]
    if record.output:
        document["output"] = asdict(record.output)
    if record.files:
        document["files"] = dict(record.files)
    if record.passed:
        document["passed"] = list(record.passed)
    if record.rating is not None:
        document["rating"] = record.rating
    if record.note:
        document["note"] = record.note
    return document


def _attempt(document: Document) -> Attempt:
    return Attempt(**{**document, "state": State(document["state"])})


def _attempt_document(attempt: Attempt) -> Document:
    """Return an attempt without what is not known yet: there may be 100,000 of them."""
    document = {
        key: value
        for key, value in asdict(attempt).items()
        if value is not None and value != "" and value is not False
    }
    return {**document, "state": str(attempt.state)}


def prompt_record(prompt_id: str, document: Document) -> PromptRecord:
    """Return the record of a prompt; KeyError or TypeError when it is none."""
    prompt = Prompt(prompt_id, document["text"], document["negative"], document["inputs"])
    return PromptRecord(
        prompt=prompt,
        name=document["name"],
        video=document["video"],
        files=document["files"],
        frames=document["frames"],
        parent=document.get("parent", ""),
        enhancer=document.get("enhancer", ""),
    )


def prompt_document(record: PromptRecord) -> Document:
    """Return what is kept of a prompt."""
    document: Document = {
        "text": record.prompt.text,
        "negative": record.prompt.negative,
        "inputs": dict(record.prompt.inputs),
        "name": record.name,
        "video": record.video,
        "files": dict(record.files),
        "frames": record.frames,
    }
    made = {"parent": record.parent, "enhancer": record.enhancer}
    return document | {key: each for key, each in made.items() if each}


def enhanced(enhanced_id: str, document: Document) -> Enhanced:
    """Return a text that an enhancer made; KeyError or TypeError when it is none."""
    return Enhanced(enhanced_id, document["text"], document["original"], document["enhancer"])


def enhanced_document(enhanced: Enhanced) -> Document:
    """Return what is kept of a text that an enhancer made."""
    return {
        "text": enhanced.text,
        "original": enhanced.original,
        "enhancer": enhanced.enhancer,
    }


def batch(batch_id: str, document: Document) -> Batch:
    """Return a batch; KeyError or TypeError when it is none."""
    return Batch(
        batch_id,
        document["engine"],
        document["target"],
        tuple(document["runs"]),
        document["done"],
        document.get("host", ""),
    )


def batch_document(batch: Batch) -> Document:
    """Return what is kept of a batch."""
    document: Document = {
        "engine": batch.engine,
        "target": batch.target,
        "runs": list(batch.runs),
        "done": batch.done,
    }
    return {**document, "host": batch.host} if batch.host else document


# --- what a batch was asked for -----------------------------------------------------------

ASKED = "asked.json"
"""The file of a batch that says what its engine was asked for; it stands in `out/`, too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A run as its engine was asked for it, in the order of the batch.

    The text of its prompt, and the sha256 of the files that it was given: by
    role, by `vis` or `edge` for a computed map, and by parameter.
    """

    run: str
    text: str
    inputs: Mapping[str, str] = field(default_factory=dict)


def asking(asked: Iterable[Asked]) -> bytes:
    """Return the file ASKED of a batch."""
    return orjson.dumps([asdict(each) for each in asked])


def asked(texts: Mapping[str, str]) -> tuple[Asked, ...] | None:
    """Return what a batch was asked for, from the texts of its files; None when it is not said."""
    try:
        told = tuple(Asked(**each) for each in orjson.loads(texts[ASKED]))
    except (KeyError, TypeError, ValueError):
        return None
    return told if all(map(_is_asked, told)) else None


def _is_asked(told: Asked) -> bool:
    is_text = isinstance(told.run, str) and isinstance(told.text, str)
    return is_text and isinstance(told.inputs, Mapping)


# --- what a batch says of itself on a host ------------------------------------------------

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Described:
    """A batch found on a host: what it is for, in full, so that any store can take it over."""

    batch: Batch
    client: str
    records: tuple[Record, ...]
    prompts: tuple[PromptRecord, ...]


def describe(described: Described) -> bytes:
    """Return the `batch.json` of a batch: its runs as they were before it, and their prompts."""
    document = {
        "format": FORMAT,
        "id": described.batch.id,
        "client": described.client,
        **batch_document(described.batch),
        "records": {
            each.run.id: record_document(replace(each, state=State.PENDING, attempts=(), passed=()))
            for each in described.records
        },
        "prompts": {each.prompt.id: prompt_document(each) for each in described.prompts},
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def described(data: bytes) -> Described | None:
    """Return what a `batch.json` says; None for one of another format or a damaged one."""
    try:
        document = orjson.loads(data)
        if document["format"] != FORMAT:
            return None
        return Described(
            batch(document["id"], document),
            str(document["client"]),
            tuple(record(key, each) for key, each in document["records"].items()),
            tuple(prompt_record(key, each) for key, each in document["prompts"].items()),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
