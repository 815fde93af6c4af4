"""Check that outputs and inputs are what the store says, and that nothing else is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import orjson

from cosmos_jobs.artifacts.outputs import LOG, MANIFEST, MAPS, Outputs, safe_files
from cosmos_jobs.config.project import Project
from cosmos_jobs.core import atomic
from cosmos_jobs.core.record import Record, State
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.state.store import Store, Transaction

GIVEN_UP = "verify found its video missing or damaged"
_THREADS = min(4, os.cpu_count() or 1)

Progress = Callable[[int, int], None]
"""Called with the bytes hashed so far and the bytes in all."""


class Kind(StrEnum):
    """What is wrong."""

    MISSING_VIDEO = "missing-video"
    DAMAGED_VIDEO = "damaged-video"
    MISSING_MANIFEST = "missing-manifest"
    MISSING_FILE = "missing-file"
    DAMAGED_FILE = "damaged-file"
    MISSING_LINK = "missing-link"
    OTHER_FILE = "other-file"
    UNKNOWN_RUN = "unknown-run"
    UNKNOWN_FILE = "unknown-file"
    MISSING_INPUT = "missing-input"
    CHANGED_INPUT = "changed-input"
    MISSING_PROMPT = "missing-prompt"


HINTS = {
    Kind.MISSING_VIDEO: "fetch brings it where its machine still has it; else --repair, then apply",
    Kind.DAMAGED_VIDEO: "--repair gives it up, so that apply makes it again",
    Kind.MISSING_MANIFEST: "the video is whole; only where it comes from is lost",
    Kind.MISSING_FILE: "the video is whole; make it again with: apply --force --only RUN",
    Kind.DAMAGED_FILE: "the video is whole; make it again with: apply --force --only RUN",
    Kind.MISSING_LINK: "--repair makes it again",
    Kind.OTHER_FILE: "move it away, then --repair makes the link",
    Kind.UNKNOWN_RUN: "take it over: cosmos-jobs adopt, or delete the folder",
    Kind.UNKNOWN_FILE: "nobody here made it; it is left alone",
    Kind.MISSING_INPUT: "what was made stays; to make it again, bring the file back",
    Kind.CHANGED_INPUT: "what was made stays; apply makes new runs of the file as it is now",
    Kind.MISSING_PROMPT: "applying its job file again brings it back",
}
"""What to do about each."""

VIDEO = frozenset({Kind.MISSING_VIDEO, Kind.DAMAGED_VIDEO})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the store says: about which run or prompt (`id`), and file."""

    kind: Kind
    id: str
    path: str
    repaired: bool = False

    @property
    def hint(self) -> str:
        """What to do about it."""
        return HINTS[self.kind]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at (runs with a video, files, bytes) and what was found."""

    findings: tuple[Finding, ...]
    runs: int
    files: int
    bytes: int

    @property
    def left(self) -> tuple[Finding, ...]:
        """What was found and not repaired."""
        return tuple(each for each in self.findings if not each.repaired)


@dataclass(slots=True)
class _Hashes:
    """The sha256 of files, each read once; None for one that is not there or not readable."""

    sizes: Mapping[Path, int]
    progress: Progress
    known: dict[Path, str | None] = field(default_factory=dict)

    def read(self) -> None:
        done, total = 0, sum(self.sizes.values())
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for path, found in zip(self.sizes, pool.map(_sha256, self.sizes), strict=True):
                self.known[path] = found
                done += self.sizes[path]
                self.progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


def project(
    settings: Project,
    store: Store,
    progress: Progress = lambda done, total: None,
    *,
    repair: bool = False,
) -> Verified:
    """Hash every output and input, and return what is not as the store says.

    With `repair`, and only then, something is changed: links for people that
    are missing are made, and runs whose video is missing or damaged are marked
    as lost, so that apply makes them again. No file is moved or deleted.
    """
    known, outputs = store.snapshot(), Outputs(settings.outputs)
    records = list(known.runs.values())
    made = [
        each
        for each in records
        if each.state is State.SUCCEEDED
        and each.output
        # Where the state is shared, a run that has no folder here was made elsewhere.
        and not (settings.state and not outputs.folder(each.run.id).exists())
    ]
    manifests = {each.run.id: _manifest(outputs, each) for each in made}
    inputs = list(_inputs(settings.root, known, records))
    wanted = {path for path, _, _ in inputs}
    for record in made:
        folder = outputs.folder(record.run.id)
        wanted.add(outputs.video(record))
        wanted.update(folder / name for name in manifests[record.run.id] or ())
    hashes = _Hashes(
        {path: size for path in sorted(wanted) if (size := _size(path)) >= 0}, progress
    )
    hashes.read()
    findings = [
        *(each for record in made for each in _output(outputs, record, manifests, hashes)),
        *_strangers(outputs, records, manifests),
        *_input_findings(settings.root, inputs, hashes),
        *(
            Finding(Kind.MISSING_PROMPT, each.run.id, "")
            for each in records
            if each.run.prompt_id not in known.prompts
        ),
    ]
    findings = _still_so(outputs, findings, known, store.snapshot())
    if repair:
        findings = _repaired(store, outputs, findings, known)
    shown = tuple(replace(each, path=_shown(each.path, settings.root)) for each in findings)
    return Verified(shown, len(made), len(hashes.known), sum(hashes.sizes.values()))


# --- outputs --------------------------------------------------------------------------------


def _manifest(outputs: Outputs, record: Record) -> Mapping[SafePath, str] | None:
    """Return the sha256 of a run's files by name; None without a manifest that can be read."""
    try:
        document = orjson.loads((outputs.folder(record.run.id) / MANIFEST).read_bytes())
        return safe_files(document["files"])
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None


