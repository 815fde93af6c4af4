"""Measure the videos of runs, each once: what was measured is kept by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from cosmos_jobs.artifacts.digests import Digests, FileDigest
from cosmos_jobs.artifacts.outputs import MANIFEST, MAPS, MAPS_FOLDER, Outputs
from cosmos_jobs.checks import registry
from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.config.project import Project
from cosmos_jobs.core import atomic
from cosmos_jobs.core.record import Record
from cosmos_jobs.core.run import RUN
from cosmos_jobs.core.snapshot import Snapshot

if TYPE_CHECKING:
    from cosmos_jobs.checks.video import Subject

COVERS = "cosmos3"
"""The engine that cuts its input to the output's shape; the others stretch it."""

NO_SEEDS = "there is no measured run of another seed"

Progress = Callable[[int, int], None]
"""Called with the runs measured so far and the runs in all."""

_File = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class _Task:
    """A run's video with what it is compared with: by role, path and sha256."""

    record: Record
    video: Path
    given: Mapping[str, _File]
    own: Mapping[str, _File]
    source: Path | None = None

    @property
    def run_id(self) -> str:
        """The run."""
        return self.record.run.id

    @property
    def key(self) -> str:
        """What makes two measurements the same: all content that they depend on."""
        output = self.record.output
        covers, has_ssim = self.record.run.engine == COVERS, _has_ssim()
        document = {
            "how": [registry.VERSION, covers, has_ssim, output.sha256 if output else ""],
            "given": {role: sha256 for role, (_, sha256) in self.given.items()},
            "own": {role: sha256 for role, (_, sha256) in self.own.items()},
        }
        return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def _has_ssim() -> bool:
    """Return whether scikit-image is installed; to look is slow, and it is asked for each run."""
    return find_spec("skimage") is not None


class Evaluation:
    """The measurements of a project."""

    def __init__(self, project: Project, known: Snapshot) -> None:
        self._root = project.root
        self._known = known
        self._outputs = Outputs(project.outputs)
        self._folder = project.cache / "metrics"
        self._digests = Digests(project.cache / "digests.json")

    def recall(self, records: Sequence[Record]) -> dict[str, Measured]:
        """Return what was measured before, by run id: no video is read."""
        # Mostly little was, and what is not there is quicker seen in a list of all.
        there = {each.name for each in self._folder.glob("*.json")}
        tasks = self._tasks(records) if there else ()
        keys = {each.run_id: each.key for each in tasks}
        found = {each: self._kept(key) for each, key in keys.items() if f"{key}.json" in there}
        return _with_diversity(records, found)

    def measure(self, records: Sequence[Record], progress: Progress) -> dict[str, Measured]:
        """Measure the videos that were not measured before; return all, by run id.

        Runs without a video are left out.
        """
        tasks = list(self._tasks(records))
        found = {each.run_id: self._kept(each.key) for each in tasks}
        missing = [each for each in tasks if found[each.run_id] is None]
        done = len(tasks) - len(missing)
        for task, measured in zip(missing, self._measured(missing), strict=True):
            found[task.run_id] = measured
            self._keep(task, measured)
            done += 1
            progress(done, len(tasks))
        return _with_diversity(records, found)

    def _measured(self, missing: Sequence[_Task]) -> Iterator[Measured]:
        if not missing:
            return
        from cosmos_jobs.checks import video as video_numbers

        subjects = [self._subject(each) for each in missing]
        self._digests.save()
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            yield from pool.map(video_numbers.measure, subjects)
        finally:
            pool.shutdown(cancel_futures=True)

    def _subject(self, task: _Task) -> Subject:
        """Return a task's files, without those inputs that are no longer what they were."""
        from cosmos_jobs.checks.video import Subject

        given = {
            role: path
            for role, (path, sha256) in task.given.items()
            if getattr(self._digests.file(path), "sha256", "") == sha256
        }
        return Subject(
            task.video,
            given,
            {role: path for role, (path, _) in task.own.items()},
            picture(task.video),
            picture(task.source) if task.source else None,
            task.record.run.engine == COVERS,
        )

    def _tasks(self, records: Iterable[Record]) -> Iterator[_Task]:
        for record in records:
            if record.output is None:
                continue
            video = self._outputs.video(record)
            source = self._source(record)
            given = dict(self._inputs(record))
            if source and source.output:
                given = {"color": (self._outputs.video(source), source.output.sha256)}
            own = dict(self._own_maps(video))
            yield _Task(record, video, given, own, given["color"][0] if source else None)

    def _source(self, record: Record) -> Record | None:
        """Return the run whose output a run upscales, if its video is here."""
        prompt = self._known.prompts.get(record.run.prompt_id)
        source = prompt.prompt.inputs.get(RUN) if prompt else None
        found = self._known.runs.get(source) if source else None
        return found if found and found.output else None

    def _inputs(self, record: Record) -> Iterator[tuple[str, _File]]:
        prompt = self._known.prompts.get(record.run.prompt_id)
        for role, path in prompt.files.items() if prompt else ():
            if prompt and (sha256 := prompt.prompt.inputs.get(role)):
                yield role, (self._root / path, sha256)

    def _own_maps(self, video: Path) -> Iterator[tuple[str, _File]]:
        names = MAPS if (video.parent / MAPS_FOLDER).is_dir() else {}
        for role, name in names.items():
            path = video.parent / name
            if path.is_file() and isinstance(found := self._digests.file(path), FileDigest):
                yield role, (path, found.sha256)

    def _kept(self, key: str) -> Measured | None:
        try:
            document = orjson.loads((self._folder / f"{key}.json").read_bytes())
            return Measured(
                {str(name): float(each) for name, each in document["values"].items()},
                {str(name): str(each) for name, each in document["why"].items()},
                tuple(int(each, 16) for each in document["hashes"]),
            )
        except (AttributeError, KeyError, OSError, TypeError, ValueError):
            return None

    def _keep(self, task: _Task, measured: Measured) -> None:
        """Keep what was measured, unless a file was missing that may come back."""
        if not measured.hashes or not _is_settled(task, measured):
            return
        hashes = [f"{each:016x}" for each in measured.hashes]
        document = {"values": measured.values, "why": measured.why, "hashes": hashes}
        # A cache that cannot be written is no reason to fail.
        with suppress(OSError):
            atomic.write(self._folder / f"{task.key}.json", orjson.dumps(document))


