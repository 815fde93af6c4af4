"""What an apply still has to begin: canaries first, then all that can start, round by round.

Pure: an agenda says what to claim next, and what was seen moves it on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from cosmos_jobs.core.record import UNFINISHED, Record, State
from cosmos_jobs.core.snapshot import Snapshot

PATIENCE = 3
"""How often an apply takes up again what was left unfinished, while nothing gets made."""


class Until(StrEnum):
    """How far work is followed: to its end, until machines have all of it, or one look."""

    SETTLED = "settled"
    SUBMITTED = "submitted"
    LOOKED = "looked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """The runs that are `wanted`, and those of them that are still to be started.

    `starts` has those with their attempts so far, `targets` where each of the
    wanted runs. `after` maps runs to the one whose output they work on. The
    `canaries` among them are made first, and the others only if all of these
    succeed: else they are `held_back`. `claims` is what is to be claimed now,
    None while what was is followed. `started` are the runs that were.
    `retried` are the targets that take lost runs up again: a machine that loses
    what it is given is looked at first; a scheduler means to.
    """

    wanted: tuple[str, ...]
    until: Until = Until.SETTLED
    starts: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    canaries: Mapping[str, int] = field(default_factory=dict)
    retried: frozenset[str] = frozenset()
    claims: Mapping[str, int] | None = None
    started: frozenset[str] = frozenset()
    held_back: frozenset[str] = frozenset()
    patience: int = PATIENCE
    made: int = 0
    is_over: bool = True

    @property
    def followed(self) -> tuple[str, ...]:
        """The runs that are followed now."""
        return tuple(self.canaries) or self.wanted

    @property
    def follows_until(self) -> Until:
        """How far: what canaries come to has to be seen before anything else starts."""
        return Until.SETTLED if self.canaries else self.until

    @property
    def bases(self) -> frozenset[str]:
        """The runs whose output is worked on by those that are to be claimed."""
        return frozenset(self.after[run] for run in self.claims or () if run in self.after)

    def begun(self, states: Mapping[str, State]) -> Self:
        """Return it with its first round to be claimed."""
        begun = replace(self, is_over=False)
        return replace(begun, claims=self.canaries) if self.canaries else begun._round(states)

    def claimed(self, run_ids: Collection[str]) -> Self:
        """Return it after a round was claimed: of what was to start, these runs were."""
        claims = self.claims or {}
        left = {run: tried for run, tried in self.starts.items() if run not in claims}
        return replace(self, claims=None, starts=left, started=self.started.union(run_ids))

    def reviewed(self, known: Snapshot, *, gave_up: bool) -> Self:
        """Return it after a round has come to its end: with the next one, or over."""
        if self.canaries:
            if all(known.states.get(run) is State.SUCCEEDED for run in self.canaries):
                return replace(self, canaries={})._round(known.states)
            return replace(self, is_over=True, held_back=frozenset(self.starts))
        then = replace(self, starts={**self.starts, **self._left_over(known)})
        if gave_up or not then._ready(known.states):
            return replace(then, is_over=True)
        has_made = then._made(known.states) > then.made
        then = replace(then, patience=PATIENCE if has_made else then.patience - 1)
        return then._round(known.states) if then.patience else replace(then, is_over=True)

    def _round(self, states: Mapping[str, State]) -> Self:
        return replace(self, claims=self._ready(states), made=self._made(states))

    def _ready(self, states: Mapping[str, State]) -> dict[str, int]:
        """Return the runs that can start now: those that work on another's output need it."""
        made = {each for each in self.after.values() if states.get(each) is State.SUCCEEDED}
        # What is to be made anew is as good as not made.
        ready = made - self.starts.keys()
        return {
            run: tried
            for run, tried in self.starts.items()
            if run not in self.after or self.after[run] in ready
        }

    def _made(self, states: Mapping[str, State]) -> int:
        return sum(states.get(run) is State.SUCCEEDED for run in self.wanted)

    def _left_over(self, known: Snapshot) -> dict[str, int]:
        """Return the runs to take up again, with attempts.

        They are those that another apply had in flight and did not finish,
        our own that a machine refused, as others had them meanwhile, that a
        crash kept from beginning, that a scheduler took back, or that work on
        what was made just now.
        """
        left = (run for run in self.wanted if known.states.get(run) in UNFINISHED)
        records = (known.runs[run] for run in left)
        return {each.run.id: len(each.attempts) for each in records if self._is_left(each)}

    def _is_left(self, record: Record) -> bool:
        is_ours = record.run.id in self.started
        if is_ours and record.state is State.LOST:
            return record.last is not None and record.last.target in self.retried
        return record.state is State.PENDING or (not is_ours and record.state in UNFINISHED)
