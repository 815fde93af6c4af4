"""Finished maps, kept by what they were made from.

Each is `<name>.mp4` with `<name>.json` beside it, which is written last and
holds the digest. Both are renamed into place, and the same recipe gives the
same bytes, so any number of programs may share a cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cosmos_jobs.core import atomic

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.[a-z]+-[0-9a-f]{32}\.(mp4|json)")
"""The names of `files.replacing`, of maps and their labels."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished map: its file and that file's digest."""

    path: Path
    sha256: str


class Cache:
    """A folder of maps; a damaged one counts as not there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._checked: dict[str, Entry] = {}

    def sweep(self, before: float) -> None:
        """Remove what killed programs left here: temporary files last written `before` a time.

        The time is in seconds since 1970.
        """
        for path in self._root.glob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                with suppress(OSError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def find(self, name: str) -> Entry | None:
        """Return the map of this name, its content checked once per program, or None."""
        if name not in self._checked:
            path = self._root / f"{name}.mp4"
            try:
                recorded = json.loads(self._label(name).read_bytes())["sha256"]
                intact = atomic.sha256(path) == recorded
            except (OSError, ValueError, KeyError, TypeError):
                return None
            if not intact:
                return None
            self._checked[name] = Entry(path, recorded)
        return self._checked[name]

    @contextmanager
    def adding(self, name: str) -> Iterator[Path]:
        """Give a temporary path for the map `name`; it is kept if the block does not raise."""
        path = self._root / f"{name}.mp4"
        with atomic.replacing(path) as temporary:
            yield temporary
            digest = atomic.sha256(temporary)
        label = json.dumps({"sha256": digest})
        atomic.write(self._label(name), label.encode())
        self._checked[name] = Entry(path, digest)

    def _label(self, name: str) -> Path:
        return self._root / f"{name}.json"
