"""Single prompts: make them, plan their videos without a job file, see how they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from cosmos_jobs.config import schema, violations
from cosmos_jobs.config.project import shown
from cosmos_jobs.core import naming
from cosmos_jobs.core.job import Selection, Source
from cosmos_jobs.core.record import IN_FLIGHT, WORST_FIRST, PromptRecord, Record, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import adhoc, arguments
from cosmos_jobs.operations import planning
from cosmos_jobs.operations.listing import get_run, prompt_of
from cosmos_jobs.operations.planning import Hashing
from cosmos_jobs.operations.session import Session, unique
from cosmos_jobs.plan.model import Applied, Planned
from cosmos_jobs.state.store import Transaction

Weights: TypeAlias = Mapping[str, float] | Sequence[float]
"""Weights of controls, 0 to 1: by name, or four of them for vis, edge, depth and seg."""

UP_TO_DATE = "up to date"
NO_RUNS = "no runs"


def create_prompt(
    session: Session,
    text: str,
    video: str | Path,
    *,
    name: str = "",
    negative: str = "",
    hashing: Hashing | None = None,
) -> PromptRecord:
    """Record the prompt of a text and a video, and return it.

    `video` is a folder with color.mp4, and perhaps its control maps, or a
    video file: from the working directory, else from the project's folder.
    The text is in Unicode NFC, without white space around it; braces are
    literal. The same text, negative text and video are the same prompt:
    it keeps its name unless `name` says another. Without a name it gets
    one by its text. Raises UsageError for an empty text, for files that
    cannot be used, and for a name that is no name or belongs to another.
    """
    if name:
        _check_name(name)
    source = adhoc.prompt(session.project, text, str(video), negative, hashing=hashing)
    prompt_id = source.prompt.id

    def record(change: Transaction) -> PromptRecord:
        before = change.prompt(prompt_id)
        # Names alone are read quickly.
        others = {
            str(each.get("name")): key
            for key, each in change.table("prompts").items()
            if key != prompt_id
        }
        if name in others and not (before and before.name == name):
            raise UsageError(
                f"the name `{name}` belongs to {others[name]}",
                hint="choose another one, or leave it out",
            )
        made = name or (before.name if before else "")
        made = made or naming.prompt_name(source.prompt.text, prompt_id, others)
        after = _prompt_record(session, replace(source, name=made), before)
        if after != before:
            change.put_prompts([after])
        return after

    return session.store.change(record)


def _prompt_record(session: Session, source: Source, before: PromptRecord | None) -> PromptRecord:
    root = session.project.root
    files = {role: shown(one.path, root) for role, one in source.files.items()}
    frames = source.files["color"].frames
    made = PromptRecord(
        prompt=source.prompt, name=source.name, video=source.video, files=files, frames=frames
    )
    return replace(made, parent=before.parent, enhancer=before.enhancer) if before else made


def plan_inference(
    session: Session,
    prompt_ids: Iterable[str],
    weights: Weights | None = None,
    *,
    engine: str = "",
    target: str = "",
    force: bool = False,
    batch_name: str = "",
    params: Mapping[str, object] | None = None,
    hashing: Hashing | None = None,
) -> Planned:
    """Return what `batch_inference` would do; nothing but the cache is written.

    `apply` carries it out, and `inferred` tells of that. `hashing` is told
    of a video that is read: its path, the bytes so far and the bytes in all.
    """
    known = session.store.snapshot()
    prompts = adhoc.found(known, list(prompt_ids))
    if not prompts:
        raise UsageError("no prompt was named", hint="see them: cosmos-jobs list prompts")
    name = _batch_name(session, batch_name, known)
    where = session.project.named(target or session.project.target).name
    given = arguments.read(engine or session.project.engine, weights, params or {})
    making = adhoc.Inference(session.project, known, given, name, hashing=hashing)
    job, noted = making.job(prompts, where)
    return planning.of_jobs(
        session, Selection((), target=where, force=force), (job,), (*given.warnings, *noted)
    )


def inferred(session: Session, applied: Applied) -> dict[str, Any]:
    """Return what came of the plan of an inference, as `batch_inference` does."""
    records = {record.run.id: record for record in applied.records}
    made = applied.started | applied.awaited
    results = []
    for each in applied.planned.desired:
        record = records[each.run.id]
        result = result_of(session, record, each.prompt)
        if record.state is State.SUCCEEDED and record.run.id not in made:
            result["status"] = UP_TO_DATE
        results.append(result)
    counts = Counter(result["status"] for result in results)
    return {"results": results, "counts": dict(counts)}


def check_status(session: Session, name: str) -> dict[str, Any]:
    """Return how a run, a prompt or a job stands, as last seen: no machine is asked.

    Of a run (`rs_…`) it is what `quick_inference` returns. Of a prompt
    (`ps_…`) and of a job, by name, it is `status`, `counts` of its runs by
    state, and `runs`: a mapping of their ids to states; a prompt also has
    its `prompt_id` and its name as `prompt`, a job its name as `job`. That
    `status` is "running" while a run is in flight, else the worst that a
    run came to: "failed", "blocked", "lost", "cancelled", "pending",
    "succeeded"; "no runs" without any. Raises UsageError for a name that
    is none of these.
    """
    known = session.store.snapshot()
    if name.startswith("rs_"):
        record = get_run(session, name)
        prompt = prompt_of(session, record)
        return result_of(session, record, prompt.name if prompt else "")
    records = known.runs.values()
    if name.startswith("ps_"):
        key = unique(name, known.prompts, "prompt")
        states = {r.run.id: r.state for r in records if r.run.prompt_id == key}
        return {
            "prompt_id": key,
            "prompt": known.prompts[key].name,
            **_standing(states),
        }
    states = {r.run.id: r.state for r in records if name in r.jobs}
    if not states and name not in known.jobs:
        raise UsageError(
            f"there is no run, prompt or job `{name}`", hint="see them: cosmos-jobs status"
        )
    return {"job": name, **_standing(states)}


def result_of(session: Session, record: Record, prompt: str) -> dict[str, Any]:
    """Return what came of a run of a prompt of that name, as `quick_inference` does."""
    last = record.last
    took = None
    if last and last.started is not None and last.finished is not None:
        took = round(last.finished - last.started, 3)
    return {
        "run_id": record.run.id,
        "prompt_id": record.run.prompt_id,
        "prompt": prompt,
        "status": str(record.state),
        "output_path": _output_path(session, record),
        "duration_seconds": took,
        "reason": record.reason if record.state is not State.SUCCEEDED else "",
    }


def _output_path(session: Session, record: Record) -> str | None:
    """Return where people find a video, else where it is by id; None when there is none."""
    if record.state is not State.SUCCEEDED or record.output is None:
        return None
    for each in (*reversed(session.outputs.places(record)), session.outputs.video(record)):
        if each.exists():
            return str(each.absolute())
    return None


def _batch_name(session: Session, name: str, known: Snapshot) -> str:
    """Return the job that runs of prompts stand under; UsageError for one of a file."""
    if name in ("", adhoc.INFERENCE):
        return adhoc.INFERENCE
    rule = schema.load("job")["properties"]["name"]
    if not violations.fits(name, rule, rule):
        raise UsageError(f"`{name}` cannot name a batch", hint=rule["x-hint"])
    path = known.jobs.get(name, "")
    if path and (session.project.root / path).exists():
        raise UsageError(
            f"the name `{name}` belongs to the job file {path}",
            hint="choose another name for the batch",
        )
    return name


def _check_name(name: str) -> None:
    rule = schema.load("job")["properties"]["prompts"]["propertyNames"]
    if not violations.fits(name, rule, rule):
        raise UsageError(f"`{name}` cannot name a prompt", hint=rule["x-hint"])


def _standing(states: Mapping[str, State]) -> dict[str, Any]:
    found = set(states.values())
    said = "running" if found & IN_FLIGHT else next((s for s in WORST_FIRST if s in found), NO_RUNS)
    counts = Counter(str(state) for state in states.values())
    runs = {run_id: str(state) for run_id, state in states.items()}
    return {"status": str(said), "counts": dict(counts), "runs": runs}
