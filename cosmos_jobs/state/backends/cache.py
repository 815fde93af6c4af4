"""The last copy of a shared state on this machine: what is known of it spares sending it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import StoreAway
from cosmos_jobs.state.backends.base import Content, StateFile, Writing
from cosmos_jobs.state.backends.delegate import Wrapped

ASK_AGAIN_S = 30.0
_SPANS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


class Copied(Wrapped):
    """A shared state of which a copy is kept in `path`, a file that can be deleted at any time.

    With `offline`, readers get the copy when the state is out of reach; it is
    told how old that is, once. Without `asking` they get it in any case, if there
    is one.
    """

    def __init__(
        self,
        file: StateFile,
        path: Path,
        offline: Callable[[str], None] | None = None,
        *,
        asking: bool = True,
    ) -> None:
        super().__init__(file)
        self._path = path
        self._offline = offline
        self._told = False
        self._away_until = 0.0
        self._asking = asking

    def read(self, mark: str) -> Content | None:
        """Return the state; the copy when it is still that, or where nothing else is to be had."""
        copy = None if mark else self._copy()
        if copy and not self._asking:
            return copy
        try:
            if time.monotonic() < self._away_until:
                return copy
            found = self._file.read(copy.mark if copy else mark)
        except StoreAway as error:
            if self._offline is None or not (mark or copy):
                raise
            self._away_until = time.monotonic() + ASK_AGAIN_S
            self._tell(error)
            # Who has a mark has what it is of.
            return copy
        return self._seen(found, copy)

    @contextmanager
    def writing(self, mark: str) -> Iterator[Writing]:
        """Let the state be replaced, and the copy with it."""
        copy = None if mark else self._copy()
        with self._file.writing(copy.mark if copy else mark) as writing:
            yield _Writing(self, writing, self._seen(writing.found, copy))

    def keep(self, content: Content) -> None:
        """Make the copy; a machine without room for it has none."""
        if content.data is not None:
            head = orjson.dumps({"of": self.name, "mark": content.mark})
            with suppress(OSError):
                atomic.write(self._path, head + b"\n" + content.data)

    def _seen(self, found: Content | None, copy: Content | None) -> Content | None:
        """Return what was found by someone who had a copy; note that it is as it is now."""
        if found is None:
            with suppress(OSError):
                self._path.touch()
            return copy
        self.keep(found)
        return found

    def _copy(self) -> Content | None:
        """Return the copy, if it is one of this state."""
        try:
            head, _, data = self._path.read_bytes().partition(b"\n")
            told = orjson.loads(head)
            return Content(data, str(told["mark"])) if told["of"] == self.name else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _tell(self, error: StoreAway) -> None:
        if self._offline is not None and not self._told:
            self._told = True
            age = _span(time.time() - self._path.stat().st_mtime)
            self._offline(f"{error.message}\n  This is as it was {age} ago.")


class _Writing:
    def __init__(self, file: Copied, writing: Writing, found: Content | None) -> None:
        self._file = file
        self._writing = writing
        self.found = found

    def write(self, data: bytes) -> str:
        mark = self._writing.write(data)
        self._file.keep(Content(data, mark))
        return mark


def _span(seconds: float) -> str:
    """Return a time in the largest unit that fits."""
    for name, size in _SPANS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count != 1 else ''}"
    return "less than a minute"
