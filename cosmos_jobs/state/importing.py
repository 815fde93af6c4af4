"""Take prompts and runs over from another project's store, with their ids and videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import orjson

from cosmos_jobs.artifacts.outputs import LOG, MANIFEST, Outputs, safe_files
from cosmos_jobs.config.project import FOLDER, Project
from cosmos_jobs.core import atomic
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record, State
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import StoreError, UsageError
from cosmos_jobs.state import untrusted
from cosmos_jobs.state.store import Store, Transaction

STATE = "state.json"
NO_VIDEO = "its video was not beside the store that it came from"
IN_THE_WAY = "another video is in its folder here"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many prompts and runs are new, and how many of these came with their video.

    `known` runs were here already, `in_flight` ones are the other project's
    business; `odd` are the prompts, runs and enhanced texts that are not what
    their ids say, or not whole. None of these was taken.
    """

    prompts: int = 0
    runs: int = 0
    videos: int = 0
    known: int = 0
    in_flight: int = 0
    odd: int = 0


def located(path: Path) -> Path:
    """Return the state file that a path means: itself, or that of a project's folder."""
    places = (path, path / FOLDER / STATE, path / STATE)
    found = next((each for each in places if each.is_file()), None)
    if found is None:
        raise UsageError(
            f"there is no store in {path}",
            hint=f"name another project's folder, or its {FOLDER}/{STATE}",
        )
    return found


def store(project: Project, ours: Store, path: Path) -> Imported:
    """Take over what the store in `path` has and ours has not; what we have stays as it is.

    Videos in outputs/ beside it are linked or copied if they are, by sha256,
    what it says; a run without one is taken as lost, so that apply makes it,
    or brings it from a machine that has it. Raises UsageError where there is
    no store, StoreError for a damaged or newer one.
    """
    path = located(path)
    if path.resolve() == Path(ours.file.name).resolve():
        raise UsageError(f"{path} is this project's own store", hint="name another project's")
    other = Store(path)
    theirs, known = other.snapshot(), ours.snapshot()
    beside = path.parent.parent if path.parent.name == FOLDER else path.parent
    taken = frozenset(place for each in known.runs.values() for place in each.jobs.items())
    taking = _Taking(project, known, theirs, beside.resolve(), taken, _names(ours) | _names(other))
    # All of it is read before anything is linked: no damage there leaves a half here.
    prompts = taking.prompts()
    batches = taking.batches()
    records = list(taking.runs(prompts, batches))
    enhanced = list(taking.enhanced())
    outputs = Outputs(project.outputs)
    new = [_with_video(each, outputs, Outputs(beside / "outputs")) for each in records]

    def add(change: Transaction) -> tuple[list[PromptRecord], list[Record]]:
        news = [each for each in new if change.run(each.run.id) is None]
        fresh = [each for key, each in prompts.items() if change.prompt(key) is None]
        change.put_prompts(fresh)
        # So that job files that ask for them find the same prompts here.
        change.put_enhanced(enhanced)
        tried = dict.fromkeys(each.batch for record in news for each in record.attempts)
        change.put_batches(batches[each] for each in tried if change.batch(each) is None)
        change.put_runs(news)
        return fresh, news

    fresh, news = ours.change(add)
    for record in news:
        if record.output:
            _link(outputs, record)
    return Imported(
        len(fresh),
        len(news),
        sum(each.output is not None for each in news),
        sum(each in known.states for each in theirs.states),
        taking.in_flight,
        taking.odd,
    )


