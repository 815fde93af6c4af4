"""What is told of work in flight while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from cosmos_jobs.apply.in_flight import InFlight
from cosmos_jobs.apply.record import events
from cosmos_jobs.core.batch import Life
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import Record, State


class Teller:
    """Tells events; the same note of a machine only once."""

    def __init__(self, notify: Callable[[Event], None]) -> None:
        self._notify = notify
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Tell people what goes on."""
        self._notify(Event(Kind.NOTE, reason=message))

    def log(self, line: str) -> None:
        """Tell a line of an engine's log."""
        self._notify(Event(Kind.LOG, reason=line))

    def submitted(self, batch: InFlight) -> None:
        """Tell that a machine has taken a batch."""
        for run_id in batch.batch.runs:
            self._notify(Event(Kind.SUBMITTED, run_id, State.QUEUED, lanes=(batch.lane(),)))

    def changed(self, records: Iterable[Record]) -> None:
        """Tell what has become of runs."""
        for event in events(records):
            self._notify(event)

    def progress(self, batches: Iterable[InFlight], followed: Collection[str]) -> None:
        """Tell how far the batches on machines are, and for what those wait."""
        out = [each for each in batches if each.is_out]
        for each in out:
            waits_for = each.status.waits_for
            # That our own batches wait for one another is nothing to tell.
            if waits_for and not any(batch in waits_for for batch in followed):
                self._say_once(f"{each.batch.host}: waits for {waits_for}")
        frames = sum(each.engine.progress(each.status.log) for each in out)
        lanes = tuple(each.lane() for each in out if each.status.life is Life.RUNNING)
        self._notify(Event(Kind.PROGRESS, frames=frames, lanes=lanes))

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.say(message)
