"""Prompts and runs from elsewhere: only what is sound and what its id says comes into a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from cosmos_jobs.artifacts import outputs
from cosmos_jobs.config import schema, violations
from cosmos_jobs.core import identity, naming, serialize
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.placeholders import checked
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.core.run import CONTROLS, ROLES, RUN, Run
from cosmos_jobs.core.safe_path import MAX_BYTES, SafePath, UnsafePath
from cosmos_jobs.core.serialize import Described

MAX_TIME = 10**11
"""Seconds since 1970; what is later is no time that can be shown."""

_PROMPT = re.compile(r"ps_[0-9a-f]{16}")
_RUN = re.compile(r"rs_[0-9a-f]{16}")
_BATCH = re.compile(r"ba_[0-9a-f]{16}")
_ENHANCED = re.compile(r"en_[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def prompt(record: PromptRecord, taken: set[str]) -> PromptRecord | None:
    """Return a prompt as it can be kept here; None when it is not sound or not what its id says.

    A name that no job file could give becomes one by the text; it joins `taken`.
    """
    told = record.prompt
    is_sound = (
        _is_id(_PROMPT, told.id)
        and _is_text(told.text)
        and (told.negative == "" or _is_text(told.negative))
        and _is_mapping(told.inputs)
        and all(
            _is_id(_RUN if role == RUN else _DIGEST, each) and role in (*ROLES, RUN)
            for role, each in told.inputs.items()
        )
        and all(_is_line(each) for each in (record.video, record.enhancer))
        and isinstance(record.name, str)
        and (record.parent == "" or _is_id(_PROMPT, record.parent))
        and _are_paths(record.files)
        and _is_count(record.frames)
    )
    if not is_sound or identity.prompt(told.text, told.negative, told.inputs).id != told.id:
        return None
    if not _is_name(record.name):
        record = replace(record, name=naming.prompt_name(told.text, told.id, taken))
        taken.add(record.name)
    return record


def run(record: Record) -> Record | None:
    """Return a run as it can be kept here; None when it is not sound or not what its id says.

    Places that would lead out of outputs/ are left out.
    """
    made = record.output
    is_sound = (
        _is_run(record.run)
        and _is_mapping(record.jobs)
        and all(isinstance(each, str) for each in record.jobs.values())
        and isinstance(record.reason, str)
        and all(_is_attempt(each) for each in record.attempts)
        and _are_paths(record.files)
        and all(_is_id(_BATCH, each) for each in record.passed)
        and (record.rating is None or (_is_count(record.rating) and 1 <= record.rating <= 5))
        and isinstance(record.note, str)
    )
    if not is_sound:
        return None
    if made is not None and not (
        _is_id(_DIGEST, made.sha256)
        and _is_count(made.size)
        and _is_count(made.frames)
        and made.name in outputs.NAMES
    ):
        return None
    return replace(record, jobs={job: at for job, at in record.jobs.items() if _is_place(job, at)})


@dataclass(frozen=True, slots=True)
class Told:
    """What a manifest tells of a run that was made; `files` are all its files, by name."""

    record: Record
    prompt: PromptRecord
    output: Output
    files: Mapping[SafePath, str]


def manifest(data: bytes, run_id: str, taken: set[str]) -> Told | None:
    """Return what the manifest of a run tells; None when it is not sound, or another one's."""
    try:
        document = orjson.loads(data)
        output = serialize.output_of(document["output"])
        record = run(_record(document, output))
        given = serialize.prompt_record(document["prompt"]["id"], document["prompt"])
        asked = prompt(given, taken)
        # Manifests once told of the output alone.
        files = outputs.safe_files(document.get("files", {output.name: output.sha256}))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if record is None or asked is None or record.run.id != run_id:
        return None
    if record.run.prompt_id != asked.prompt.id or files.get(output.name) != output.sha256:
        return None
    if not all(_is_id(_DIGEST, each) for each in files.values()):
        return None
    return Told(record, asked, output, files)


def _record(document: Mapping[str, Any], output: Output) -> Record:
    attempt = Attempt(
        document["batch"],
        document["target"],
        State.SUCCEEDED,
        started=document["started"],
        finished=document.get("made"),
        host=document["host"],
        gpu=document["gpu"],
        gpu_name=document.get("gpu_name", ""),
    )
    made, paths = Run(**document["run"]), document.get("paths", {})
    return Record(made, document["jobs"], State.SUCCEEDED, "", (attempt,), output, paths)


