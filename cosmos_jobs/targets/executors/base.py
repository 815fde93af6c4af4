"""How batches are queued on a host: the protocol of every executor, and what the registry has.

What is the same for all of them, files in the folders of batches, is `BatchDirectory`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cosmos_jobs.config.project import Installation, Target
from cosmos_jobs.core.batch import Batch, Command, Status
from cosmos_jobs.targets.findings import Check, Facts

if TYPE_CHECKING:  # it brings asyncio, which whoever only plans has no need of
    from cosmos_jobs.targets.executors.batch_dir import BatchDirectory


@dataclass(frozen=True, slots=True)
class Submission:
    """A batch and all that a host needs to run it.

    `description` says what it is for, to whoever finds it there. `known` maps
    runs to the batches that we know to have had them on this host: a batch
    that we do not know of is news, and the submission is refused. `secrets` are
    values of the installation's `${NAME}` variables. The engine may take
    `limit_s` seconds. `inputs` are the sha256 of the files that it reads.
    """

    batch: Batch
    command: Command
    installation: Installation
    _: KW_ONLY
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """All that others may ask of an executor's kind, as it is on a target.

    `slots` batches run at a time; `at_once` are best submitted together. One
    that `queues_elsewhere` takes all there are into a queue of its own, and
    works them on machines that the host tells nothing of. One that `gives_gpus`
    says to each batch which are its own. One that `retries_lost` loses batches
    on purpose, as where it preempts them: they are taken up again at once.
    """

    slots: int
    at_once: int
    queues_elsewhere: bool
    gives_gpus: bool
    retries_lost: bool


class Executor(Protocol):
    """How batches are queued on a host. Every method may be repeated without harm."""

    @property
    def traits(self) -> Traits:
        """What it is like."""
        ...

    @property
    def judge(self) -> str:
        """Shell text with a function `judge`, by which a sweep knows what is at work.

        It sets `life` to `running` where the batch in folder $1 is; it may fail
        where nobody has begun it.
        """
        ...

    async def submit(self, submissions: Sequence[Submission]) -> None:
        """Start batches; one that was ever claimed, by anyone, is not started again."""
        ...

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand, in one round trip; one that nobody started is ABSENT."""
        ...

    async def cancel(self, batches: Sequence[str], *, kill: bool = True) -> Collection[str]:
        """End the batches: one that nobody started never starts; with `kill` the others end.

        Return those that other clients need too: they are left alone, and we need them no more.
        """
        ...


Say: TypeAlias = Callable[[str], None]
"""Is told, in a line for people, what is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of executor, as the registry has it: what it is without a machine, and one on it.

    `head` are lines that a script of a run begins with where it is given to it
    by hand. `questions` is shell text that asks a host for facts, and `judged`
    are the checks of them, for `doctor`.
    """

    traits: Callable[[Target], Traits]
    open: Callable[[BatchDirectory, Target, Say], Executor]
    head: Callable[[Target], Iterable[str]] = lambda target: ()
    questions: Callable[[Target], str] = lambda target: ""
    judged: Callable[[Target, Facts], Iterable[Check]] = lambda target, found: ()
