"""Where a team's outputs are published: the protocol of every remote."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol


class Shelf(Protocol):
    """Where a team's outputs are published: files by their sha256, and a manifest for each run.

    The manifest is written last. What is read may be damaged or anybody's: it is
    for the reader to check. Every method blocks, may be called by several
    threads, and raises StoreError, StoreAway when the place does not answer.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those of the runs that have a manifest."""
        ...

    def manifest(self, run: str) -> bytes:
        """Return a run's manifest; empty when there is none, or it is too long to be one."""
        ...

    def get(self, files: Mapping[str, Path]) -> None:
        """Fetch contents, by sha256, as these files; what is not there is left out."""
        ...

    def put(
        self, run: str, manifest: Path, files: Mapping[str, Path], anew: Collection[str] = ()
    ) -> None:
        """Publish a run: the contents that are not there, those of `anew` in any case; then it."""
        ...

    def close(self) -> None:
        """Let go of it; it can be used again."""
        ...
