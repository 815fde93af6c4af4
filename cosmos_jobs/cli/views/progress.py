"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import click

from cosmos_jobs.cli.views.diagnostics import visible
from cosmos_jobs.cli.views.plans import duration, plural
from cosmos_jobs.core.events import Event, Kind, Lane
from cosmos_jobs.core.record import REFUSED_OR_BROKEN
from cosmos_jobs.plan.model import STARTS, Action, Planned

LINE_EVERY_S = 10.0
HASHING_AFTER_S = 0.5

Place = Callable[[str], str | None]
"""Tells what people call a run: its place in a job; nothing when that is unknown."""


class Tally:
    """Counts what the events tell: runs done and failed, frames per second, time left."""

    def __init__(self, runs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.runs = runs
        self.done = 0
        self.failed = 0
        self._clock = clock
        self._began = clock()
        self._frames = 0
        self._finished_frames = 0

    def add(self, event: Event) -> None:
        """Count an event."""
        if event.kind is Kind.FINISHED:
            self.done += 1
            self.failed += event.state in REFUSED_OR_BROKEN
        elif event.kind is Kind.PROGRESS:
            # A batch that has ended leaves the sum: what it made stays counted.
            if event.frames < self._frames:
                self._finished_frames += self._frames
            self._frames = event.frames

    def text(self) -> str:
        """Return `3 of 8 runs, 1 failed, 55 frames/s, 40 s left`."""
        elapsed = max(self._clock() - self._began, 1e-6)
        known = f"{self.done:,} of {self.runs:,} runs"
        parts = [known if self.runs else plural(self.done, "run")]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        frames = self._finished_frames + self._frames
        parts += [f"{frames / elapsed:.0f} frames/s"] if frames else []
        left = (self.runs - self.done) * elapsed / self.done if self.done else 0
        parts += [f"{duration(left)} left"] if left > 0 else []
        return ", ".join(parts)


def pending(planned: Planned) -> frozenset[str]:
    """Return the runs that are to be made, waited for, or taken as they are published."""
    awaited = STARTS | {Action.WAIT, Action.TAKE}
    return frozenset(each.run_id for each in planned.plan.changes if each.action in awaited)


def reporter(
    planned: Planned, *, quiet: bool, verbose: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    """Give what apply tells its events to."""
    tally = Tally(len(pending(planned)))
    place = {each.run.id: f"{each.job}/{each.place}" for each in planned.desired}.get
    return _telling(_bar, tally, place, quiet=quiet, verbose=verbose)


@contextmanager
def _telling(
    display: Callable[..., AbstractContextManager[Callable[[Event], None]]],
    tally: Tally,
    place: Place,
    *,
    quiet: bool,
    verbose: bool,
) -> Iterator[Callable[[Event], None]]:
    """Yield what takes events: a display on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with display(tally, place, verbose=verbose) as notify:
            yield notify
    else:
        yield _lines(tally, place, verbose=verbose)


@contextmanager
def _bar(tally: Tally, place: Place, *, verbose: bool) -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(24), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(tally.text(), total=tally.runs)

        def notify(event: Event) -> None:
            tally.add(event)
            progress.update(task, completed=tally.done, description=tally.text())
            if line := _line(event, place, verbose=verbose):
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield notify


def _lines(tally: Tally, place: Place, *, verbose: bool) -> Callable[[Event], None]:
    last = time.monotonic()

    def notify(event: Event) -> None:
        nonlocal last
        tally.add(event)
        # The summary has the whole reason.
        if line := _line(event, place, verbose=verbose, brief=True):
            click.echo(line, err=True)
        if event.kind is not Kind.NOTE and time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            click.echo(tally.text(), err=True)

    return notify


def lanes(
    place: Place, runs: int, *, quiet: bool, verbose: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    """Give what a watch tells its events to: on a terminal it shows what each GPU is at.

    How many `runs` there will be is 0 when that is not known.
    """
    return _telling(_live, Tally(runs), place, quiet=quiet, verbose=verbose)


@contextmanager
def _live(tally: Tally, place: Place, *, verbose: bool) -> Iterator[Callable[[Event], None]]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, transient=True, refresh_per_second=4) as live:

        def notify(event: Event) -> None:
            tally.add(event)
            if event.kind is Kind.PROGRESS:
                shown = event.lanes[: max(1, console.height // 2 - 2)]
                rows = [Text(row, no_wrap=True, overflow="ellipsis") for row in _rows(shown)]
                live.update(Group(*rows, Text(tally.text())))
            if line := _line(event, place, verbose=verbose):
                live.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield notify


def _rows(shown: Sequence[Lane]) -> Iterator[str]:
    """Return two lines a batch: where it is and how far, and the end of its log."""
    for lane in shown:
        gpu = f"GPU {lane.gpu}" if lane.gpu else "CPU"
        where = gpu if lane.started is not None else "waits"
        yield f"{lane.host}  {where:<6}  {lane.batch}  {lane.done} of {lane.runs} runs"
        yield f"  {visible(lane.waits_for or lane.tail)}"


def _line(event: Event, place: Place, *, verbose: bool, brief: bool = False) -> str:
    """Return the line of a run that did not succeed, or with `verbose` of any that ended.

    What is to be said of a machine is always said.
    """
    if event.kind is Kind.NOTE:
        return event.reason
    if event.kind is Kind.LOG:
        return visible(event.reason)
    if event.kind is not Kind.FINISHED or (event.state not in REFUSED_OR_BROKEN and not verbose):
        return ""
    said = event.reason.splitlines()[: 1 if brief else None]
    reason = f": {'; '.join(said)}" if said else ""
    known = filter(None, (event.state, event.run_id, place(event.run_id)))
    return f"{'  '.join(known)}{reason}"


class Hashing:
    """Shows which file is being hashed, once it takes long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}

    def __call__(self, path: str, done: int, total: int) -> None:
        """Take a file's path, the bytes hashed and the bytes in all."""
        now = self._clock()
        if now - self._began.setdefault(path, now) >= HASHING_AFTER_S:
            end = "\n" if done >= total else ""
            percent = 100 * done // max(total, 1)
            click.echo(f"\rhashing {visible(path)}: {percent} %\x1b[K{end}", nl=False, err=True)


@contextmanager
def counting(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows on a terminal's stderr how many runs are done: `measured 3 of 8 runs`."""

    def tell(done: int, total: int) -> None:
        click.echo(f"\r{verb} {done:,} of {plural(total, 'run')}\x1b[K", nl=False, err=True)

    try:
        yield tell
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)
