"""A shared state that is not there yet: the first write takes the local one along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from cosmos_jobs.errors import AnswerIsNo, StoreError
from cosmos_jobs.state.backends.base import Content, StateFile, Writing
from cosmos_jobs.state.backends.delegate import Wrapped
from cosmos_jobs.state.backends.local import LocalFile

MOVED = ".moved"
"""What is added to the name of a local state that was moved."""

_HERE = "here "


class Moving(Wrapped):
    """A shared state; while it does not exist, the state that this machine has at `path`.

    The first write writes that one, with its lineage, to the shared place, and
    renames the local file. `say` is told so, and when both exist and have
    nothing to do with each other.
    """

    def __init__(self, file: StateFile, path: Path, say: Callable[[str], None]) -> None:
        super().__init__(file)
        self._local = LocalFile(path)
        self._say = say
        self._told = False
        self._is_left = False

    def read(self, mark: str) -> Content | None:
        """Return the shared state, else the local one."""
        return self._chosen(self._file.read(_shared(mark)), mark)

    @contextmanager
    def writing(self, mark: str) -> Iterator[Writing]:
        """Let the shared state be replaced."""
        with self._file.writing(_shared(mark)) as writing:
            found = self._chosen(writing.found, mark)
            if self._is_left:
                _retire(self._local)
            yield _Writing(self, writing, found, was_here=_is_here(found.mark if found else mark))

    def place(self, found: Content) -> str:
        """Return where a state is that was read."""
        if _is_here(found.mark):
            return f"{self._local.path}; the next write moves it to {self.name}"
        return self.name

    def check_movable(self) -> None:
        """Raise AnswerIsNo unless the next write moves the local state."""
        here, there = self._local.read(""), self._file.read("")
        if here is None or not here.data:
            raise AnswerIsNo(
                f"there is no state at {self._local.path} to move",
                hint="what is shared: cosmos-jobs state show",
            )
        shared = there.data if there else None
        if shared is not None and not _has_all(shared, here.data):
            raise AnswerIsNo(
                f"{self.name} is another state than {self._local.path}; nothing was changed",
                hint=self._way_out(shared, here.data),
            )

    def moved(self) -> None:
        """Note that the shared state exists now, and has all that was here."""
        _retire(self._local)
        self._say(f"The state of this project is now {self.name}.")

    def _chosen(self, found: Content | None, mark: str) -> Content | None:
        if found is None or not self._local.path.exists():
            return found
        if found.data is None and not found.is_lost:
            here = self._local.read(mark.removeprefix(_HERE) if _is_here(mark) else "")
            if here is None:
                return None
            return Content(here.data, _HERE + here.mark) if here.data else found
        if found.data is not None:
            self._compare(found.data)
        return found

    def _compare(self, shared: bytes) -> None:
        """See that a local state beside a shared one is not forgotten: it may be another one."""
        local = self._local.read("")
        # An empty one is about to get what `state pull` writes.
        if local is None or not local.data:
            return
        if _has_all(shared, local.data):
            # A process was killed just after the move; only writers tidy up.
            self._is_left = True
        elif not self._told:
            self._told = True
            self._say(
                f"{self._local.path} is a state of its own; {self.name} does not know it.\n"
                f"  {self._way_out(shared, local.data)}; then remove it"
            )

    def _way_out(self, shared: bytes, local: bytes) -> str:
        if _has_all(local, shared):
            return f"it is later: cosmos-jobs state push {self._local.path}"
        return f"take over what it has: cosmos-jobs import {self._local.path}"


class _Writing:
    def __init__(
        self, file: Moving, writing: Writing, found: Content | None, *, was_here: bool
    ) -> None:
        self._file = file
        self._writing = writing
        self._was_here = was_here
        self.found = found

    def write(self, data: bytes) -> str:
        mark = self._writing.write(data)
        if self._was_here:
            self._file.moved()
        return mark


def _shared(mark: str) -> str:
    return "" if _is_here(mark) else mark


def _is_here(mark: str) -> bool:
    return mark.startswith(_HERE)


def _has_all(later: bytes, earlier: bytes) -> bool:
    """Return whether a state came of another one, as its last writes tell."""
    one, other = _meta(later), _meta(earlier)
    last = other.get("writes", ())[-1:]
    return one.get("lineage") == other.get("lineage") and (
        not last or last[0] in one.get("writes", ())
    )


def _meta(data: bytes) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = orjson.loads(data)["meta"]["store"]
    except (ValueError, KeyError, TypeError):
        return {}
    return meta


def _retire(local: LocalFile) -> None:
    try:
        # Another process may have done it.
        with suppress(FileNotFoundError):
            local.path.replace(local.path.with_name(local.path.name + MOVED))
    except OSError as error:
        raise StoreError(f"cannot rename {local.path}: {error.strerror}") from error
