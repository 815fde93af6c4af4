"""Makes the runs: maps first, each once, then the outputs of the runs that share a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from cosmos_jobs.artifacts.media import VideoError
from cosmos_jobs.core import atomic
from cosmos_jobs.core.run import CONTROLS
from cosmos_jobs.engines.preview import encoding, manifest, upscale
from cosmos_jobs.engines.preview.cache import Cache, Entry
from cosmos_jobs.engines.preview.encoding import Work
from cosmos_jobs.engines.preview.errors import EXPECTED, reason
from cosmos_jobs.engines.preview.log import Log
from cosmos_jobs.engines.preview.passes import fill
from cosmos_jobs.engines.preview.probes import Probes, Video
from cosmos_jobs.engines.preview.recipes import Recipe, recipes
from cosmos_jobs.engines.preview.requests import Request

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
        probes = Probes()
        for request in requests:
            folder = self.out / request.id
            if (folder / manifest.MANIFEST).exists():
                continue
            try:
                plan = _with_controls if request.params.upscale is None else _upscaled
                yield plan(request, folder, probes)
            except VideoError as error:
                self._fail(request.id, error)

    def _with_maps(self, works: Sequence[Work]) -> list[Work]:
        """Compute the maps that are not in the cache; return the runs that have all of theirs."""
        wanted = {
            recipe: work.request.inputs[recipe.role].path
            for work in works
            for recipe in work.recipes.values()
        }
        errors = fill(wanted, self.cache, self.pool, self.jobs, self.log.computed)
        ready = []
        for work in works:
            broken = next((made for made in work.recipes.values() if made in errors), None)
            if broken is None:
                ready.append(work)
            else:
                self._fail(work.request.id, errors[broken])
        return ready

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
            atomic.link(entry.path, work.folder / "controls" / f"{kind}.mp4")
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
        why = reason(error)
        manifest.write_error(self.out / run, run, why)
        self.log.failed(run, why)


def _with_controls(request: Request, folder: Path, probes: Probes) -> Work:
    seen = {role: probes.look(each, role) for role, each in request.inputs.items()}
    made = recipes(request, seen)
    layers = tuple((weight, made[kind]) for kind, weight in request.weights.items())
    return Work(request, folder, seen["color"].frames, made[CONTROLS[0]].clip, made, layers)


def _upscaled(request: Request, folder: Path, probes: Probes) -> Work:
    color = probes.look(request.inputs["color"], "color")
    made, factor = upscale.recipe(request, color), upscale.factor(color.size)
    return Work(request, folder, color.frames, made.clip, {}, ((1, made),), factor)
