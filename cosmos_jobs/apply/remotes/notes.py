"""What this machine knows of a shelf, so that it need not ask again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import orjson

from cosmos_jobs.core import atomic


class Notes:
    """What this machine knows of a shelf; a cache that can be deleted at any time.

    It has the manifests, by their run and what `stat` says of them, that are
    published, and what is damaged there: runs, and contents by their sha256.
    """

    def __init__(self, path: Path, shelf: str) -> None:
        self._path = path
        self._shelf = shelf
        self._is_changed = False
        self._published: dict[str, str] = {}
        self._damaged: set[str] = set()
        """Ids of runs, and digests."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = orjson.loads(path.read_bytes())
            if found["shelf"] == shelf:
                self._published = dict(found["published"])
                self._damaged = set(found["damaged"])

    def has(self, run_id: str, manifest: Path) -> bool:
        """Return whether a run is known to be published as its manifest is here."""
        return self._published.get(run_id) == _signature(manifest)

    def publish(self, run_id: str, manifest: Path, contents: Collection[str] = ()) -> None:
        """Note that a run is published, and that these contents of it are whole."""
        self._published[run_id] = _signature(manifest)
        self._damaged.difference_update(contents, [run_id])
        self._is_changed = True

    def damage(self, *which: str) -> None:
        """Note that a run or a content is damaged there."""
        self._damaged.update(which)
        self._is_changed = True

    def damaged(self, which: Iterable[str]) -> set[str]:
        """Return those of some runs or contents that are damaged there."""
        return self._damaged.intersection(which)

    def save(self) -> None:
        """Keep what is new."""
        if self._is_changed:
            self._is_changed = False
            values = {"published": self._published, "damaged": sorted(self._damaged)}
            with suppress(OSError):
                atomic.write(self._path, orjson.dumps({"shelf": self._shelf, **values}))


def _signature(manifest: Path) -> str:
    try:
        found = manifest.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
