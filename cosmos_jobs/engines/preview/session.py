"""Makes the runs: maps first, each once, then the outputs of the runs that share a clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import av

from cosmos_jobs import files
from cosmos_jobs.engines.preview import encoding, manifest, video
from cosmos_jobs.engines.preview.cache import Cache, Entry
from cosmos_jobs.engines.preview.encoding import EXPECTED, Work
from cosmos_jobs.engines.preview.log import Log
from cosmos_jobs.engines.preview.passes import compute, interpolation
from cosmos_jobs.engines.preview.recipes import Recipe, recipes
from cosmos_jobs.engines.preview.requests import Request, Source
from cosmos_jobs.engines.preview.video import Video, VideoError

_RUNS_AT_ONCE = 8  # encoders that share one decoding of the maps; bounds memory


@dataclass(frozen=True, slots=True)
class Session:
    """Where runs are made, and with what: `pool` has `jobs` threads."""

    out: Path
    cache: Cache
    pool: Executor
    jobs: int
    log: Log

    def make(self, requests: Sequence[Request]) -> None:
        """Make every run that has no manifest yet; one that fails leaves the others alone."""
        works = list(self._plan(requests))
        self.log.expect(sum(work.clip.frames for work in works))
        groups: dict[tuple[str, Video], list[Work]] = {}
        for work in works:
            key = work.request.inputs["color"].sha256, work.clip
            groups.setdefault(key, []).append(work)
        for group in groups.values():
            ready = self._with_maps(group)
            for start in range(0, len(ready), _RUNS_AT_ONCE):
                self._encode(ready[start : start + _RUNS_AT_ONCE])

    def _plan(self, requests: Sequence[Request]) -> Iterator[Work]:
        probes = _Probes()
        for request in requests:
            folder = self.out / request.id
            if (folder / manifest.MANIFEST).exists():
                continue
            try:
                color = probes.look(request.inputs, "color")
                made = recipes(request, color, partial(probes.look, request.inputs))
                yield Work(request, made, folder, color.frames)
            except VideoError as error:
                self._fail(request.id, error)

    def _with_maps(self, works: Sequence[Work]) -> list[Work]:
        """Compute the maps that are not in the cache; return the runs that have all of theirs."""
        errors: dict[Recipe, Exception] = {}
        for path, missing in self._passes(works):
            try:
                self._compute(missing, path)
            except EXPECTED as error:
                errors |= dict.fromkeys(missing, error)
        ready = []
        for work in works:
            broken = next((made for made in work.recipes.values() if made in errors), None)
            if broken is None:
                ready.append(work)
            else:
                self._fail(work.request.id, errors[broken])
        return ready

    def _passes(self, works: Sequence[Work]) -> Iterator[tuple[Path, list[Recipe]]]:
        """Yield the input videos to go through, each with all maps to make on the way."""
        passes: dict[tuple[str, int], tuple[Path, dict[Recipe, None]]] = {}
        for work in works:
            for recipe in work.recipes.values():
                path = work.request.inputs[recipe.role].path
                key = recipe.source, interpolation(recipe)
                passes.setdefault(key, (path, {}))[1][recipe] = None
        for path, wanted in passes.values():
            missing = [recipe for recipe in wanted if not self.cache.find(recipe.name())]
            if missing:
                yield path, missing

    def _compute(self, missing: Sequence[Recipe], path: Path) -> None:
        total, steps = missing[0].clip.frames, count(1)
        with _named(missing[0].role):
            compute(
                missing,
                path,
                self.cache,
                self.pool,
                window=2 * self.jobs,
                tick=lambda: self.log.computed(next(steps), total),
            )

    def _encode(self, works: Sequence[Work]) -> None:
        try:
            errors = encoding.encode(works, self._map_of, self.pool, self.log.encoded)
        except VideoError as error:
            errors = {work.request.id: error for work in works}
        for work in works:
            try:
                if work.request.id in errors:
                    raise errors[work.request.id]
                self._finish(work)
            except EXPECTED as error:
                self._fail(work.request.id, error)

    def _finish(self, work: Work) -> None:
        """Put the maps beside the output, then the manifest, which says that all is there."""
        maps = {kind: self._entry(recipe) for kind, recipe in work.recipes.items()}
        for kind, entry in maps.items():
            files.link(entry.path, work.folder / "controls" / f"{kind}.mp4")
        (work.folder / manifest.ERROR).unlink(missing_ok=True)
        manifest.write(work, maps)
        self.log.made(work.request.id, work.clip.frames)

    def _entry(self, recipe: Recipe) -> Entry:
        entry = self.cache.find(recipe.name())
        if entry is None:
            raise VideoError(f"the {recipe.kind} map has vanished from the cache")
        return entry

    def _map_of(self, recipe: Recipe) -> Path:
        return self._entry(recipe).path

    def _fail(self, run: str, error: Exception) -> None:
        reason = _reason(error)
        manifest.write_error(self.out / run, run, reason)
        self.log.failed(run, reason)


def _reason(error: Exception) -> str:
    """Return what went wrong, on one line; trouble with inputs is a VideoError already."""
    if isinstance(error, OSError | av.FFmpegError):
        return f"its files cannot be written: {error.strerror or type(error).__name__}"
    return " ".join(str(error).split())


class _Probes:
    """Input videos that were looked at, each once, by content."""

    def __init__(self) -> None:
        self._seen: dict[str, Video | VideoError] = {}

    def look(self, inputs: Mapping[str, Source], role: str) -> Video:
        source = inputs[role]
        if source.sha256 not in self._seen:
            try:
                self._seen[source.sha256] = video.probe(source.path)
            except VideoError as error:
                self._seen[source.sha256] = error
        seen = self._seen[source.sha256]
        if isinstance(seen, VideoError):
            raise VideoError(f"the {role} video {seen}") from seen
        return seen


@contextmanager
def _named(role: str) -> Iterator[None]:
    """Complete the message of a VideoError with the video that it is about."""
    try:
        yield
    except VideoError as error:
        raise VideoError(f"the {role} video {error}") from error
