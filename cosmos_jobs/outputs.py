"""The outputs folder: `runs/<run id>/` with all that a run made, and links by name for people."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cosmos_jobs import files
from cosmos_jobs.model import Record

_RUN = re.compile(r"rs_[0-9a-f]{16}")


class Outputs:
    """The outputs of a project in `root`; nothing outside it is ever written or deleted."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, run_id: str) -> Path:
        """Return where a run's video, control maps, manifest and log are."""
        if not _RUN.fullmatch(run_id):
            raise ValueError(f"{run_id!r} is not a run id")
        return self.root / "runs" / run_id

    def video(self, run_id: str) -> Path:
        """Return a run's video."""
        return self.folder(run_id) / "output.mp4"

    def place(self, job: str, place: str) -> Path:
        """Return where people find a run of a job: `<job>/<prompt>/<label>.mp4`."""
        return self.root / job / f"{place}.mp4"

    def link(self, record: Record) -> None:
        """Make the links for people, where they are not there yet."""
        video = self.video(record.run.id)
        for place in (self.place(*each) for each in record.jobs.items()):
            if video.exists() and not (place.exists() and place.samefile(video)):
                files.link(video, place)

    def unlink(self, record: Record, places: Iterable[Path]) -> None:
        """Remove links of a run, but no file that somebody else has put there."""
        video = self.video(record.run.id)
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


def _same(place: Path, video: Path) -> bool:
    """Return whether `place` is the video: its link, or where links fail its copy."""
    if not place.is_file() or not video.is_file():
        return False
    return place.samefile(video) or (
        place.stat().st_size == video.stat().st_size and files.sha256(place) == files.sha256(video)
    )