@dataclass(slots=True)
class _Taking:
    """What of another store can be taken over; what cannot is counted."""

    project: Project
    known: Snapshot
    theirs: Snapshot
    beside: Path
    taken: frozenset[tuple[str, str]]
    names: set[str]
    in_flight: int = 0
    odd: int = 0

    def prompts(self) -> dict[str, PromptRecord]:
        new = {}
        for key in self.theirs.prompts:
            if key in self.known.prompts:
                continue
            each = self._read(
                self.theirs.prompts, key, lambda each: untrusted.prompt(each, self.names)
            )
            if each:
                new[key] = replace(each, files=self._here(each.files))
        return new

    def batches(self) -> dict[str, Batch]:
        """Return the batches that are sound; they are over as far as this project goes."""
        found = {
            key: _sound(self.theirs.batches, key, untrusted.batch) for key in self.theirs.batches
        }
        return {key: replace(each, done=True) for key, each in found.items() if each}

    def enhanced(self) -> Iterator[Enhanced]:
        for key in self.theirs.enhanced:
            if key not in self.known.enhanced:
                each = self._read(self.theirs.enhanced, key, untrusted.enhanced)
                if each:
                    yield each

    def runs(
        self, prompts: Mapping[str, PromptRecord], batches: Mapping[str, Batch]
    ) -> Iterator[Record]:
        """Return the runs of prompts that are new or known here."""
        for run_id, state in self.theirs.states.items():
            if run_id in self.known.states:
                continue
            if state in IN_FLIGHT:
                self.in_flight += 1
                continue
            record = self._read(self.theirs.runs, run_id, untrusted.run)
            if record is None:
                continue
            prompt_id = record.run.prompt_id
            if prompt_id not in prompts and prompt_id not in self.known.prompts:
                self.odd += 1
                continue
            yield replace(
                record,
                # A job of ours with the same name asks for other runs.
                jobs={job: at for job, at in record.jobs.items() if self._is_free(job, at)},
                files=self._here(record.files),
                attempts=tuple(each for each in record.attempts if each.batch in batches),
                passed=(),
            )

    def _read(
        self, table: Mapping[str, _Value], key: str, check: Callable[[_Value], _Value | None]
    ) -> _Value | None:
        found = _sound(table, key, check)
        self.odd += found is None
        return found

    def _is_free(self, job: str, place: str) -> bool:
        return job not in self.known.jobs and (job, place) not in self.taken

    def _here(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Return paths of the other project as ours: the same place here, else where it is."""
        return {name: self._path(path) for name, path in paths.items()}

    def _path(self, path: str) -> str:
        theirs, root = self.beside / path, self.project.root
        if _exists(root / path) or not _exists(theirs):
            return path
        return os.path.relpath(theirs, root) if theirs.is_relative_to(root) else str(theirs)


def _sound(
    table: Mapping[str, _Value], key: str, check: Callable[[_Value], _Value | None]
) -> _Value | None:
    """Return what a table has, or None where it is not whole or not sound."""
    try:
        return check(table[key])
    except StoreError:
        return None


def _names(store: Store) -> set[str]:
    """Return the names of the prompts of a store that was read, whatever else they are."""
    prompts = store.table("prompts").values()
    return {str(each.get("name")) for each in prompts if isinstance(each, dict)}


def _with_video(record: Record, ours: Outputs, theirs: Outputs) -> Record:
    """Return a run that is made with its video here, else as one that is lost."""
    made = record.output
    if record.state is not State.SUCCEEDED:
        return replace(record, output=None)
    if made is None:
        return _lost(record, NO_VIDEO)
    run_id, source = record.run.id, theirs.folder(record.run.id)
    if os.path.lexists(ours.video(record)):
        # What the store has forgotten may be all that is left of it: it is never replaced.
        return record if _is(ours.video(record), made.sha256) else _lost(record, IN_THE_WAY)
    if not _is(source / made.name, made.sha256):
        return _lost(record, NO_VIDEO)
    with ours.arriving(run_id) as arriving:
        atomic.link(source / made.name, arriving / made.name)
        for name, sha256 in _listed(source / MANIFEST).items():
            if name != made.name and _is(source / name, sha256):
                atomic.link(source / name, arriving / name)
        for each in (LOG, MANIFEST):
            if _is_plain(source / each):
                atomic.link(source / each, arriving / each)
        ours.receive(run_id, arriving)
    return record


def _lost(record: Record, reason: str) -> Record:
    return replace(record, state=State.LOST, reason=reason, output=None)


def _link(outputs: Outputs, record: Record) -> None:
    """Make the links for people where nothing is in their way."""
    for place in outputs.places(record):
        if not os.path.lexists(place):
            # A file may stand where a folder is to be.
            with suppress(FileExistsError, NotADirectoryError):
                atomic.link(outputs.video(record), place)


def _listed(manifest: Path) -> Mapping[SafePath, str]:
    """Return the files that a manifest lists; none where it cannot be read or believed."""
    try:
        return safe_files(orjson.loads(manifest.read_bytes())["files"])
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return {}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A folder on the way may be closed to us.
        return False


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is(path: Path, sha256: str) -> bool:
    try:
        return _is_plain(path) and atomic.sha256(path) == sha256
    except (OSError, ValueError):
        return False
