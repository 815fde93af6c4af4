"""A state file on this machine, with its backup and lock beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import StoreError
from cosmos_jobs.state.backends.base import Content

LOCK_TIMEOUT_S = 30.0


class LocalFile:
    """The state file `path`: replaced by rename, under a lock that dies with its process."""

    fresh_s = 0.0

    def __init__(self, path: Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self.backup_path = path.with_name(path.name + ".bak")
        self.name = str(path)
        self._lock_timeout_s = lock_timeout_s

    def read(self, mark: str) -> Content | None:
        """Return the file; None when it is still the one with `mark`."""
        try:
            now = _mark(self.path)
            return None if now == mark else Content(self.path.read_bytes(), now)
        except FileNotFoundError:
            return Content(None, is_lost=self.backup_path.exists())
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from error

    @contextmanager
    def writing(self, mark: str) -> Iterator[_Writing]:
        """Hold the lock."""
        # Readers never lock, and filelock takes 50 ms to import.
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock, timeout=self._lock_timeout_s):
                # What a killed writer left; nobody else writes now.
                for stale in self.path.parent.glob(f".*.{self.path.name}*"):
                    stale.unlink()
                yield _Writing(self, self.read(mark))
        except Timeout as error:
            raise StoreError(
                f"{self.path} is being written by another process", hint="try again in a moment"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def replace(self, data: bytes) -> str:
        """Write under the lock; return the new mark."""
        if self.path.exists():
            atomic.link(self.path, self.backup_path)
        atomic.write(self.path, data)
        return _mark(self.path)

    def backup(self) -> bytes | None:
        """Return the file before the last write."""
        try:
            return self.backup_path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.backup_path}: {error.strerror}") from error

    def restoring(self) -> str:
        """Return what to type to get the backup back."""
        if self.backup_path.exists():
            return f"look at its backup, then restore it: cp {self.backup_path} {self.path}"
        return f"there is no backup; move {self.path} away to start with an empty store"

    def holder(self) -> str:
        """Return whether a process holds the lock; which one it does not tell."""
        from filelock import FileLock, Timeout

        if not Path(self._lock).exists():
            return ""
        try:
            with FileLock(self._lock, timeout=0):
                return ""
        except Timeout:
            return "another process of this machine"

    def close(self) -> None:
        """Nothing to do."""

    @property
    def _lock(self) -> str:
        return f"{self.path}.lock"


class _Writing:
    def __init__(self, file: LocalFile, found: Content | None) -> None:
        self._file = file
        self.found = found

    def write(self, data: bytes) -> str:
        return self._file.replace(data)


def _mark(path: Path) -> str:
    """Return what tells one written state file from the next; each is a new file."""
    stat = path.stat()
    return f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size}"
