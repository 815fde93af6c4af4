"""The outputs folder: `runs/<run id>/` with all that a run made, and links by name for people."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cosmos_jobs.core import atomic
from cosmos_jobs.core.record import VIDEO, Record, State
from cosmos_jobs.core.safe_path import SafePath, UnsafePath
from cosmos_jobs.core.snapshot import Snapshot

T = TypeVar("T")

MANIFEST = "manifest.json"
LOG = "log.txt"
NAMES = (VIDEO, SafePath("output.jpg"))
"""What a run's output may be called: a video, or the image of a run of one frame."""

MAPS_FOLDER = "maps"
MAPS = {role: f"{MAPS_FOLDER}/{role}.mp4" for role in ("depth", "segmentation")}
"""Maps of an output, which people may put beside it to have them compared with the input's."""

_RUN = re.compile(r"rs_[0-9a-f]{16}")
_ARRIVING = re.compile(r"\.rs_[0-9a-f]{16}\.[0-9a-f]{8}")


def safe_files(told: Mapping[Any, T]) -> dict[SafePath, T]:
    """Return what is told of a run's files, by name, by somebody else: the one door for these.

    Raises UnsafePath for a name that would lead out of the run's folder, that is
    a folder of another one, or that is a file of ours.
    """
    safe = {SafePath(name): each for name, each in told.items()}
    folders = {str(each) for name in safe for each in PurePosixPath(name).parents}
    for name in safe:
        if name in folders or name.split("/")[0] in (MANIFEST, LOG):
            raise UnsafePath(f"{name[:80]!a} is the name of something else there")
    return safe


class Outputs:
    """The outputs of a project in `root`; nothing outside it is ever written or deleted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._is_swept = False

    def folder(self, run_id: str) -> Path:
        """Return where a run's video, control maps, manifest and log are."""
        if not _RUN.fullmatch(run_id):
            raise ValueError(f"{run_id!r} is not a run id")
        return self.root / "runs" / run_id

    def video(self, record: Record) -> Path:
        """Return where a run's video or image is, or will be."""
        return self.folder(record.run.id) / (record.output.name if record.output else NAMES[0])

    @contextmanager
    def arriving(self, run_id: str) -> Iterator[Path]:
        """Yield a folder beside a run's own, for files that are not checked yet.

        It goes with all that is left in it.
        """
        self._sweep()
        final = self.folder(run_id)
        folder = final.with_name(f".{run_id}.{secrets.token_hex(4)}")
        # It gets its name once it is locked: others sweep away what nobody has locked.
        new = folder.with_name(f".new{folder.name}")
        new.mkdir(parents=True)
        try:
            with _locked(new):
                new.rename(folder)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove, once, what killed processes left: what nobody has locked is nobody's."""
        if self._is_swept:
            return
        self._is_swept = True
        for left in (self.root / "runs").glob(".rs_*"):
            with _locked(left) as ours:
                if ours and _ARRIVING.fullmatch(left.name):
                    shutil.rmtree(left, ignore_errors=True)

    def receive(self, run_id: str, arriving: Path) -> None:
        """Put all files of a folder that arrived into a run's own, the manifest last."""
        final = self.folder(run_id)
        arrived = [each for each in arriving.rglob("*") if each.is_file()]
        for each in sorted(arrived, key=lambda each: each.name == MANIFEST):
            place = final / each.relative_to(arriving)
            place.parent.mkdir(parents=True, exist_ok=True)
            each.replace(place)

    def place(self, job: str, place: str, suffix: str = ".mp4") -> Path:
        """Return where people find a run of a job: `<job>/<prompt>/<label>.mp4`.

        Raises ValueError for what would lead out of the outputs folder.
        """
        parts = (job, *place.split("/"))
        if "/" in job or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError(f"{job!r} with {place!r} is no place in outputs/")
        return self.root / job / f"{place}{suffix}"

    def places(self, record: Record) -> list[Path]:
        """Return where people find a run: one place in each of its jobs."""
        suffix = self.video(record).suffix
        return [self.place(job, place, suffix) for job, place in record.jobs.items()]

    def lost(self, run_ids: Iterable[str], known: Snapshot) -> tuple[str, ...]:
        """Return those of the runs whose video was made, and is no longer here as it was."""
        made = [each for each in run_ids if known.states.get(each) is State.SUCCEEDED]
        return tuple(each for each in made if not self._is_here(each, known.sizes.get(each)))

    def _is_here(self, run_id: str, size: int | None) -> bool:
        folder = f"{self.root}/runs/{run_id}"
        # A record, which says what the output is called, takes long to read.
        return any(_size(f"{folder}/{name}") == size for name in NAMES)

    def link(self, record: Record) -> None:
        """Make the links for people, where they are not there yet."""
        video = self.video(record)
        for place in self.places(record):
            if video.exists() and not (place.exists() and place.samefile(video)):
                atomic.link(video, place)

    def unlink(self, record: Record, places: Iterable[Path]) -> None:
        """Remove links of a run, but no file that somebody else has put there."""
        video = self.video(record)
        for place in places:
            if _same(place, video):
                place.unlink()
                # Only empty folders go.
                with suppress(OSError):
                    place.parent.rmdir()
                    place.parent.parent.rmdir()

    def remove(self, record: Record) -> None:
        """Delete a run's folder."""
        folder = self.folder(record.run.id)
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)

    def size(self, run_id: str) -> int:
        """Return how many bytes a run's folder holds."""
        return sum(each.stat().st_size for each in self.folder(run_id).rglob("*") if each.is_file())


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, as long as we live; False where another does, or none can be had."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        ours = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            ours = False
        yield ours
    finally:
        os.close(handle)


def _same(place: Path, video: Path) -> bool:
    """Return whether `place` is the video: its link, or where links fail its copy."""
    if not place.is_file() or not video.is_file():
        return False
    return place.samefile(video) or (
        place.stat().st_size == video.stat().st_size
        and atomic.sha256(place) == atomic.sha256(video)
    )


def _size(path: str) -> int:
    """Return a file's bytes; -1 when it is not there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - 10,000 Path objects take 20 ms
    except OSError:
        return -1