def _output(
    outputs: Outputs,
    record: Record,
    manifests: Mapping[str, Mapping[SafePath, str] | None],
    hashes: _Hashes,
) -> Iterator[Finding]:
    """Yield what is wrong with the files of a run, and with the links to its video."""
    run_id, video = record.run.id, outputs.video(record)
    manifest = manifests[run_id]
    found, made = hashes.known.get(video), record.output
    whole = made is not None and found == made.sha256
    if not whole:
        kind = Kind.DAMAGED_VIDEO if found else Kind.MISSING_VIDEO
        yield Finding(kind, run_id, str(video))
    if manifest is None and found:
        yield Finding(Kind.MISSING_MANIFEST, run_id, str(video.with_name(MANIFEST)))
    for name, sha256 in (manifest or {}).items():
        path = video.parent / name
        now = hashes.known.get(path)
        # Without its video the folder is gone: that says it all.
        if path != video and found and now != sha256:
            kind = Kind.DAMAGED_FILE if now else Kind.MISSING_FILE
            yield Finding(kind, run_id, str(path))
    if whole:
        for place in outputs.places(record):
            if not os.path.lexists(place):
                yield Finding(Kind.MISSING_LINK, run_id, str(place))
            elif not _is_same(place, video, found or ""):
                yield Finding(Kind.OTHER_FILE, run_id, str(place))


def _is_same(place: Path, video: Path, sha256: str) -> bool:
    """Return whether a place has the video: as a link, or as a copy where links fail."""
    if not place.is_file():
        return False
    return place.samefile(video) or (
        place.stat().st_size == video.stat().st_size and _sha256(place) == sha256
    )


def _strangers(
    outputs: Outputs,
    records: Iterable[Record],
    manifests: Mapping[str, Mapping[SafePath, str] | None],
) -> Iterator[Finding]:
    """Yield what is in the outputs folder and no run has left there."""
    records = list(records)
    known = {str(place) for record in records for place in outputs.places(record)}
    ids = {record.run.id for record in records}
    runs = outputs.root / "runs"
    for folder in _entries(runs):
        if folder.name not in ids:
            kind = Kind.UNKNOWN_RUN if folder.is_dir() else Kind.UNKNOWN_FILE
            yield Finding(kind, "", str(folder))
        elif manifest := manifests.get(folder.name):
            own = {str(folder / name) for name in (*manifest, MANIFEST, LOG, *MAPS.values())}
            yield from _unknown(folder, own, folder.name)
    for entry in _entries(outputs.root):
        if entry != runs:
            yield from _unknown(entry, known, "")


