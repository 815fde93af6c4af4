"""What engines say, line by line, from where it was told last: also by an earlier process."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from cosmos_jobs.apply.in_flight import Watch
from cosmos_jobs.core import atomic
from cosmos_jobs.targets.fleet import Site


class Logs:
    """Tells the logs of batches; `path` keeps how far each was told, and can be deleted."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._offsets = _load(path)
        self._ends: dict[str, str] = {}

    async def stream(self, site: Site, watches: Sequence[Watch]) -> None:
        """Tell what batches of a machine have said since the last time."""
        for watch in watches:
            batch, end = watch.batch.id, watch.status.log
            if end and self._ends.get(batch) != end:
                await self._rest(site, batch)
                self._ends[batch] = end

    async def _rest(self, site: Site, batch: str) -> None:
        while True:
            part, offset = await site.batches.log(batch, self._offsets.get(batch, 0))
            if not part:
                return
            for line in part.decode(errors="replace").splitlines():
                self._tell(f"{batch}  {line}")
            self._offsets[batch] = offset
            self._save()

    def forget(self, batches: Collection[str]) -> None:
        """Keep no place in the logs of batches that have no more to say."""
        self._offsets = {key: at for key, at in self._offsets.items() if key not in batches}
        self._save()

    def _save(self) -> None:
        # Without it, the next process tells some of it again.
        with suppress(OSError):
            atomic.write(self._path, json.dumps(self._offsets).encode())


def _load(path: Path) -> dict[str, int]:
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {str(batch): int(at) for batch, at in json.loads(path.read_bytes()).items()}
    return {}
