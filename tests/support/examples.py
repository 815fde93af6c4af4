"""Small jobs, records and plans for the tests of the pure modules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cosmos_jobs.config import schema
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Contract, Desired, Expansion, JobInputs, JobSpec, Selection
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.core.run import InputFile
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.jobs import expand, parse
from cosmos_jobs.jobs.load import job_of
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Estimate, Planned

PREVIEW = schema.contract("preview")
TRANSFER1 = schema.contract("transfer1")
TRANSFER25 = schema.contract("transfer2.5")
OUTPUT = Output("e" * 64, 1000, 121)
VIDEOS = "videos: {pier: a, street: b}\n"
PLAIN = "prompts: {golden: A pier at golden hour}\n"


def parsed(body: str, *, name: str = "x", videos: str = VIDEOS) -> JobSpec:
    text = f"version: 1\nname: {name}\n{videos}{body}"
    targets = ("local", "h100")
    path = f"jobs/{name}.yaml"
    job, found = parse.parse(text.encode(), path, engine="preview", target="local", targets=targets)
    assert job is not None, [each.message for each in found]
    return job


def file(content: str, path: str = "", frames: int = 121, fps: float = 30.0) -> InputFile:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return InputFile(Path(path or f"{content}.mp4"), digest, 1000, frames, 640, 360, fps)


def inputs(
    videos: Iterable[str] = ("pier", "street"),
    texts: Mapping[str, str] | None = None,
    files: Mapping[str, InputFile] | None = None,
) -> JobInputs:
    return JobInputs({name: {"color": file(name)} for name in videos}, texts or {}, files or {})


def expanded(
    job: JobSpec, files: JobInputs | None = None, contract: Contract = PREVIEW
) -> tuple[Expansion, tuple[Diagnostic, ...]]:
    """Return the expansion of a job without errors, and its warnings."""
    expansion, found = expand.expand(job, files or inputs(), contract)
    assert expansion is not None, [each.message for each in found]
    assert all(each.severity is Severity.WARNING for each in found)
    return expansion, found


def runs(body: str, **changes: str) -> tuple[Desired, ...]:
    return expanded(parsed(body, **changes))[0].runs


def problems(
    body: str, files: JobInputs | None = None, videos: str = VIDEOS, contract: Contract = PREVIEW
) -> tuple[Diagnostic, ...]:
    """Return the errors of a job whose text alone is valid."""
    expansion, found = expand.expand(parsed(body, videos=videos), files or inputs(), contract)
    assert expansion is None
    return found


def record(desired: Desired, state: State, reason: str = "", attempts: int = 1) -> Record:
    tries = [Attempt(f"ba_{n}", "local", state, 0.0, 60.0, 0, reason) for n in range(attempts)]
    output = OUTPUT if state is State.SUCCEEDED else None
    jobs = {desired.job: desired.place}
    return Record(desired.run, jobs, state, reason, tuple(tries), output)


def snapshot(records: Iterable[Record], expansions: Iterable[Expansion] = ()) -> Snapshot:
    known = {each.run.id: each for each in records}
    states = {run_id: each.state for run_id, each in known.items()}
    prompts = {
        source.prompt.id: PromptRecord(
            prompt=source.prompt, name=source.name, video=source.video, files={}, frames=121
        )
        for expansion in expansions
        for source in expansion.prompts.values()
    }
    return Snapshot(known, states, prompts, {}, lineage="lineage", serial=7)


def planned(
    jobs: Iterable[JobSpec],
    known: Snapshot | None = None,
    *,
    force: bool = False,
    estimate: Estimate | None = None,
    refusals: tuple[str, ...] = (),
) -> Planned:
    made = tuple(job_of(job, job.target, expanded(job)[0]) for job in jobs)
    desired = tuple(each for job in made for each in job.expansion.runs)
    sources = {key: one for job in made for key, one in job.expansion.prompts.items()}
    changes = diff.diff(desired, sources, known or snapshot(()), force=force)
    selection = Selection(tuple(job.file for job in made), force=force)
    return Planned(
        selection=selection,
        jobs=made,
        desired=desired,
        plan=changes,
        warnings=(),
        estimate=estimate or Estimate(),
        refusals=refusals,
    )