def batch(found: Batch) -> Batch | None:
    """Return a batch; None when it is not sound."""
    is_sound = (
        _is_id(_BATCH, found.id)
        and all(_is_line(each) for each in (found.engine, found.target, found.host))
        and all(_is_id(_RUN, each) for each in found.runs)
        and isinstance(found.done, bool)
    )
    return found if is_sound else None


def enhanced(found: Enhanced) -> Enhanced | None:
    """Return a text that an enhancer made; None when it is not sound."""
    is_sound = (
        _is_id(_ENHANCED, found.id)
        and _is_text(found.text)
        and isinstance(found.original, str)
        and _is_line(found.enhancer)
    )
    return found if is_sound else None


def described(found: Described, taken: set[str]) -> Described | None:
    """Return a batch with those of its runs that are sound; None when it is not sound itself."""
    if batch(found.batch) is None:
        return None
    prompts = [each for one in found.prompts if (each := prompt(one, taken))]
    known = {each.prompt.id for each in prompts}
    records = (run(each) for each in found.records)
    runs = [each for each in records if each and each.run.prompt_id in known]
    return replace(found, records=tuple(runs), prompts=tuple(prompts))


# --- what each part must be ---------------------------------------------------------------


def _is_run(told: Run) -> bool:
    is_sound = (
        _is_id(_RUN, told.id)
        and _is_id(_PROMPT, told.prompt_id)
        and _is_line(told.engine)
        and _is_count(told.contract)
        and _is_mapping(told.weights)
        and all(
            name in CONTROLS and _is_number(each) and 0 < each <= 1
            for name, each in told.weights.items()
        )
        and _is_mapping(told.params)
        and all(
            each is None or isinstance(each, str | int | float) for each in told.params.values()
        )
    )
    if not is_sound or told.engine not in schema.engines():
        return is_sound
    contract = schema.contract(told.engine)
    if contract.version != told.contract:
        # Another version knows what its ids are made of.
        return True
    try:
        return identity.run(told.prompt_id, contract, told.weights, told.params).id == told.id
    except ValueError:
        return False


def _is_attempt(each: Attempt) -> bool:
    times = (each.started, each.finished)
    return (
        _is_id(_BATCH, each.batch)
        and _is_line(each.target)
        and all(isinstance(one, str) for one in (each.host, each.gpu, each.reason, each.gpu_name))
        and all(one is None or (_is_number(one) and 0 <= one < MAX_TIME) for one in times)
        and (each.exit_code is None or type(each.exit_code) is int)
        and isinstance(each.crashed, bool)
    )


def _is_place(job: str, place: str) -> bool:
    """Return whether `<job>/<place>` is `<job>/<prompt>/<label>`, below outputs/."""
    try:
        parts = SafePath(f"{job}/{place}").split("/")
    except UnsafePath:
        return False
    return len(parts) == 3 and parts[0] == job and job.casefold() != "runs"


def _is_name(name: str) -> bool:
    rule = schema.load("job")["properties"]["prompts"]["propertyNames"]
    return violations.fits(name, rule, rule)


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and checked(text) == text


def _is_id(pattern: re.Pattern[str], each: Any) -> bool:
    return isinstance(each, str) and bool(pattern.fullmatch(each))


def _is_line(each: Any) -> bool:
    return isinstance(each, str) and not _CONTROL.search(each)


def _is_count(each: Any) -> bool:
    return type(each) is int and each >= 0


def _is_number(each: Any) -> bool:
    return isinstance(each, int | float) and not isinstance(each, bool)


def _is_mapping(each: Any) -> bool:
    return isinstance(each, Mapping)


def _are_paths(each: Any) -> bool:
    return _is_mapping(each) and all(_is_path(path) for path in each.values())


def _is_path(path: Any) -> bool:
    """Return whether this can be a path; those of files may well lead out of the project."""
    return (
        isinstance(path, str)
        and "\0" not in path
        and 0 < len(path.encode()) <= MAX_BYTES
        and all(len(part.encode()) <= 255 for part in path.split("/"))
    )
