"""What batches have made: markers are read, finished runs are brought into `outputs/`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from cosmos_jobs import digests, documents, files
from cosmos_jobs.errors import TransferError
from cosmos_jobs.model import Outcome, Output, PromptRecord, Record, State, Status
from cosmos_jobs.outputs import MANIFEST, Outputs
from cosmos_jobs.sites import Site
from cosmos_jobs.watches import Watch

FETCHES_AT_ONCE = 4
VIDEO = "output.mp4"


async def look(site: Site, watches: Sequence[Watch]) -> bool:
    """Ask a machine how its batches stand, and read their new markers; return if any is new."""
    found = await site.executor.poll([watch.batch.id for watch in watches])
    new = {watch.batch.id: _unread(watch, found[watch.batch.id]) for watch in watches}
    new = {batch: names for batch, names in new.items() if names}
    texts = await site.executor.read(new) if new else {}
    changed = False
    for watch in watches:
        status = found[watch.batch.id]
        changed |= status != watch.status
        watch.texts.update(texts.get(watch.batch.id, {}))
        watch.status, watch.looked = status, True
        told = watch.engine.outcomes(watch.batch, status, watch.texts)
        watch.outcomes = {**told, **watch.outcomes}
    return changed


def _unread(watch: Watch, status: Status) -> list[str]:
    listed = set(status.files) - watch.texts.keys()
    markers = watch.engine.markers(watch.batch).values()
    return [name for names in markers for name in names if name in listed]


class Collector:
    """Brings what batches have made into a project's `outputs`."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._room = asyncio.Semaphore(FETCHES_AT_ONCE)

    def due(self, watch: Watch) -> list[str]:
        """Return the runs that are made, but not here and not on their way."""
        return [
            run_id
            for run_id, outcome in watch.outcomes.items()
            if outcome.state is State.SUCCEEDED
            and run_id not in watch.outputs
            and run_id not in watch.ended
            and run_id not in watch.fetching
        ]

    async def fetch(self, site: Site, watch: Watch, record: Record, prompt: PromptRecord) -> None:
        """Bring a finished run's files here; what does not arrive as a video is a failure.

        Raises NoContact: then nothing is decided.
        """
        run_id, outcome = record.run.id, watch.outcomes[record.run.id]
        with self._outputs.arriving(run_id) as arriving:
            try:
                async with self._room:
                    made = await _brought(site, watch, outcome, arriving)
            except TransferError as error:
                made = error.message
            if isinstance(made, str):
                watch.outcomes[run_id] = Outcome(State.FAILED, made)
                return
            (arriving / "log.txt").write_text(watch.status.log)
            document = _manifest(site, watch, record, prompt, outcome, made)
            files.write(arriving / MANIFEST, document)
            self._outputs.receive(run_id, arriving)
        self._outputs.link(record)
        watch.outputs[run_id] = made

    def keep_log(self, watch: Watch, run_id: str) -> None:
        """Leave the end of the batch's log where a run's files are: also where it failed."""
        folder = self._outputs.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text(watch.status.log)


async def _brought(site: Site, watch: Watch, outcome: Outcome, folder: Path) -> Output | str:
    """Fetch the files of a run into a folder; return its video, or what is wrong with them."""
    names = {site.executor.path(watch.batch.id, path): name for name, path in outcome.files.items()}
    sha256 = await site.host.get({path: folder / name for path, name in names.items()})
    found = {name: sha256.get(path, "") for path, name in names.items()}
    return await asyncio.to_thread(_checked, folder, found, outcome)


def _checked(folder: Path, found: Mapping[str, str], outcome: Outcome) -> Output | str:
    """Return the video among the files `found`, by name with their sha256, or what is wrong."""
    for name, sha256 in found.items():
        if not sha256:
            return f"a file is missing: {name}"
        if outcome.digests.get(name, sha256) != sha256:
            return f"{name} is not what the engine wrote: it was damaged later, on that machine"
    video = folder / VIDEO
    seen = digests.probe(video)
    if isinstance(seen, str):
        return f"the engine's output is no video: {seen}"
    return Output(found[VIDEO], video.stat().st_size, seen.frames)


def _manifest(
    site: Site,
    watch: Watch,
    record: Record,
    prompt: PromptRecord,
    outcome: Outcome,
    output: Output,
) -> bytes:
    """Return a run's full provenance as JSON: what was asked, where it ran, what came of it."""
    document = {
        "run": asdict(record.run),
        "prompt": {**documents.prompt_document(prompt), "id": prompt.prompt.id},
        "jobs": record.jobs,
        "output": asdict(output),
        "batch": watch.batch.id,
        "companions": [run for run in watch.batch.runs if run != record.run.id],
        "target": watch.batch.target,
        "host": site.name,
        "gpu": watch.status.gpu,
        "attempt": len(record.attempts),
        "started": watch.status.started,
        "engine": outcome.details,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
