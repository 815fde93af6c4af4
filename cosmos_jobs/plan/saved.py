"""A plan as JSON: what `plan --format json` prints and what `plan --out` saves for apply."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.job import Job, Selection
from cosmos_jobs.errors import InvalidFiles
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import STARTS, WITHOUT_TEXT, Action, Change, Planned
from cosmos_jobs.plan.reasons import Reason

FORMAT = "cosmos-jobs plan 1"
MAX_NAMED = 3
KINDS = {"videos": "video", "texts": "text of prompt", "files": "file of"}
"""What a job's runs are made from beside its file, as `_source` has it, in words."""

NO_SOURCES: Mapping[str, Any] = {"file": "", "says": "", **{kind: {} for kind in KINDS}}


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved plan: how it was selected, where each job runs, of which store, what it starts.

    `targets` are by job; `starts` maps the ids of runs to `<job>/<prompt>/<label>`,
    `forced` those of them that are made again to how often they were tried.
    `awaits` maps places of runs that are known after enhance to the ids of the
    texts that they await. `sources` are by job what its runs were made from: the
    job's file, and digests of what that says, of videos, texts and other files.
    """

    selection: Selection
    targets: dict[str, str]
    lineage: str
    starts: dict[str, str]
    forced: dict[str, int]
    awaits: dict[str, str]
    sources: dict[str, dict[str, Any]]


def dump(planned: Planned, worded: Callable[[Reason], str]) -> bytes:
    """Return a plan as JSON, one change a line, with its reasons as `worded`.

    It holds ids, names and reasons: no environment and nothing secret.
    """
    head = {
        "format": FORMAT,
        "selection": planned.selection,
        "targets": _targets(planned),
        "store": {"lineage": planned.plan.lineage, "serial": planned.plan.serial},
        "summary": diff.count(planned.plan),
        "estimate": planned.estimate,
        "refusals": planned.refusals,
        "awaits": _awaits(planned),
        "sources": _sources(planned),
    }
    lines = [
        f'"{key}": '.encode() + orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        for key, value in head.items()
    ]
    changes = b",\n".join(orjson.dumps(_change(change, worded)) for change in planned.plan.changes)
    return b"{\n" + b",\n".join(lines) + b',\n"changes": [\n' + changes + b"\n]\n}\n"


def _change(change: Change, worded: Callable[[Reason], str]) -> dict[str, object]:
    return {
        "action": change.action.told,
        "run_id": change.run_id,
        "job": change.job,
        "place": change.place,
        "reason": worded(change.reason),
        "attempts": change.attempts,
    }


def load(data: bytes, path: str) -> Saved:
    """Return a saved plan; InvalidFiles when `data` is none."""
    try:
        document = _checked(orjson.loads(data))
        given = document["selection"]
        selection = Selection(
            **{**given, "paths": tuple(given["paths"]), "only": tuple(given["only"])}
        )
        starts = {
            each["run_id"]: f"{each['job']}/{each['place']}"
            for each in document["changes"]
            if each["action"] in STARTS
        }
        forced = {
            each["run_id"]: int(each["attempts"])
            for each in document["changes"]
            if each["action"] == Action.FORCE
        }
        targets, lineage = dict(document["targets"]), str(document["store"]["lineage"])
        awaits = dict(document["awaits"])
        sources = {job: {**NO_SOURCES, **each} for job, each in document["sources"].items()}
        return Saved(selection, targets, lineage, starts, forced, awaits, sources)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        hint = "make one: cosmos-jobs plan --out FILE"
        problem = Diagnostic("not-a-plan", "this is no saved plan", path, hint=hint)
        raise InvalidFiles("nothing was started", (problem,)) from error


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}")
    return document


def _targets(planned: Planned) -> dict[str, str]:
    return {job.name: job.target for job in planned.jobs}


def _awaits(planned: Planned) -> dict[str, str]:
    """Return the texts that runs of the plan await, by the places of these runs."""
    awaited = {
        (each.job, each.place): each.awaits for job in planned.jobs for each in job.expansion.runs
    }
    unknown = (each for each in planned.plan.changes if each.action in WITHOUT_TEXT)
    return {f"{each.job}/{each.place}": awaited[each.job, each.place] for each in unknown}


def _sources(planned: Planned) -> dict[str, dict[str, Any]]:
    return {job.name: _source(job) for job in planned.jobs}


def _source(job: Job) -> dict[str, Any]:
    """Return what the runs of a job are made from, so that a change can be named later."""
    texts: dict[str, set[str]] = {}
    videos: dict[str, str] = {}
    for source in job.expansion.prompts.values():
        texts.setdefault(source.name, set()).add(source.prompt.text)
        videos |= {
            f"{source.video}/{role}": sha256
            for role, sha256 in source.prompt.inputs.items()
            if role in source.files
        }
    files: dict[str, set[str]] = {}
    for each in job.expansion.runs:
        for parameter, file in each.files.items():
            files.setdefault(parameter, set()).add(file.sha256)
    # Where it is, and what stands in its comments, is not what it says.
    said = job.spec and replace(job.spec, path="", source=None)  # type: ignore[arg-type]
    return {
        "file": job.file,
        "says": _digest([orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()]),
        "videos": videos,
        "texts": {name: _digest(each) for name, each in texts.items()},
        "files": {name: _digest(each) for name, each in files.items()},
    }


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256(orjson.dumps(sorted(texts))).hexdigest()[:16]


def moved_on(saved: Saved, now: Planned) -> Iterator[str]:
    """Say what is different now in a way that matters: the store, or the runs that start.

    Where job files, prompts or videos are others, these are named, too. What changes
    no run does not matter, nor what others made meanwhile, or are making.
    """
    # A store without a lineage was empty: its first write gives it one.
    if saved.lineage and saved.lineage != now.plan.lineage:
        yield "the store is another one"
    targets = _targets(now)
    for job in saved.targets.keys() & targets.keys():
        if saved.targets[job] != targets[job]:
            yield f"the target of {job} was {saved.targets[job]}, it is {targets[job]}"
    if different := [*_other_runs(saved, now)]:
        yield from _causes(saved.sources, _sources(now))
        yield from different


def _other_runs(saved: Saved, now: Planned) -> Iterator[str]:
    """Say which runs only one of the plans wants, or were made again meanwhile."""
    starts = {each.run_id: f"{each.job}/{each.place}" for each in diff.starts(now.plan)}
    awaits = _awaits(now)
    made = {
        each.run_id for each in now.plan.changes if each.action.told in (Action.KEEP, Action.WAIT)
    }
    missing = [saved.starts[each] for each in saved.starts if each not in starts.keys() | made]
    yield from _told(missing, "no longer to be started")
    # What was known after enhance may be known by now.
    more = [
        starts[each]
        for each in starts
        if each not in saved.starts and starts[each] not in saved.awaits
    ]
    more += [place for place in awaits if place not in saved.awaits]
    yield from _told(more, "not in the saved plan")
    others = [place for place in awaits if saved.awaits.get(place, awaits[place]) != awaits[place]]
    yield from _told(others, "to be enhanced from another text")
    tried = {each.run_id: each.attempts for each in now.plan.changes}
    again = [saved.starts[each] for each, n in saved.forced.items() if tried.get(each, n) != n]
    yield from _told(again, "run again already since the plan was saved")


def _causes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say which job files, and which of what they name, are others."""
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name, NO_SOURCES), now.get(name, NO_SOURCES)
        if not new["says"] or not old["says"]:
            yield f"{old['file'] or new['file']} is {'gone' if old['says'] else 'new'}"
            continue
        if old["says"] != new["says"]:
            yield f"{new['file']} says something else"
        for kind, words in KINDS.items():
            differ = [key for key, was in old[kind].items() if new[kind].get(key, was) != was]
            yield from _told([f"the {words} {key} of {name}" for key in differ], "another one now")


def _told(places: list[str], what: str) -> Iterator[str]:
    if places:
        named = ", ".join(places[:MAX_NAMED])
        more = f" and {len(places) - MAX_NAMED:,} more" if len(places) > MAX_NAMED else ""
        yield f"{named}{more}: {what}"
