"""A state file that is another one, but for what it does in its own way."""

from __future__ import annotations

from contextlib import AbstractContextManager

from cosmos_jobs.state.backends.base import Content, StateFile, Writing


class Wrapped:
    """Does as the state file `file` does."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._file.name

    @property
    def fresh_s(self) -> float:
        """How long what was read may be taken for what is there."""
        return self._file.fresh_s

    def read(self, mark: str) -> Content | None:
        """Return the file; None when it is still the one with `mark`."""
        return self._file.read(mark)

    def writing(self, mark: str) -> AbstractContextManager[Writing]:
        """Let the file be replaced."""
        return self._file.writing(mark)

    def backup(self) -> bytes | None:
        """Return an earlier one."""
        return self._file.backup()

    def restoring(self) -> str:
        """Return what to type to get the backup back."""
        return self._file.restoring()

    def holder(self) -> str:
        """Return who keeps others from writing."""
        return self._file.holder()

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
