"""Write the page to look at a job's videos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cosmos_jobs.core.job import Job
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.engines.control_maps import Controls
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.operations.measuring import measured
from cosmos_jobs.operations.planning import validate
from cosmos_jobs.operations.session import Session, wait
from cosmos_jobs.report import Job as Described
from cosmos_jobs.report import Report


def report(session: Session, name: str, folder: str | Path = "", *, embed: bool = False) -> Path:
    """Write the page of a job, named or by its file; return where it is.

    It goes into `folder`, else into `reports/<job>/` of the project. With
    `embed` it is one file, with small previews in it. Runs that the job
    file asks for and that were never started are shown as pending. Raises
    UsageError for a job that is not known, and for a folder that holds
    something else.
    """
    maps = Controls(session.project.cache / "controls")
    known = session.store.snapshot()
    asked = _asked_by(session, name, known)
    job, spec = (asked.name, asked.spec) if asked else (name, None)
    records = _of_job(job, asked, known)
    prompts = _prompts(records, asked, known)
    place = Path(folder) if folder else session.project.root / "reports" / job
    described = Described(
        job,
        known.jobs.get(job) or (spec.path if spec else ""),
        spec.description if spec else "",
        spec.weights if spec else {},
    )
    made = Report(
        session.project,
        replace(known, prompts=prompts),
        place,
        lambda wanted: wait(maps.make(wanted)),
        embed=embed,
    )
    return made.write(described, records, measured(session, records))


def _asked_by(session: Session, name: str, known: Snapshot) -> Job | None:
    """Return what a job asks for, None where its file is gone or wrong by now.

    Raises UsageError for a name that is none, InvalidFiles for a file that was named.
    """
    is_job = any(name in each.jobs for each in known.runs.values())
    file = session.project.root / known.jobs.get(name, "") if is_job else Path(name)
    if not is_job and not file.is_file():
        hint = "see them: cosmos-jobs status"
        raise UsageError(f"there is no job or job file `{name}`", hint=hint)
    if not file.is_file():
        return None
    jobs, problems = validate(session, [str(file)])
    if not jobs and not is_job:
        raise InvalidFiles(f"{name} is invalid", problems)
    return jobs[0] if jobs else None


def _of_job(job: str, asked: Job | None, known: Snapshot) -> tuple[Record, ...]:
    """Return the runs of a job, in the order of its file; what was never started is pending."""
    records = {}
    for each in asked.expansion.runs if asked else ():
        run_id = each.run.id
        if run_id in known.states:
            records[run_id] = known.runs[run_id]
        elif not each.awaits:
            records[run_id] = Record(each.run, {job: each.place})
    for run_id, record in known.runs.items():
        if job in record.jobs:
            records.setdefault(run_id, record)
    return tuple(records.values())


def _prompts(
    records: Iterable[Record], asked: Job | None, known: Snapshot
) -> dict[str, PromptRecord]:
    """Return the prompts of runs, also those that only the job file knows."""
    sources = asked.expansion.prompts if asked else {}
    prompts = {}
    for prompt_id in dict.fromkeys(each.run.prompt_id for each in records):
        if prompt_id in known.prompts:
            prompts[prompt_id] = known.prompts[prompt_id]
        elif source := sources.get(prompt_id):
            prompts[prompt_id] = PromptRecord(
                prompt=source.prompt, name=source.name, video=source.video, files={}, frames=0
            )
    return prompts
