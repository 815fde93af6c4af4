"""Batches in flight: what was learnt of each, and what of that is not in the store yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cosmos_jobs.core.batch import Batch, Life, Outcome, Status
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.record import Output, State
from cosmos_jobs.engines.base import Engine
from cosmos_jobs.targets.fleet import Site

FINAL = frozenset({Life.EXITED, Life.CANCELLED, Life.GONE, Life.REFUSED})
"""Lives that a batch does not leave again."""


@dataclass(slots=True, eq=False)
class Watch:
    """A batch that is being watched.

    `site` is None while no machine has it. `known` are the batches that had
    its runs before. `claimed` says whether this process claimed it, `looked`
    whether its machine was asked, `submitted` when we last began to give it to
    one, by the monotonic clock, and `taken` whether that has taken it.
    `outcomes` is what the engine says of runs, `outputs` the videos that are
    here; `ended` are the runs of which nothing more will come.
    """

    batch: Batch
    site: Site | None
    engine: Engine
    claimed: bool = False
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    status: Status = field(default_factory=lambda: Status(Life.ABSENT))
    looked: bool = False
    submitted: float | None = None
    submissions: int = 0
    taken: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    fetching: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    recorded: tuple[object, ...] = ()

    def copy(self) -> Watch:
        """Return it as it is now, whatever is learnt meanwhile."""
        return replace(
            self,
            outcomes=dict(self.outcomes),
            outputs=dict(self.outputs),
            ended=set(self.ended),
        )

    @property
    def settled(self) -> bool:
        """Whether every run has come to its end."""
        return len(self.ended) == len(self.batch.runs)

    @property
    def is_final(self) -> bool:
        """Whether the machine has nothing more to say about it."""
        return self.status.life in FINAL

    @property
    def is_out(self) -> bool:
        """Whether a machine has it, or may have."""
        return self.submitted is not None or self.status.life is not Life.ABSENT

    @property
    def is_collected(self) -> bool:
        """Whether it was looked at, and all that was done by then is here."""
        return self.settled or (self.looked and not any(map(self._awaited, self.batch.runs)))

    def _awaited(self, run: str) -> bool:
        made = run in self.outcomes and self.outcomes[run].state is State.SUCCEEDED
        return made and run not in self.outputs and run not in self.ended

    def stage(self) -> tuple[object, ...]:
        """Return what a change of makes news for all its runs."""
        return self.status.life, self.status.started, self.status.waits_for

    def news(self) -> list[str]:
        """Return the runs of which something is known that is not recorded yet."""
        moved = self.stage() != self.recorded
        return [run for run in self.batch.runs if run not in self.ended and self._told(run, moved)]

    def _told(self, run: str, moved: bool) -> bool:
        outcome = self.outcomes.get(run)
        if outcome is not None:
            return outcome.state is not State.SUCCEEDED or run in self.outputs
        return self.status.life is not Life.ABSENT and (moved or self.is_final)

    def lane(self) -> Lane:
        """Return how far it is."""
        last = next((each for each in reversed(self.status.log.splitlines()) if each.strip()), "")
        return Lane(
            self.batch.id,
            self.batch.target,
            self.site.name if self.site else "",
            self.status.gpu,
            len(self.outcomes),
            len(self.batch.runs),
            self.status.started,
            self.status.waits_for,
            last.strip(),
        )
