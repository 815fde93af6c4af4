"""Read what the store knows: how jobs stand, which prompts and runs there are, what is named."""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from cosmos_jobs.artifacts.outputs import MANIFEST
from cosmos_jobs.config.project import shown
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record, State
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations.session import Session, unique
from cosmos_jobs.state import search

STREAM_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Overview:
    """How many runs of each job are in which state, where batches are, and what changed."""

    jobs: Mapping[str, Mapping[State, int]]
    lanes: tuple[Lane, ...]
    changed: tuple[Record, ...] = ()


def get_run(session: Session, run_id: str) -> Record:
    """Return a run; its id may be shortened. Raises UsageError when it names none or many."""
    known = session.store.snapshot()
    return known.runs[unique(run_id, known.runs, "run")]


def get_prompt(session: Session, prompt_id: str) -> PromptRecord:
    """Return a prompt, as `get_run` does a run."""
    known = session.store.snapshot()
    return known.prompts[unique(prompt_id, known.prompts, "prompt")]


def prompt_of(session: Session, record: Record) -> PromptRecord | None:
    """Return the prompt of a run."""
    return session.store.snapshot().prompts.get(record.run.prompt_id)


def full_id(session: Session, name: str) -> str:
    """Return the full id of a run; what is none stays as it is."""
    return get_run(session, name).run.id if name.startswith("rs_") else name


def status(session: Session) -> dict[str, dict[State, int]]:
    """Return, for each job in the store, how many of its runs are in which state."""
    jobs: dict[str, dict[State, int]] = {}
    for record in session.store.snapshot().runs.values():
        for job in record.jobs:
            counts = jobs.setdefault(job, dict.fromkeys(State, 0))
            counts[record.state] += 1
    return dict(sorted(jobs.items()))


def in_flight(session: Session) -> tuple[Lane, ...]:
    """Return where the batches in flight are, as last seen: no machine is asked."""
    known = session.store.snapshot()
    batches: dict[str, list[Record]] = {}
    for run_id, state in known.states.items():
        if state in IN_FLIGHT and (last := known.runs[run_id].last):
            batches.setdefault(last.batch, []).append(known.runs[run_id])
    return tuple(_lane(known.batches[key], found) for key, found in batches.items())


def overview(session: Session) -> Overview:
    """Return how all jobs stand, and the batches in flight, as last seen."""
    return Overview(status(session), in_flight(session))


def stream_status(session: Session, every_s: float = STREAM_EVERY_S) -> Iterator[Overview]:
    """Yield how all stands now, and after each change, until nothing is in flight.

    It looks at the store alone, each `every_s` seconds: it waits for what
    an apply or a watch elsewhere writes. `changed` are the runs whose state
    is another one than in the overview before.
    """
    known = session.store.snapshot()
    yield overview(session)
    while IN_FLIGHT.intersection(known.states.values()):
        time.sleep(every_s)
        before, known = known, session.store.snapshot()
        changed = tuple(
            known.runs[run_id]
            for run_id, state in known.states.items()
            if before.states.get(run_id) is not state
        )
        if changed or known.serial != before.serial:
            yield replace(overview(session), changed=changed)


def list_prompts(
    session: Session, *, job: str = "", prompt: str = "", states: Collection[State] = ()
) -> tuple[PromptRecord, ...]:
    """Return all prompts by name and id, or those that have a run as for `list_runs`."""
    known = session.store.snapshot().prompts
    ids = [unique(prompt, known, "prompt")] if prompt else list(known)
    if job or states:
        having = {
            each.run.prompt_id for each in list_runs(session, job=job, prompt=prompt, states=states)
        }
        ids = [each for each in ids if each in having]
    prompts = (known[each] for each in ids)
    return tuple(sorted(prompts, key=lambda each: (each.name, each.prompt.id)))


def list_runs(
    session: Session,
    *,
    job: str = "",
    prompt: str = "",
    states: Collection[State] = (),
    stars: int = 0,
) -> tuple[Record, ...]:
    """Return the runs of a job, of a prompt and in one of `states`, where given.

    With `stars` they have at least so many. The prompt's id may be
    shortened; UsageError when it names none or many.
    """
    known = session.store.snapshot()
    prompt = unique(prompt, known.prompts, "prompt") if prompt else ""
    # By state first: reading a record is what costs.
    ids = (each for each, state in known.states.items() if not states or state in states)
    return tuple(
        record
        for record in (known.runs[run_id] for run_id in ids)
        if (not job or job in record.jobs)
        and (not prompt or record.run.prompt_id == prompt)
        and (record.rating or 0) >= stars
    )


def search_prompts(session: Session, query: str) -> tuple[PromptRecord, ...]:
    """Return the prompts whose text or name has `query` in it, by name and id.

    Case does not matter, nor what kind of white space there is; `%`, `_`
    and `*` mean themselves. Raises UsageError for an empty query.
    """
    if not query.strip():
        raise UsageError("say what to search for", hint="a part of a text or a name")
    found = search.matching(session.store.snapshot().prompts.values(), query)
    return tuple(sorted(found, key=lambda each: (each.name, each.prompt.id)))


def select(session: Session, names: Sequence[str], states: Collection[State]) -> tuple[str, ...]:
    """Return the runs in one of `states` that are named: by id, job, job file, or all.

    Raises UsageError for a name that is none of these.
    """
    known = session.store.snapshot()
    jobs = {job for record in known.runs.values() for job in record.jobs}
    files = {path: job for job, path in known.jobs.items()}
    chosen: dict[str, None] = {}
    for name in names or ("",):
        if name.startswith("rs_"):
            found: Iterable[str] = [unique(name, known.states, "run")]
        else:
            job = files.get(relative(session, name), name) if name else ""
            if job and job not in jobs:
                if Path(name).is_file():
                    hint = f"make them: cosmos-jobs apply {name}"
                    raise UsageError(f"none of the runs of {name} is known here", hint=hint)
                near = difflib.get_close_matches(name, [*jobs, *files], 1)
                raise UsageError(
                    f"there is no run, job or job file `{name}`",
                    hint=f"did you mean `{near[0]}`?" if near else "see them: cosmos-jobs status",
                )
            found = (run_id for run_id, each in known.runs.items() if not job or job in each.jobs)
        chosen |= dict.fromkeys(each for each in found if known.states[each] in states)
    return tuple(chosen)


def relative(session: Session, name: str) -> str:
    """Return a path as the store has it."""
    return shown(Path(name).resolve(), session.project.root.resolve())


def manifest(session: Session, record: Record) -> Mapping[str, Any]:
    """Return the provenance of a run that was made; empty for one that was not."""
    try:
        found: Mapping[str, Any] = orjson.loads(
            (session.outputs.folder(record.run.id) / MANIFEST).read_bytes()
        )
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found


def lost_videos(session: Session, run_ids: Iterable[str]) -> tuple[str, ...]:
    """Return those of the runs whose video was made, and is no longer here as it was."""
    return session.outputs.lost(run_ids, session.store.snapshot())


def _lane(batch: Batch, waiting: Sequence[Record]) -> Lane:
    last = waiting[0].last
    assert last is not None  # noqa: S101 - it is in flight
    return Lane(
        batch=batch.id,
        target=batch.target,
        host=batch.host,
        gpu=last.gpu,
        done=len(batch.runs) - len(waiting),
        runs=len(batch.runs),
        started=last.started,
        waits_for=waiting[0].reason,
        tail="",
    )
