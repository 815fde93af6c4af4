"""Where the store's one file is kept: the protocol of every backend."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """A state file as it was found: its bytes, None when there is none.

    The `mark` tells it from the next one, "" that there is none. One that
    `is_lost` is gone while its backup is there: somebody took it away.
    """

    data: bytes | None
    mark: str = ""
    is_lost: bool = False


class Unwritten(Exception):
    """A state file may not have been written: others were quicker, or contact was lost.

    Whether it was is for the next reader to find out, in what is there by then.
    """


class Writing(Protocol):
    """The time in which a state file may be replaced; `found` is None if it is as it was known."""

    @property
    def found(self) -> Content | None:
        """What is there now."""
        ...

    def write(self, data: bytes) -> str:
        """Replace it as a whole, durably, and return its new mark; the file before is the backup.

        Raises Unwritten.
        """
        ...


class StateFile(Protocol):
    """Where the store's one file is kept: on this machine, or where several share it.

    Every method raises StoreError, and StoreAway when the place does not answer.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def fresh_s(self) -> float:
        """How long a reader may take what was read for what is there: to look has its price."""
        ...

    def read(self, mark: str) -> Content | None:
        """Return the file, without a lock; None when it is still the one with `mark`."""
        ...

    def writing(self, mark: str) -> AbstractContextManager[Writing]:
        """Let the file be replaced: while in it, nobody else can, or only one of us will have.

        Raises Unwritten when it has to be begun again.
        """
        ...

    def backup(self) -> bytes | None:
        """Return the file before the last write, or an older one; None when there is none."""
        ...

    def restoring(self) -> str:
        """Return what to type to get the backup back."""
        ...

    def holder(self) -> str:
        """Return who keeps others from writing just now, in words; "" when nobody does."""
        ...

    def close(self) -> None:
        """Let go of it; it can be used again."""
        ...
