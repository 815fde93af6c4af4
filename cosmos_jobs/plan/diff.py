"""Desired runs against what the store knows: what will happen to each, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from cosmos_jobs.core.job import Desired, Source
from cosmos_jobs.core.record import IN_FLIGHT, RETRIED, Record, State
from cosmos_jobs.core.run import CONTROLS, Prompt
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan.model import STARTS, Action, Change, Plan

NOTHING: Mapping[str, str] = {}

GONE = "no longer in the job file"
REPLACED = "replaced in the job file"
"""Why a run is an orphan."""

AFTER_ENHANCE = "known after enhance"
"""Why it is unknown what becomes of a run."""

PUBLISHED = "published"
"""Why a run that nobody here knows as made is not to be made: others have published its output."""

BEHIND = "new, each behind the run that it upscales"


def diff(
    desired: Sequence[Desired],
    sources: Mapping[str, Source],
    known: Snapshot,
    *,
    missing: Collection[str] = (),
    force: bool = False,
    partial: bool = False,
    refused: Mapping[str, str] = NOTHING,
    published: Collection[str] = (),
) -> Plan:
    """Return the plan that makes the store, as `known`, agree with `desired`.

    `sources` holds the desired prompts by id, `missing` the ids of succeeded
    runs whose output is gone. `force` runs again what is done. A `partial`
    selection of a job says nothing about what left it, so it finds no orphans.
    `refused` says why there is no enhanced text, by the id that runs await;
    those `published` are taken instead of made.
    """
    wanted = {each.run.id for each in desired if not each.awaits}
    jobs = {each.job for each in desired}
    orphans = _orphans(known, jobs, wanted)
    # A place that several runs have left was last taken by the newest of them.
    before = {(job, place): record for job, place, record in orphans}
    changes = []
    first: dict[str, str] = {}
    for each in desired:
        if each.awaits:
            reason = refused.get(each.awaits, AFTER_ENHANCE)
            changes.append(Change(Action.UNKNOWN, "", each.job, each.place, reason))
            continue
        job = first.setdefault(each.run.id, each.job)
        if job != each.job:
            shared = f"the same run as in {job}"
            changes.append(Change(Action.KEEP, each.run.id, each.job, each.place, shared))
            continue
        gone = each.run.id in missing
        change = _change(each, known, before, sources, gone=gone, force=force)
        if change.action in STARTS and change.run_id in published and not force:
            change = replace(change, action=Action.KEEP, reason=PUBLISHED)
        changes.append(change)
    if not partial:
        changes += _orphaned(orphans, desired)
    return Plan(tuple(changes), known.lineage, known.serial)


def starts(plan: Plan) -> tuple[Change, ...]:
    """Return the changes that start a run."""
    return tuple(change for change in plan.changes if change.action in STARTS)


def taken(plan: Plan) -> tuple[str, ...]:
    """Return the runs whose published output is taken."""
    return tuple(change.run_id for change in plan.changes if _is_taken(change))


def without(plan: Plan, refused: Collection[str]) -> Plan:
    """Return the plan that makes those runs whose published output cannot be taken."""

    def made(change: Change) -> Change:
        if not _is_taken(change) or change.run_id not in refused:
            return change
        action = Action.RETRY if change.attempts else Action.CREATE
        return replace(change, action=action, reason="what is published cannot be taken")

    return replace(plan, changes=tuple(map(made, plan.changes)))


def _is_taken(change: Change) -> bool:
    return change.action is Action.KEEP and change.reason == PUBLISHED


def count(plan: Plan) -> dict[Action, int]:
    """Return how many changes there are of each action, in the order of Action."""
    totals = dict.fromkeys(Action, 0)
    for change in plan.changes:
        totals[change.action] += 1
    return totals


def _change(
    each: Desired,
    known: Snapshot,
    before: Mapping[tuple[str, str], Record],
    sources: Mapping[str, Source],
    *,
    gone: bool,
    force: bool,
) -> Change:
    # Most runs of a big job are done, and reading a state is much cheaper than a record.
    if known.states.get(each.run.id) is State.SUCCEEDED and not gone and not force:
        return Change(Action.KEEP, each.run.id, each.job, each.place, "up to date")
    record = known.runs.get(each.run.id)
    action, reason = _verdict(record, force=force)
    if record is None and (old := before.get((each.job, each.place))):
        reason = _why(old, each, known, sources)
    elif record is None and each.after:
        reason = BEHIND
    attempts = len(record.attempts) if record else 0
    return Change(action, each.run.id, each.job, each.place, reason, attempts)


def _verdict(record: Record | None, *, force: bool) -> tuple[Action, str]:
    match record:
        case None:
            return Action.CREATE, "new"
        case Record() if record.state in IN_FLIGHT:
            return Action.WAIT, record.reason or str(record.state)
        case Record(state=State.BLOCKED) if not force:
            return Action.BLOCKED, record.reason
        case Record(state=State.SUCCEEDED) if not force:
            return Action.RETRY, "its video is missing or damaged"
        case Record() if record.state in RETRIED:
            return Action.RETRY, ": ".join(filter(None, (record.state, record.reason)))
        case Record(state=State.PENDING):
            return (Action.RETRY, record.reason) if record.reason else (Action.CREATE, "new")
    return Action.FORCE, f"forced; was {record.state}"


def _orphans(
    known: Snapshot, jobs: Collection[str], wanted: Collection[str]
) -> list[tuple[str, str, Record]]:
    """Return the records of `jobs` that are no longer wanted, each with its job and place."""
    left = (known.runs[run_id] for run_id in known.states if run_id not in wanted)
    # By id first: reading a record is what costs.
    return [
        (job, place, record) for record in left for job, place in record.jobs.items() if job in jobs
    ]


def _orphaned(
    orphans: Sequence[tuple[str, str, Record]], desired: Sequence[Desired]
) -> Iterator[Change]:
    places = {(each.job, each.place) for each in desired} if orphans else set()
    for job, place, record in orphans:
        reason = REPLACED if (job, place) in places else GONE
        yield Change(Action.ORPHAN, record.run.id, job, place, reason)


def _why(before: Record, now: Desired, known: Snapshot, sources: Mapping[str, Source]) -> str:
    """Say what differs from the run that stood at the same place of the job."""
    old, new = before.run, now.run
    if old.engine != new.engine:
        # Another engine has other parameters: there is no telling them apart.
        found = [f"engine {old.engine} → {new.engine}"]
    else:
        files = before.files.keys() | now.files.keys()
        found = [*_differences("", old.params, new.params, files)]
        zero = dict.fromkeys(CONTROLS, 0)
        found += _differences("weight of ", {**zero, **old.weights}, {**zero, **new.weights})
        if old.contract != new.contract:
            found.append(f"contract of {new.engine} {old.contract} → {new.contract}")
    if old.prompt_id != new.prompt_id:
        found += _prompt_differences(
            known.prompts[old.prompt_id].prompt if old.prompt_id in known.prompts else None,
            sources[new.prompt_id].prompt,
        )
    return ", ".join(found) or "new"


def _differences(
    kind: str,
    old: Mapping[str, object],
    new: Mapping[str, object],
    files: Collection[str] = (),
) -> Iterator[str]:
    """Say what has another value; of those that are `files` a digest would say nothing."""
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) == new.get(name):
            continue
        if name in files:
            yield f"another file of {name}" if new.get(name) else f"no file of {name}"
        else:
            yield f"{kind}{name} {_shown(old.get(name))} → {_shown(new.get(name))}"


def _prompt_differences(old: Prompt | None, new: Prompt) -> Iterator[str]:
    if old is None:
        yield "the prompt changed"
        return
    if old.text != new.text:
        yield "prompt text changed"
    if old.negative != new.negative:
        yield "negative text changed"
    for role in dict.fromkeys((*old.inputs, *new.inputs)):
        if old.inputs.get(role) != new.inputs.get(role):
            yield f"{role} video changed"


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
