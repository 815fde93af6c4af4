"""Share what is made: outputs are published, and those of others come in, checked."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cosmos_jobs import files, foreign
from cosmos_jobs.errors import StoreError
from cosmos_jobs.foreign import Told
from cosmos_jobs.model import IN_FLIGHT, Record
from cosmos_jobs.outputs import MANIFEST, Outputs
from cosmos_jobs.protocols import Shelf
from cosmos_jobs.store import Store, Transaction

AT_ONCE = 4


class Publishing:
    """Between a project's outputs and the `shelf` where a team publishes them.

    Nothing here fails for the shelf: what is wrong there is told by `say`,
    and then left alone by this command.
    """

    def __init__(
        self, shelf: Shelf, store: Store, outputs: Outputs, say: Callable[[str], None]
    ) -> None:
        self._shelf = shelf
        self._store = store
        self._outputs = outputs
        self._say = say
        self._is_over = False
        # The shelf is let go of once nobody is at it.
        self._turn = threading.Lock()
        self._damaged: set[str] = set()
        self._published: set[str] = set()

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those of the runs that are published, as far as can be told."""
        if not runs or self._is_over:
            return frozenset()
        try:
            with self._turn:
                return self._shelf.find(runs)
        except StoreError as error:
            self._give_up(error)
            return frozenset()

    def publish(self, run_id: str) -> None:
        """Publish what a run has made, if it is here as its manifest says."""
        manifest = self._outputs.folder(run_id) / MANIFEST
        if self._is_over or run_id in self._published:
            return
        try:
            told = foreign.manifest(manifest.read_bytes(), run_id, set())
            if told is None or any(_problems(manifest.parent, told)):
                return
            found = {sha256: manifest.parent / name for name, sha256 in told.files.items()}
            with self._turn:
                self._shelf.put(run_id, manifest, found, self._damaged)
            self._published.add(run_id)
        except OSError:
            # It was removed meanwhile.
            return
        except StoreError as error:
            self._give_up(error)

    def publish_missing(self, run_ids: Iterable[str]) -> None:
        """Publish those of the runs that have a manifest here, and none there."""
        here = [
            run_id
            for run_id in run_ids
            if run_id not in self._published and (self._outputs.folder(run_id) / MANIFEST).exists()
        ]
        there = self.find(here)
        for run_id in here:
            if run_id not in there:
                self.publish(run_id)

    def bring(self, run_ids: Collection[str]) -> frozenset[str]:
        """Fetch the outputs of published runs, and record them; return those that came whole."""
        names = {str(each.get("name")) for each in self._store.table("prompts").values()}
        with self._turn, ThreadPoolExecutor(AT_ONCE) as threads:
            told = list(threads.map(lambda each: self._told(each, names), run_ids))
        came = {each.record.run.id: each for each in told if each}
        if not came:
            return frozenset()
        self._published.update(came)
        return self._store.change(lambda change: _record(change, came))

    def close(self) -> None:
        """End what is under way, and let go of the shelf."""
        self._is_over = True
        with self._turn:
            self._shelf.close()

    def _told(self, run_id: str, names: set[str]) -> Told | None:
        """Bring a run's files into `outputs/`, and return what its manifest tells."""
        if self._is_over:
            return None
        try:
            data = self._shelf.manifest(run_id)
            told = foreign.manifest(data, run_id, names)
            if told is None:
                self._refuse(run_id, "its manifest is damaged")
                return None
            with self._outputs.arriving(run_id) as arriving:
                return told if self._arrive(run_id, told, data, arriving) else None
        except (StoreError, OSError) as error:
            self._give_up(error)
            return None

    def _arrive(self, run_id: str, told: Told, data: bytes, arriving: Path) -> bool:
        _fetch(self._shelf, told, arriving)
        for problem, sha256 in _problems(arriving, told):
            self._damaged.add(sha256)
            self._refuse(run_id, problem)
            return False
        files.write(arriving / MANIFEST, data)
        self._outputs.receive(run_id, arriving)
        return True

    def _refuse(self, run_id: str, problem: str) -> None:
        self._say(f"{self._shelf.name}: {run_id} is not taken: {problem}")

    def _give_up(self, error: StoreError | OSError) -> None:
        if not self._is_over:
            self._is_over = True
            self._say(error.message if isinstance(error, StoreError) else str(error))
            if isinstance(error, StoreError) and error.hint:
                self._say(error.hint)


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
        elif files.sha256(folder / name) != sha256:
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
        if known is None or known.output != told.output:
            change.put_runs([_adopted(known, told)])
    return frozenset(made)


def _adopted(known: Record | None, told: Told) -> Record:
    """Return a run's record with what was made elsewhere; its places are those that it has here."""
    if known is None:
        return replace(told.record, jobs={})
    return replace(
        known,
        state=told.record.state,
        reason="",
        attempts=(*known.attempts, *told.record.attempts),
        output=told.output,
    )