def _unknown(top: Path, known: set[str], run_id: str) -> Iterator[Finding]:
    """Yield the files at or below `top` that are not known; hidden ones are nobody's business."""
    if not top.is_dir() or top.is_symlink():
        if str(top) not in known:
            yield Finding(Kind.UNKNOWN_FILE, run_id, str(top))
        return
    for each in _entries(top):
        yield from _unknown(each, known, run_id)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


# --- inputs ---------------------------------------------------------------------------------


def _inputs(
    root: Path, known: Snapshot, records: Iterable[Record]
) -> Iterator[tuple[Path, str, str]]:
    """Yield each input file, its sha256 as the store has it, and whose it is."""
    for prompt_id, prompt in known.prompts.items():
        for role, path in prompt.files.items():
            if sha256 := prompt.prompt.inputs.get(role):
                yield root / path, sha256, prompt_id
    for record in records:
        for name, path in record.files.items():
            if value := record.run.params.get(name):
                yield root / path, str(value), record.run.id


def _input_findings(
    root: Path, inputs: Iterable[tuple[Path, str, str]], hashes: _Hashes
) -> Iterator[Finding]:
    """Yield what happened to input files; one for each file, about the first that needs it."""
    told: set[tuple[Path, str]] = set()
    for path, sha256, owner in inputs:
        found = hashes.known.get(path)
        if found != sha256 and (path, sha256) not in told:
            told.add((path, sha256))
            yield Finding(Kind.CHANGED_INPUT if found else Kind.MISSING_INPUT, owner, str(path))


# --- what somebody else did meanwhile -------------------------------------------------------


def _still_so(
    outputs: Outputs, findings: list[Finding], before: Snapshot, now: Snapshot
) -> list[Finding]:
    """Return the findings but those about what an apply has been at since."""
    if now.serial == before.serial:
        return findings
    new = [now.runs[each] for each in now.states if each not in before.states]
    places = {str(place) for record in new for place in outputs.places(record)}
    places.update(str(outputs.folder(record.run.id)) for record in new)
    return [
        each
        for each in findings
        if each.path not in places
        and (each.id not in before.states or now.runs.get(each.id) == before.runs[each.id])
    ]


# --- repair ---------------------------------------------------------------------------------


def _repaired(
    store: Store, outputs: Outputs, findings: list[Finding], seen: Snapshot
) -> list[Finding]:
    """Repair what is safe; return the findings with a note of what was."""
    broken = {each.id for each in findings if each.kind in VIDEO}

    def give_up(change: Transaction) -> set[str]:
        given_up = set()
        for run_id in broken:
            now = change.run(run_id)
            # Somebody may be making it again just now.
            if now is not None and now == seen.runs[run_id]:
                change.put_runs([replace(now, state=State.LOST, reason=GIVEN_UP, output=None)])
                given_up.add(run_id)
        return given_up

    given_up = store.change(give_up)
    for each in findings:
        # Others may have put a file there: none is ever replaced.
        if each.kind is Kind.MISSING_LINK and not os.path.lexists(each.path):
            atomic.link(outputs.video(seen.runs[each.id]), Path(each.path))
    return [
        replace(
            each,
            repaired=each.id in given_up if each.kind in VIDEO else each.kind is Kind.MISSING_LINK,
        )
        for each in findings
    ]


# --- files ----------------------------------------------------------------------------------


def _sha256(path: Path) -> str | None:
    try:
        return atomic.sha256(path)
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1


def _shown(path: str, root: Path) -> str:
    """Return a path as the store has it: relative to the project where it is in it."""
    return os.path.relpath(path, root) if Path(path).is_relative_to(root) else path
