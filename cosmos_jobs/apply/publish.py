"""Share what is made: outputs are published, and those of others come in, checked."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from cosmos_jobs.apply.remotes.base import Shelf
from cosmos_jobs.apply.remotes.notes import Notes
from cosmos_jobs.artifacts.outputs import MANIFEST, Outputs
from cosmos_jobs.core import atomic
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import IN_FLIGHT, Record, State
from cosmos_jobs.core.run import Run
from cosmos_jobs.errors import StoreAway, StoreError
from cosmos_jobs.state import untrusted
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.state.untrusted import Told

T = TypeVar("T")

AT_ONCE = 4
GROUP = 16
"""So many runs that came are recorded at a time: who is killed has the others' files to fetch."""

ASK_AGAIN_S = 30.0
"""How long a shelf that was away is left alone: who waited for it just now has waited enough."""

CLOSE_TIMEOUT_S = 5
TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Brought:
    """Runs whose published output came whole, and those whose is damaged or another one's.

    What is in neither could not be had just now: `Publishing.troubles` says why.
    """

    came: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


class Publishing:
    """Between a project's outputs and the `shelf` where a team publishes them.

    Work goes on without the shelf: what could not be done is in `troubles`, for
    the end. `notify` is told of runs that came, and for people what goes on.
    """

    def __init__(
        self,
        shelf: Shelf,
        store: Store,
        outputs: Outputs,
        cache: Path,
        notify: Callable[[Event], None],
    ) -> None:
        self._shelf = shelf
        self._store = store
        self._outputs = outputs
        self._notes = Notes(cache / "published.json", shelf.name)
        self._notify = notify
        self._due: dict[str, None] = {}
        self._uploading: asyncio.Task[None] | None = None
        self._recording = asyncio.Lock()
        self._is_dropped = False
        self._at_work = 0
        self._counting = threading.Lock()
        self._taking: StoreError | None = None
        self._putting: StoreError | None = None
        self._ask_again_at = 0.0

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those of the runs that are published, and not known to be damaged.

        When the shelf is away it says so: none. Raises StoreError where it is not as
        the project file says.
        """
        try:
            found = self._shelf.find(runs) if runs else frozenset()
            return found - self._notes.damaged(found)
        except StoreAway as error:
            self._say(f"{error.message}; nothing is taken for published")
            return frozenset()

    def troubles(self) -> tuple[StoreError, ...]:
        """Return why something could not be taken or published."""
        return tuple(each for each in (self._taking, self._putting) if each)

    # --- what others have published ----------------------------------------------------------

    async def find_and_bring(self, runs: Mapping[str, Run]) -> frozenset[str]:
        """Take what is published of runs of which it is not known whether they are."""
        there = await self._behind(lambda: self.find(runs))
        return (await self.bring({each: runs[each] for each in runs if each in there})).came

    async def bring(self, runs: Mapping[str, Run]) -> Brought:
        """Fetch the outputs of published runs, and record those that are what they should be."""
        if not runs:
            return Brought()
        self._say(f"{self._shelf.name}: fetching {len(runs):,} published")
        names = {str(each.get("name")) for each in self._store.table("prompts").values()}
        left = iter(runs.items())
        fresh: dict[str, Told] = {}
        came: set[str] = set()
        refused: set[str] = set()

        async def work() -> None:
            for run_id, run in left:
                if self._taking:
                    return
                told = await self._behind(partial(self._take, run, names))
                if told:
                    fresh[run_id] = told
                elif not self._taking:
                    refused.add(run_id)
                if len(fresh) >= GROUP:
                    came.update(await self._keep(fresh))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        came.update(await self._keep(fresh))
        return Brought(frozenset(came), frozenset(refused))

    async def _keep(self, fresh: dict[str, Told]) -> frozenset[str]:
        """Record runs that came, and forget them; return those that are made now, by whomever."""
        async with self._recording:
            arrived = dict(fresh)
            fresh.clear()
            made: frozenset[str] = frozenset()
            if arrived:
                made = await asyncio.to_thread(
                    self._store.change, lambda change: _record(change, arrived)
                )
        for run_id in made:
            self._notify(Event(Kind.FINISHED, run_id, State.SUCCEEDED, "published"))
        return made

    def _take(self, run: Run, names: set[str]) -> Told | None:
        """Bring a run's files into `outputs/`; return what its manifest tells."""
        try:
            data = self._shelf.manifest(run.id)
            told = untrusted.manifest(data, run.id, names)
            if told is None or told.record.run != run:
                self._notes.damage(run.id)
                self._refuse(run.id, "its manifest is damaged")
            elif self._is_another(told):
                self._refuse(run.id, "what is published is another output than the one made here")
            else:
                with self._outputs.arriving(run.id) as arriving:
                    return told if self._arrive(run.id, told, data, arriving) else None
        except StoreError as error:
            self._taking = error
        except OSError as error:
            self._taking = StoreError(
                f"cannot take {run.id}: {error}", hint="mend that, then repeat: nothing is lost"
            )
        return None

    def _is_another(self, told: Told) -> bool:
        """Return whether a run is known as made with another output."""
        known = self._store.snapshot()
        run_id = told.record.run.id
        if known.states.get(run_id) is not State.SUCCEEDED:
            return False
        return known.runs[run_id].output != told.output

    def _arrive(self, run_id: str, told: Told, data: bytes, arriving: Path) -> bool:
        final = self._outputs.folder(run_id)
        if not any(_problems(final, told)):
            # All of it is here, but for the store.
            atomic.write(final / MANIFEST, data)
            self._notes.publish(run_id, final / MANIFEST)
            return True
        _fetch(self._shelf, told, arriving)
        for problem, sha256 in _problems(arriving, told):
            self._notes.damage(run_id, sha256)
            self._refuse(run_id, problem)
            return False
        atomic.write(arriving / MANIFEST, data)
        self._outputs.receive(run_id, arriving)
        self._notes.publish(run_id, final / MANIFEST)
        return True

    def _refuse(self, run_id: str, problem: str) -> None:
        self._say(f"{self._shelf.name}: {run_id} is not taken: {problem}")

    # --- what we publish ----------------------------------------------------------------------

    def publish(self, run_id: str) -> None:
        """Have a run published that has arrived; `uploaded` waits for that."""
        if self._is_dropped:
            return
        self._due[run_id] = None
        if self._uploading is None or self._uploading.done():
            self._uploading = asyncio.create_task(self._upload())

    async def _upload(self) -> None:
        while self._due:
            run_id = next(iter(self._due))
            del self._due[run_id]
            await self._behind(partial(self._try, run_id))
            if self._putting:
                # Each would wait as long: `publish_missing` tries again.
                self._due.clear()

    async def uploaded(self, timeout_s: float | None = None) -> None:
        """Wait until what is due is published, for `timeout_s` at most."""
        if self._uploading:
            await asyncio.wait([self._uploading], timeout=timeout_s)
            if self._uploading.done():
                self._uploading.result()

    async def publish_missing(self, run_ids: Iterable[str]) -> None:
        """Publish what of the runs is here, and is not known to be published as it is."""
        await self.uploaded()
        if time.monotonic() < self._ask_again_at:
            return
        self._putting = None
        missing = [each for each in run_ids if self._is_missing(each)]
        if len(missing) > 1:
            self._say(f"{self._shelf.name}: publishing {len(missing):,} runs made before")
        told = time.monotonic()
        for number, run_id in enumerate(missing):
            if self._putting:
                return
            if time.monotonic() - told >= TELL_EVERY_S:
                told = time.monotonic()
                self._say(f"{self._shelf.name}: published {number:,} of {len(missing):,}")
            await self._behind(partial(self._try, run_id))

    def drop(self) -> None:
        """Leave to a later command what is not published yet."""
        self._is_dropped = True
        self._due.clear()

    def let_go(self) -> None:
        """Close what connects us with the shelf."""
        self._shelf.close()

    async def close(self) -> None:
        """Let go of the shelf; what does not end soon is left to end by itself."""
        self.drop()
        await asyncio.to_thread(self._notes.save)
        if not self._at_work:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._behind(self.let_go)

    def _is_missing(self, run_id: str) -> bool:
        manifest = self._outputs.folder(run_id) / MANIFEST
        return manifest.exists() and not self._notes.has(run_id, manifest)

    def _try(self, run_id: str) -> None:
        """Publish a run, unless that was refused before; say what went wrong."""
        if self._putting and not isinstance(self._putting, StoreAway):
            return
        try:
            self._put(run_id)
        except StoreError as error:
            self._putting = error
            self._ask_again_at = time.monotonic() + ASK_AGAIN_S
        except OSError:
            # It was removed meanwhile.
            return

    def _put(self, run_id: str) -> None:
        """Publish what a run has made, if it is here as its manifest says, and newer than there."""
        manifest = self._outputs.folder(run_id) / MANIFEST
        data = manifest.read_bytes()
        told = untrusted.manifest(data, run_id, set())
        if told is None or any(_problems(manifest.parent, told)):
            return
        contents = {sha256: manifest.parent / name for name, sha256 in told.files.items()}
        damaged = self._notes.damaged([run_id, *contents])
        theirs = untrusted.manifest(self._shelf.manifest(run_id), run_id, set())
        if damaged or _is_newer(told, theirs):
            self._shelf.put(run_id, manifest, contents, damaged)
        self._notes.publish(run_id, manifest, contents)

    def _say(self, line: str) -> None:
        self._notify(Event(Kind.NOTE, reason=line))

    async def _behind(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread for which nobody waits at the end of the program."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                tell = partial(done.set_result, work())
            except BaseException as error:
                tell = partial(done.set_exception, error)
            self._count(-1)
            tell()

        self._count(1)
        done.set_running_or_notify_cancel()
        threading.Thread(target=run, daemon=True).start()
        return await asyncio.wrap_future(done)

    def _count(self, more: int) -> None:
        with self._counting:
            self._at_work += more


def _is_newer(ours: Told, theirs: Told | None) -> bool:
    """Return whether ours is to replace what is published."""
    if theirs is None:
        return True
    made = [each.record.attempts[-1].finished or 0.0 for each in (ours, theirs)]
    return ours.output != theirs.output and made[0] > made[1]


def _fetch(shelf: Shelf, told: Told, folder: Path) -> None:
    """Fetch each content once, whatever names it has."""
    first: dict[str, Path] = {}
    for name, sha256 in told.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        first.setdefault(sha256, folder / name)
    shelf.get(first)
    for name, sha256 in told.files.items():
        if first[sha256] != folder / name and first[sha256].exists():
            shutil.copyfile(first[sha256], folder / name)


def _problems(folder: Path, told: Told) -> Iterator[tuple[str, str]]:
    """Say what is wrong with the files of a run, each with the sha256 that was to be."""
    for name, sha256 in told.files.items():
        if not (folder / name).is_file():
            yield f"{name} is missing", sha256
        elif atomic.sha256(folder / name) != sha256:
            yield f"{name} is damaged", sha256
    output = folder / told.output.name
    if output.is_file() and output.stat().st_size != told.output.size:
        yield f"{output.name} has another size than its manifest says", told.output.sha256


def _record(change: Transaction, came: Mapping[str, Told]) -> frozenset[str]:
    """Put the runs that came; return those that are made now, by whomever."""
    made = set()
    for run_id, told in came.items():
        known = change.run(run_id)
        if known is not None and known.state in IN_FLIGHT:
            continue
        made.add(run_id)
        if change.prompt(told.prompt.prompt.id) is None:
            change.put_prompts([told.prompt])
        if known is None or known.state is not State.SUCCEEDED:
            change.put_runs([_adopted(known, told)])
    return frozenset(made)


def _adopted(known: Record | None, told: Told) -> Record:
    """Return a run's record with what was made elsewhere; its places are those that it has here."""
    if known is None:
        return replace(told.record, jobs={})
    attempts = [each for each in told.record.attempts if each.batch not in known.batches]
    return replace(
        known,
        state=told.record.state,
        reason="",
        attempts=(*known.attempts, *attempts),
        output=told.output,
    )
