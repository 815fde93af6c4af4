"""How a machine is reached, by its shell and its files: the protocol of every host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """What a script printed; `exit_code` is None when its channel died without one."""

    exit_code: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of this machine that a host is to have: `source`, of this content, as `target`."""

    source: Path
    target: str
    sha256: str


class Host(Protocol):
    """A machine, reached by its shell and its files. Paths are the host's, absolute.

    Every method raises NoContact when the machine does not answer, and any
    other HostError when it answers but cannot do what is asked.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def traffic(self) -> object | None:
        """What connections to it have cost so far, in words by `str`; None where it needs none."""
        ...

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        """Run a POSIX shell script to its end.

        The script travels over standard input: nothing in it shows in a list of processes.
        """
        ...

    async def put(self, uploads: Sequence[Upload]) -> Mapping[str, str]:
        """Bring the files that the host lacks: verified there, renamed into place, read-only.

        Return, by target, what is wrong with those whose source is gone or has
        changed; the others are on the host then.
        """
        ...

    async def get(self, files: Mapping[str, Path]) -> Mapping[str, str]:
        """Fetch those of the files that exist, each renamed into place.

        Return their sha256 by their path on the host; both sides agree on it.
        Raises TransferError when one arrives damaged, also at a second try.
        """
        ...

    async def close(self) -> None:
        """Let go of the machine; what runs there goes on."""
        ...
