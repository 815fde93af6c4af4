"""Makes control maps without any run: files for the models that are conditioned on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeAlias

from cosmos_jobs.artifacts.media import VideoError
from cosmos_jobs.engines.preview.cache import Cache
from cosmos_jobs.engines.preview.errors import reason
from cosmos_jobs.engines.preview.passes import fill
from cosmos_jobs.engines.preview.probes import Probes
from cosmos_jobs.engines.preview.recipes import Recipe, clip, computed
from cosmos_jobs.engines.preview.requests import MapRequest

Answer: TypeAlias = Mapping[str, str]
"""`id` with `path` and `sha256` of the map, or with an `error`."""


def make(
    requests: Sequence[MapRequest], cache: Cache, pool: Executor, jobs: int
) -> Iterator[Answer]:
    """Yield an answer for each request once its map is in the cache, video by video."""
    groups: dict[str, list[MapRequest]] = {}
    for request in requests:
        groups.setdefault(request.source.sha256, []).append(request)
    for group in groups.values():
        yield from _of_one_video(group, cache, pool, jobs)


def _of_one_video(
    requests: Sequence[MapRequest], cache: Cache, pool: Executor, jobs: int
) -> Iterator[Answer]:
    probes = Probes()
    planned: dict[str, Recipe] = {}
    for request in requests:
        try:
            cut = clip(probes.look(request.source, "color"), request.params)
            recipe = computed(request.kind, request.source.sha256, cut, request.params)
            planned[request.id] = recipe
        except VideoError as error:
            yield {"id": request.id, "error": reason(error)}
    wanted = dict.fromkeys(planned.values(), requests[0].source.path)
    errors = fill(wanted, cache, pool, jobs, lambda _done, _total: None)
    for request_id, recipe in planned.items():
        yield {"id": request_id, **_made(recipe, cache, errors.get(recipe))}


def _made(recipe: Recipe, cache: Cache, error: Exception | None) -> Answer:
    if error is not None:
        return {"error": reason(error)}
    entry = cache.find(recipe.name())
    if entry is None:
        return {"error": f"the {recipe.kind} map has vanished from the cache"}
    return {"path": str(entry.path.absolute()), "sha256": entry.sha256}
