"""A plan as JSON: what `plan --format json` prints and what `plan --out` saves for apply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from cosmos_jobs import plan
from cosmos_jobs.errors import InvalidFiles
from cosmos_jobs.model import STARTS, Diagnostic, Planned, Selection

FORMAT = "cosmos-jobs plan 1"
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved plan: how it was selected, where each job runs, of which store, what it starts.

    `targets` are by job; `starts` maps the ids of runs to `<job>/<prompt>/<label>`.
    """

    selection: Selection
    targets: dict[str, str]
    lineage: str
    starts: dict[str, str]


def dump(planned: Planned) -> bytes:
    """Return a plan as JSON, one change a line.

    It holds ids, names and reasons: no environment and nothing secret.
    """
    head = {
        "format": FORMAT,
        "selection": planned.selection,
        "targets": _targets(planned),
        "store": {"lineage": planned.plan.lineage, "serial": planned.plan.serial},
        "summary": {str(action): count for action, count in plan.count(planned.plan).items()},
        "estimate": planned.estimate,
        "refusals": planned.refusals,
    }
    lines = [
        f'"{key}": '.encode() + orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        for key, value in head.items()
    ]
    changes = b",\n".join(orjson.dumps(change) for change in planned.plan.changes)
    return b"{\n" + b",\n".join(lines) + b',\n"changes": [\n' + changes + b"\n]\n}\n"


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
        targets, lineage = dict(document["targets"]), str(document["store"]["lineage"])
        return Saved(selection, targets, lineage, starts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        hint = "make one: cosmos-jobs plan --out FILE"
        problem = Diagnostic("not-a-plan", "this is no saved plan", path, hint=hint)
        raise InvalidFiles("nothing was started", (problem,)) from error


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}")
    return document


def _targets(planned: Planned) -> dict[str, str]:
    return {job.spec.name: job.target for job in planned.jobs}


def moved_on(saved: Saved, now: Planned) -> Iterator[str]:
    """Say what is different now in a way that matters: the store, or the runs that start."""
    # A store without a lineage was empty: its first write gives it one.
    if saved.lineage and saved.lineage != now.plan.lineage:
        yield "the store is another one"
    targets = _targets(now)
    for job in saved.targets.keys() & targets.keys():
        if saved.targets[job] != targets[job]:
            yield f"the target of {job} was {saved.targets[job]}, it is {targets[job]}"
    starts = {change.run_id: f"{change.job}/{change.place}" for change in plan.starts(now.plan)}
    yield from _told(
        [saved.starts[each] for each in saved.starts if each not in starts],
        "no longer to be started",
    )
    yield from _told(
        [starts[each] for each in starts if each not in saved.starts], "not in the saved plan"
    )


def _told(places: list[str], what: str) -> Iterator[str]:
    if places:
        named = ", ".join(places[:MAX_NAMED])
        more = f" and {len(places) - MAX_NAMED:,} more" if len(places) > MAX_NAMED else ""
        yield f"{named}{more}: {what}"
