"""Take prompts and runs over from another project's store, with their ids and videos."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from cosmos_jobs import files, identity, schema
from cosmos_jobs.errors import UsageError
from cosmos_jobs.model import (
    IN_FLIGHT,
    Batch,
    PromptRecord,
    Record,
    Snapshot,
    State,
)
from cosmos_jobs.outputs import MANIFEST, Outputs
from cosmos_jobs.project import FOLDER, Project
from cosmos_jobs.store import Store

STATE = "state.json"
LOG = "log.txt"
NO_VIDEO = "its video was not beside the store that it came from"
IN_THE_WAY = "another video is in its folder here"

_RUN = re.compile(r"rs_[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many prompts and runs are new, and how many of these came with their video.

    `known` runs were here already, `in_flight` ones are the other project's
    business, `odd` ones are not what their ids say; none of these was taken.
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
    if path.resolve() == ours.path.resolve():
        raise UsageError(f"{path} is this project's own store", hint="name another project's")
    theirs, known = Store(path).snapshot(), ours.snapshot()
    beside = path.parent.parent if path.parent.name == FOLDER else path.parent
    taken = frozenset(place for each in known.runs.values() for place in each.jobs.items())
    taking = _Taking(project, known, theirs, beside.resolve(), taken)
    prompts = {each.prompt.id: each for each in taking.prompts()}
    records = list(taking.runs())
    outputs = Outputs(project.outputs)
    new = [_with_video(each, outputs, Outputs(beside / "outputs")) for each in records]
    with ours.transaction() as change:
        news = [each for each in new if change.run(each.run.id) is None]
        fresh = [each for key, each in prompts.items() if change.prompt(key) is None]
        batches = taking.batches(news)
        change.put_prompts(fresh)
        # So that job files that ask for them find the same prompts here.
        change.put_enhanced(theirs.enhanced.values())
        change.put_batches(each for each in batches if change.batch(each.id) is None)
        change.put_runs(news)
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
    in_flight: int = 0
    odd: int = 0

    def prompts(self) -> Iterator[PromptRecord]:
        for prompt_id, each in self.theirs.prompts.items():
            prompt = each.prompt
            same = identity.prompt(prompt.text, prompt.negative, prompt.inputs).id == prompt_id
            if same and prompt_id not in self.known.prompts:
                yield replace(each, files=self._here(each.files))

    def runs(self) -> Iterator[Record]:
        for run_id, state in self.theirs.states.items():
            if run_id in self.known.states:
                continue
            if state in IN_FLIGHT:
                self.in_flight += 1
                continue
            record = self.theirs.runs[run_id]
            if not self._is_sound(record):
                self.odd += 1
                continue
            batches = self.theirs.batches
            yield replace(
                record,
                # A job of ours with the same name asks for other runs.
                jobs={job: at for job, at in record.jobs.items() if self._is_free(job, at)},
                files=self._here(record.files),
                attempts=tuple(each for each in record.attempts if each.batch in batches),
                passed=(),
            )

    def batches(self, records: Iterable[Record]) -> list[Batch]:
        ids = dict.fromkeys(each.batch for record in records for each in record.attempts)
        return [replace(self.theirs.batches[each], done=True) for each in ids]

    def _is_sound(self, record: Record) -> bool:
        """Return whether a run is what its id says, as far as can be told here."""
        run = record.run
        prompt = self.theirs.prompts.get(run.prompt_id) or self.known.prompts.get(run.prompt_id)
        if not _RUN.fullmatch(run.id) or prompt is None:
            return False
        told = prompt.prompt
        if identity.prompt(told.text, told.negative, told.inputs).id != run.prompt_id:
            return False
        if run.engine not in schema.engines():
            return True
        contract = schema.contract(run.engine)
        if contract.version != run.contract:
            return True
        return identity.run(run.prompt_id, contract, run.weights, run.params).id == run.id

    def _is_free(self, job: str, place: str) -> bool:
        parts = f"{job}/{place}".split("/")
        # It becomes a path below outputs/.
        is_inside = not any(part in ("", ".", "..", "runs") for part in parts)
        return is_inside and job not in self.known.jobs and (job, place) not in self.taken

    def _here(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Return paths of the other project as ours: the same place here, else where it is."""
        return {name: self._path(path) for name, path in paths.items()}

    def _path(self, path: str) -> str:
        theirs, root = self.beside / path, self.project.root
        if (root / path).exists() or not theirs.exists():
            return path
        return os.path.relpath(theirs, root) if theirs.is_relative_to(root) else str(theirs)


def _with_video(record: Record, ours: Outputs, theirs: Outputs) -> Record:
    """Return a run that is made with its video here, else as one that is lost."""
    made = record.output
    if record.state is not State.SUCCEEDED or made is None:
        return record
    run_id, source = record.run.id, theirs.folder(record.run.id)
    if Path(made.name).name != made.name:
        return _lost(record, NO_VIDEO)
    if os.path.lexists(ours.video(record)):
        # What the store has forgotten may be all that is left of it: it is never replaced.
        return record if _is(ours.video(record), made.sha256) else _lost(record, IN_THE_WAY)
    if not _is(source / made.name, made.sha256):
        return _lost(record, NO_VIDEO)
    with ours.arriving(run_id) as arriving:
        files.link(source / made.name, arriving / made.name)
        for name, sha256 in _listed(source / MANIFEST).items():
            if name != made.name and _is(source / name, sha256):
                files.link(source / name, arriving / name)
        for name in (LOG, MANIFEST):
            if _is_plain(source / name):
                files.link(source / name, arriving / name)
        ours.receive(run_id, arriving)
    return record


def _lost(record: Record, reason: str) -> Record:
    return replace(record, state=State.LOST, reason=reason, output=None)


def _link(outputs: Outputs, record: Record) -> None:
    """Make the links for people where nothing is in their way."""
    for place in outputs.places(record):
        if not os.path.lexists(place):
            files.link(outputs.video(record), place)


def _listed(manifest: Path) -> dict[str, str]:
    """Return the files that a manifest lists, of those that are below its folder."""
    try:
        found = orjson.loads(manifest.read_bytes())["files"].items()
        return {
            str(name): str(sha256)
            for name, sha256 in found
            if not Path(name).is_absolute() and ".." not in Path(name).parts
        }
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return {}


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is(path: Path, sha256: str) -> bool:
    try:
        return _is_plain(path) and files.sha256(path) == sha256
    except OSError:
        return False
