"""State files of each kind, on real servers, for the tests that all kinds have to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from cosmos_jobs.state.backends.base import StateFile
from cosmos_jobs.state.backends.host import RemoteFile
from cosmos_jobs.state.backends.local import LocalFile
from cosmos_jobs.state.backends.s3 import ObjectFile
from cosmos_jobs.state.store import Store, Transaction
from cosmos_jobs.targets.hosts.ssh.host import SSHHost

KINDS = ("local", "remote", "objects")


@dataclass(frozen=True)
class Kept:
    """Where a state is kept: `place` is a path, a host's folder, or a URL; it can be pickled."""

    kind: str
    place: str
    host: str = ""

    def open(self, *, lock_timeout_s: int = 30, connect_timeout_s: float = 60) -> StateFile:
        """Return the state file, as one client has it."""
        match self.kind:
            case "local":
                return LocalFile(Path(self.place), lock_timeout_s)
            case "remote":
                host = SSHHost(self.host, connect_timeout_s=connect_timeout_s)
                return RemoteFile(host, self.place, "ann@laptop", lock_timeout_s)
        return ObjectFile(self.place)


@dataclass(frozen=True)
class Bench:
    """A place of a kind, and how the file there is got at without us."""

    kept: Kept
    get: Callable[[], bytes]
    put: Callable[[bytes], None]
    remove: Callable[[], None]


def count(store: Store, writer: int) -> None:
    """Count one more in a common place, and in one of the writer's own."""

    def work(change: Transaction) -> None:
        names = "all", f"writer-{writer}"
        change.put_jobs({each: str(int(change.job(each) or 0) + 1) for each in names})

    store.change(work)


def count_many(kept: Kept, writer: int, times: int) -> None:
    """Count in a process of its own."""
    # On a busy machine, eight of them may wait long for one another.
    store = Store(kept.open(lock_timeout_s=600), "ann@laptop")
    for _ in range(times):
        count(store, writer)
    store.file.close()


def hold(kept: Kept, held: Event) -> None:
    """Hold the lock for ever, in a process of its own."""
    with kept.open().writing(""):
        held.set()
        time.sleep(600)
