"""What engines say, line by line, from where it was told last: also by an earlier process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from cosmos_jobs.apply.in_flight import FINAL, InFlight
from cosmos_jobs.core import atomic
from cosmos_jobs.targets.fleet import Machine

LOG_PAUSE_S = 0.5


class Logs:
    """Tells the logs of batches; `path` keeps how far each was told, and can be deleted."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._offsets = _load(path)
        self._ends: dict[str, str] = {}

    async def stream(self, machine: Machine, batches: Sequence[InFlight]) -> None:
        """Tell what batches of a machine have said since the last time."""
        for each in batches:
            end = each.status.log
            if end and self._ends.get(each.id) != end:
                await self._rest(machine, each.id)
                self._ends[each.id] = end

    async def _rest(self, machine: Machine, batch: str) -> None:
        while True:
            part, offset = await machine.batches.log(batch, self._offsets.get(batch, 0))
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


async def tell_log(
    machine: Machine, batch: str, tell: Callable[[bytes], None], *, follow: bool
) -> None:
    """Tell a batch's log part by part, with `follow` until it has ended."""
    offset = 0
    while True:
        # First: what is written until it is seen to have ended is read after that.
        ended = not follow or (await machine.executor.poll([batch]))[batch].life in FINAL
        while True:
            part, offset = await machine.batches.log(batch, offset)
            if not part:
                break
            tell(part)
        if ended:
            return
        await asyncio.sleep(LOG_PAUSE_S)


def _load(path: Path) -> dict[str, int]:
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {str(batch): int(at) for batch, at in json.loads(path.read_bytes()).items()}
    return {}
