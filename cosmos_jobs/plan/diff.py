"""Desired runs against what the store knows: what will happen to each, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from cosmos_jobs.core.job import Desired, Source
from cosmos_jobs.core.record import IN_FLIGHT, RETRIED, Record, State
from cosmos_jobs.core.run import CONTROLS, Prompt
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.plan.model import STARTS, Action, Change, Plan
from cosmos_jobs.plan.reasons import NEW, UP_TO_DATE, Cause, Difference, Part, Reason

NOTHING: Mapping[str, str] = {}


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
            action, why = Action.ENHANCE, Reason(Cause.AFTER_ENHANCE)
            if each.awaits in refused:
                action, why = Action.UNKNOWN, Reason(Cause.TOLD, refused[each.awaits])
            changes.append(Change(action, "", each.job, each.place, why))
            continue
        job = first.setdefault(each.run.id, each.job)
        if job != each.job:
            shared = Reason(Cause.SHARED, job)
            changes.append(Change(Action.KEEP, each.run.id, each.job, each.place, shared))
            continue
        gone = each.run.id in missing
        change = _change(each, known, before, sources, gone=gone, force=force)
        if change.action in STARTS and change.run_id in published and not force:
            change = replace(change, action=Action.TAKE, reason=Reason(Cause.PUBLISHED))
        changes.append(change)
    if not partial:
        changes += _orphaned(orphans, desired)
    return Plan(tuple(changes), known.lineage, known.serial)


def starts(plan: Plan) -> tuple[Change, ...]:
    """Return the changes that start a run."""
    return tuple(change for change in plan.changes if change.action in STARTS)


def taken(plan: Plan) -> tuple[str, ...]:
    """Return the runs whose published output is taken."""
    return tuple(change.run_id for change in plan.changes if change.action is Action.TAKE)


def without(plan: Plan, refused: Collection[str]) -> Plan:
    """Return the plan that makes those runs whose published output cannot be taken."""

    def made(change: Change) -> Change:
        if change.action is not Action.TAKE or change.run_id not in refused:
            return change
        action = Action.RETRY if change.attempts else Action.CREATE
        return replace(change, action=action, reason=Reason(Cause.NOT_TAKEN))

    return replace(plan, changes=tuple(map(made, plan.changes)))


def count(plan: Plan) -> dict[str, int]:
    """Return how many changes there are of each action that is told, in the order of Action."""
    totals = {str(action): 0 for action in Action if action.told is action}
    for change in plan.changes:
        totals[change.action.told] += 1
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
        return Change(Action.KEEP, each.run.id, each.job, each.place, UP_TO_DATE)
    record = known.runs.get(each.run.id)
    action, reason = _verdict(record, force=force)
    if record is None and (old := before.get((each.job, each.place))):
        reason = _why(old, each, known, sources)
    elif record is None and each.after:
        reason = Reason(Cause.BEHIND)
    attempts = len(record.attempts) if record else 0
    return Change(action, each.run.id, each.job, each.place, reason, attempts)


def _verdict(record: Record | None, *, force: bool) -> tuple[Action, Reason]:
    match record:
        case None:
            return Action.CREATE, NEW
        case Record() if record.state in IN_FLIGHT:
            return Action.WAIT, Reason(Cause.IN_FLIGHT, record.reason, record.state)
        case Record(state=State.BLOCKED) if not force:
            return Action.BLOCKED, Reason(Cause.TOLD, record.reason)
        case Record(state=State.SUCCEEDED) if not force:
            return Action.RETRY, Reason(Cause.DAMAGED)
        case Record() if record.state in RETRIED:
            return Action.RETRY, Reason(Cause.ENDED, record.reason, record.state)
        case Record(state=State.PENDING, reason=""):
            return Action.CREATE, NEW
        case Record(state=State.PENDING):
            return Action.RETRY, Reason(Cause.TOLD, record.reason)
    return Action.FORCE, Reason(Cause.FORCED, state=record.state)


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
        reason = Reason(Cause.REPLACED if (job, place) in places else Cause.GONE)
        yield Change(Action.ORPHAN, record.run.id, job, place, reason)


def _why(before: Record, now: Desired, known: Snapshot, sources: Mapping[str, Source]) -> Reason:
    """Say what differs from the run that stood at the same place of the job."""
    old, new = before.run, now.run
    if old.engine != new.engine:
        # Another engine has other parameters: there is no telling them apart.
        found = [Difference(Part.ENGINE, "", old.engine, new.engine)]
    else:
        files = before.files.keys() | now.files.keys()
        found = [*_differences(Part.PARAMETER, old.params, new.params, files)]
        zero = dict.fromkeys(CONTROLS, 0)
        found += _differences(Part.WEIGHT, {**zero, **old.weights}, {**zero, **new.weights})
        if old.contract != new.contract:
            found.append(Difference(Part.CONTRACT, new.engine, old.contract, new.contract))
    if old.prompt_id != new.prompt_id:
        found += _prompt_differences(
            known.prompts[old.prompt_id].prompt if old.prompt_id in known.prompts else None,
            sources[new.prompt_id].prompt,
        )
    return Reason(Cause.CHANGED, differences=tuple(found)) if found else NEW


def _differences(
    part: Part,
    old: Mapping[str, object],
    new: Mapping[str, object],
    files: Collection[str] = (),
) -> Iterator[Difference]:
    """Yield what has another value; of those that are `files` a digest would say nothing."""
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) == new.get(name):
            continue
        if name in files:
            yield Difference(Part.FILE if new.get(name) else Part.NO_FILE, name)
        else:
            yield Difference(part, name, old.get(name), new.get(name))


def _prompt_differences(old: Prompt | None, new: Prompt) -> Iterator[Difference]:
    if old is None:
        yield Difference(Part.PROMPT)
        return
    if old.text != new.text:
        yield Difference(Part.TEXT)
    if old.negative != new.negative:
        yield Difference(Part.NEGATIVE)
    for role in dict.fromkeys((*old.inputs, *new.inputs)):
        if old.inputs.get(role) != new.inputs.get(role):
            yield Difference(Part.VIDEO, role)
