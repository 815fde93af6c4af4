"""What happens, for programs: one JSON value a line, as schemas/events.schema.json says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from cosmos_jobs import __version__
from cosmos_jobs.cli.views import diagnostics, reasons
from cosmos_jobs.cli.views.progress import Place, Tally, pending
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.core.events import Event, Kind, Lane
from cosmos_jobs.core.record import IN_FLIGHT, Record, State
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Action, Applied, Followed, Planned

FORMAT = 1
"""Grows when a reader of these lines has to change; new types and keys are no reason."""

PROGRESS_EVERY_S = 10.0


class Stream:
    """Writes events, one a line; the first says the version, the last sums up."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        secrets: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._secrets = secrets
        self._clock = clock
        self._now = now
        self._place: Place = dict[str, str]().get
        self._tally = Tally(0, clock)
        self._last_progress = clock()
        self._result: dict[str, Any] = {}
        self._put("version", format=FORMAT, version=__version__)

    # --- before -----------------------------------------------------------------------------

    def planned(self, planned: Planned) -> None:
        """Tell a plan: what is wrong with its files, each run that is not done, and the sum."""
        self._diagnostics("warning", planned.warnings)
        for change in planned.plan.changes:
            if change.action.told is not Action.KEEP:
                self._put(
                    "planned",
                    run=change.run_id or None,
                    place=f"{change.job}/{change.place}",
                    action=str(change.action.told),
                    reason=reasons.text(change.reason),
                )
        counts = diff.count(planned.plan)
        self._put("plan", summary=counts, estimate=planned.estimate, refusals=planned.refusals)
        places = {each.run.id: f"{each.job}/{each.place}" for each in planned.desired}
        self.expect(len(pending(planned)), places.get)

    def expect(self, runs: int, place: Place) -> None:
        """Say how many runs there will be, and what people call them."""
        self._tally, self._place = Tally(runs, self._clock), place

    # --- while it goes on -------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Tell an event; progress only now and then."""
        self._tally.add(event)
        match event.kind:
            case Kind.PROGRESS:
                self._progress(event)
            case Kind.NOTE | Kind.LOG:
                self._put(str(event.kind), message=event.reason)
            case Kind.SUBMITTED:
                (lane,) = event.lanes
                where = {"batch": lane.batch, "target": lane.target, "host": lane.host}
                self._put("submitted", **self._run(event), **where)
            case Kind.STARTED:
                self._put("started", **self._run(event))
            case Kind.FINISHED:
                state = str(event.state)
                self._put("finished", **self._run(event), state=state, reason=event.reason)

    def _run(self, event: Event) -> dict[str, str]:
        return {"run": event.run_id, "place": self._place(event.run_id) or ""}

    def _progress(self, event: Event) -> None:
        if self._clock() - self._last_progress < PROGRESS_EVERY_S:
            return
        self._last_progress = self._clock()
        tally = self._tally
        lanes = [_lane(each) for each in event.lanes]
        self._put(
            "progress", done=tally.done, failed=tally.failed, runs=tally.runs, in_flight=lanes
        )

    # --- at the end -------------------------------------------------------------------------

    def error(
        self, message: str, hint: str, exit_code: int, problems: Iterable[Diagnostic] = ()
    ) -> None:
        """Tell why the command cannot go on, or what a machine did not do."""
        self._diagnostics("problem", problems)
        self._put("error", message=message, hint=hint, exit_code=exit_code)

    def applied(self, applied: Applied) -> None:
        """Take what came of an apply into the summary."""
        ours = applied.started | applied.awaited
        idle = sum(r.state is State.SUCCEEDED and r.run.id not in ours for r in applied.records)
        self._end(applied)
        self._result |= {
            "up_to_date": idle,
            "started": len(applied.started),
            "held_back": len(applied.held_back),
        }

    def followed(self, done: Followed) -> None:
        """Take what became of runs in flight into the summary."""
        self._end(done)

    def _end(self, done: Applied | Followed) -> None:
        self._result = _states(done.records)
        for trouble in done.troubles:
            self.error(trouble.message, trouble.hint, trouble.exit_code)

    def close(self, exit_code: int) -> None:
        """Write the last line: the exit code, and how many runs are in each state."""
        self._put("summary", exit_code=exit_code, **{**_states(()), **self._result})

    def _diagnostics(self, kind: str, problems: Iterable[Diagnostic]) -> None:
        for one in diagnostics.as_json(problems):
            self._put(kind, **one)

    def _put(self, kind: str, **values: Any) -> None:
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        line = {
            "type": kind,
            "time": moment.replace("+00:00", "Z"),
            **_clean(values, self._secrets),
        }
        self._write(orjson.dumps(line))


def _states(records: Iterable[Record]) -> dict[str, Any]:
    counts = Counter(record.state for record in records)
    return {
        "states": {str(state): counts[state] for state in State},
        "in_flight": sum(counts[state] for state in IN_FLIGHT),
    }


def _lane(lane: Lane) -> dict[str, Any]:
    return {
        "batch": lane.batch,
        "target": lane.target,
        "host": lane.host,
        "gpu": lane.gpu,
        "done": lane.done,
        "runs": lane.runs,
        "waits_for": lane.waits_for,
    }


def _clean(value: Any, secrets: Collection[str]) -> Any:
    """Return a value without secrets, and without what is no Unicode: names of files may be."""
    match value:
        case str():
            return masked(value.encode(errors="backslashreplace").decode(), secrets)
        case dict():
            return {key: _clean(each, secrets) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each, secrets) for each in value]
    return value