def _is_settled(task: _Task, measured: Measured) -> bool:
    """Return whether nothing that the store has of the input was missing."""
    return "edge_f1" in measured.values or not task.given


def _with_diversity(
    records: Iterable[Record], found: Mapping[str, Measured | None]
) -> dict[str, Measured]:
    """Return the measurements, each with the diversity among those of other seeds."""
    measured = {run_id: each for run_id, each in found.items() if each}
    groups: dict[str, list[str]] = {}
    for record in records:
        if record.run.id in measured:
            groups.setdefault(but_for_the_seed(record), []).append(record.run.id)
    for members in groups.values():
        values = registry.diversity([measured[run_id].hashes for run_id in members])
        for run_id, value in zip(members, values, strict=True):
            measured[run_id] = _with_one(measured[run_id], value)
    return measured


def _with_one(one: Measured, diversity: float | None) -> Measured:
    if diversity is None:
        return replace(one, why={**one.why, "diversity": NO_SEEDS})
    return replace(one, values={**one.values, "diversity": diversity})


def but_for_the_seed(record: Record) -> str:
    """Return what runs have in common that differ in their seeds alone."""
    run = record.run
    params = {name: value for name, value in run.params.items() if name != "seed"}
    document = [run.prompt_id, run.engine, run.weights, params]
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def picture(video: Path) -> tuple[int, int] | None:
    """Return width and height of a preview's picture, which has a caption below it."""
    try:
        size = orjson.loads(video.with_name(MANIFEST).read_bytes())["engine"]["picture"]
        return int(size["width"]), int(size["height"])
    except (KeyError, OSError, TypeError, ValueError):
        return None


def ranked(
    records: Sequence[Record], measured: Mapping[str, Measured], by: str
) -> tuple[Record, ...]:
    """Return runs by a metric, the best first; those without it are last, in their order."""
    sign = 1 if registry.BY_NAME[by].better < 0 else -1

    def rank(record: Record) -> tuple[bool, float]:
        one = measured.get(record.run.id)
        value = one.values.get(by) if one else None
        return value is None, 0.0 if value is None else sign * value

    return tuple(sorted(records, key=rank))
