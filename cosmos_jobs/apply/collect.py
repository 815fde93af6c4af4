"""What batches have made: markers are read, finished runs are brought into `outputs/`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs.apply.in_flight import Damaged, Fetched, InFlight, Polled
from cosmos_jobs.apply.manifest import Made, manifest
from cosmos_jobs.artifacts import digests
from cosmos_jobs.artifacts.outputs import LOG, MANIFEST, NAMES, Outputs, safe_files
from cosmos_jobs.core import atomic, serialize
from cosmos_jobs.core.batch import Outcome, Status
from cosmos_jobs.core.record import Output, PromptRecord, Record
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.core.safe_path import SafePath, UnsafePath
from cosmos_jobs.engines import exit_status
from cosmos_jobs.errors import TransferError
from cosmos_jobs.targets.fleet import Machine

GROWING = ".ndjson"


async def look(machine: Machine, batches: Sequence[InFlight]) -> dict[str, Polled]:
    """Ask a machine how its batches stand, and read their new markers; return what is seen."""
    found = await machine.executor.poll([each.id for each in batches])
    new = {each.id: names for each in batches if (names := _unread(each, found[each.id]))}
    texts = await machine.batches.read(new) if new else {}
    return {
        each.id: _polled(machine, each, found[each.id], texts.get(each.id, {})) for each in batches
    }


def _polled(machine: Machine, batch: InFlight, status: Status, new: Mapping[str, str]) -> Polled:
    told = batch.engine.outcomes(batch.batch, status, {**batch.texts, **new})
    # A machine may tell of runs that it was never given.
    ours = set(batch.batch.runs)
    covered = {run: _covered(_safe(each), machine) for run, each in told.items() if run in ours}
    return Polled(status, new, covered)


def _safe(outcome: Outcome) -> Outcome:
    """Return the outcome if its files stay in the run's folder, whatever engine told of them."""
    try:
        return replace(outcome, files=safe_files(outcome.files))
    except UnsafePath as error:
        return exit_status.misnamed(error)


def _covered(outcome: Outcome, machine: Machine) -> Outcome:
    """Return the outcome without secrets: an exception may have quoted one."""
    return replace(outcome, reason=masked(outcome.reason, machine.secrets))


def _unread(batch: InFlight, status: Status) -> list[str]:
    """Return the files to read that exist.

    Those that grow are read again each time, and those of runs that are not
    told yet, as they may have been read while they were written.
    """
    markers = batch.engine.markers(batch.batch)
    open_ = {name for run, names in markers.items() if run not in batch.outcomes for name in names}
    wanted = dict.fromkeys((serialize.ASKED, *(name for each in markers.values() for name in each)))
    listed = set(status.files)
    return [
        name
        for name in wanted
        if name in listed and (name not in batch.texts or name in open_ or name.endswith(GROWING))
    ]


class Collector:
    """Brings what batches have made into a project's `outputs`."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    async def fetch(
        self, machine: Machine, batch: InFlight, record: Record, prompt: PromptRecord
    ) -> Fetched | Damaged:
        """Bring a finished run's files here; what does not arrive as a video is a failure.

        Raises NoContact: then nothing is decided.
        """
        run_id, outcome = record.run.id, batch.outcomes[record.run.id]
        with self._outputs.arriving(run_id) as arriving:
            try:
                made = await _brought(machine, batch, outcome, arriving)
            except TransferError as error:
                made = error.message
            if isinstance(made, str):
                return Damaged(run_id, made)
            (arriving / LOG).write_text(batch.status.log)
            document = manifest(machine, batch, record, prompt, made)
            atomic.write(arriving / MANIFEST, document)
            self._outputs.receive(run_id, arriving)
        self._outputs.link(replace(record, output=made.output))
        return Fetched(run_id, made.output)

    def keep_log(self, batch: InFlight, run_id: str) -> None:
        """Leave the end of the batch's log where a run's files are: also where it failed."""
        folder = self._outputs.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG).write_text(batch.status.log)


async def _brought(machine: Machine, batch: InFlight, outcome: Outcome, folder: Path) -> Made | str:
    """Fetch the files of a run into a folder; return what they are, or what is wrong with them."""
    names = {machine.batches.path(batch.id, path): name for name, path in outcome.files.items()}
    sha256 = await machine.host.get({path: folder / name for path, name in names.items()})
    found = {name: sha256.get(path, "") for path, name in names.items()}
    return await asyncio.to_thread(_checked, folder, found, outcome)


def _checked(folder: Path, found: Mapping[SafePath, str], outcome: Outcome) -> Made | str:
    """Return what the files `found` are, by name with their sha256, or what is wrong."""
    for name, sha256 in found.items():
        if not sha256:
            return f"a file is missing: {name}"
        if outcome.digests.get(name, sha256) != sha256:
            return f"{name} is not what the engine wrote: it was damaged later, on that machine"
    output = next((name for name in NAMES if name in found), None)
    if output is None:
        return "the engine made no output"
    seen = digests.probe(folder / output)
    if isinstance(seen, str):
        return f"the engine's output is no video: {seen}"
    size = (folder / output).stat().st_size
    return Made(Output(found[output], size, seen.frames, output), found)
