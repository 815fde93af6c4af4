"""How batches are queued on a host: the protocol of every executor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cosmos_jobs.config.project import Installation
from cosmos_jobs.core.batch import Batch, Command, Status
from cosmos_jobs.core.safe_path import SafePath


@dataclass(frozen=True, slots=True)
class Order:
    """A batch and all that a host needs to run it.

    `description` says what it is for, to whoever finds it there. `known` maps
    runs to the batches that we know to have had them on this host: a batch
    that we do not know of is news, and the order is refused. `secrets` are
    values of the installation's `${NAME}` variables. The engine may take
    `limit_s` seconds. `inputs` are the sha256 of the files that it reads.
    """

    batch: Batch
    command: Command
    installation: Installation
    description: bytes = b""
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    limit_s: int | None = None
    inputs: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """Something on a host that nobody needs any more: a batch or an input, and its bytes."""

    name: str
    size: int


class Executor(Protocol):
    """How batches are queued on a host. Every method may be repeated without harm."""

    @property
    def slots(self) -> int:
        """How many batches run at a time."""
        ...

    @property
    def at_once(self) -> int:
        """How many batches are best submitted together."""
        ...

    async def submit(self, orders: Sequence[Order]) -> None:
        """Start batches; one that was ever claimed, by anyone, is not started again."""
        ...

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand, in one round trip."""
        ...

    async def find(self, runs: Sequence[str]) -> Mapping[str, str]:
        """Return the batches that runs were last given to on the host, by whomever."""
        ...

    async def batches(self) -> Sequence[str]:
        """Return all batches that the host has a folder of."""
        ...

    async def describe(self, batches: Collection[str]) -> Mapping[str, bytes]:
        """Return what each batch that is there is for, as its client described it."""
        ...

    async def read(self, names: Mapping[str, Sequence[str]]) -> Mapping[str, Mapping[str, str]]:
        """Return the texts of small files below the `out/` of batches, in one round trip."""
        ...

    async def log(self, batch: str, offset: int) -> tuple[bytes, int]:
        """Return a part of a batch's log, from a byte on, and where the next begins.

        At the log's end it is empty.
        """
        ...

    async def cancel(self, batches: Sequence[str], *, kill: bool = True) -> Collection[str]:
        """End the batches: one that nobody started never starts; with `kill` the others end.

        Return those that other clients need too: they are left alone, and we need them no more.
        """
        ...

    async def keep(self, batches: Sequence[str]) -> None:
        """Say that we need what batches made, whoever started them, so that nobody prunes it."""
        ...

    async def release(self, batches: Sequence[str]) -> None:
        """Say that we have all that we need of the batches."""
        ...

    async def sweep(self, needed: Collection[str], *, delete: bool) -> Sequence[Swept]:
        """Return what nobody needs any more: ended batches, and inputs of none that stays.

        `needed` are batches that we need ourselves; with `delete` the others go.
        """
        ...

    def path(self, batch: str, name: SafePath) -> str:
        """Return where a file below a batch's `out/` is on the host."""
        ...
