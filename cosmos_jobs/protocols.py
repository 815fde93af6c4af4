"""Every extension point on one page: Engine, Executor, Host, Enhancer, StateFile.

An engine is pure: it says how a batch is run and reads what it left. An
executor queues batches on a host. A host is a machine's shell and files. An
enhancer writes prompts in more detail. A state file is where the store keeps
what it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.model import (
    Batch,
    Command,
    InputFile,
    Note,
    Outcome,
    Prompt,
    Run,
    Scalar,
    Status,
)
from cosmos_jobs.project import Installation


@dataclass(frozen=True, slots=True)
class Task:
    """A run as an engine gets it, with its prompt.

    `inputs` are the paths on the host of its video's files by role, with the
    `maps` that the engine asked for as `vis` and `edge`; `files` those of
    the files that are values of its parameters. `digests` are the sha256 of all.
    """

    run: Run
    prompt: Prompt
    inputs: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine finds on a target.

    Its Python, a `cache` folder that outlives batches, the batch's own
    `folder`, the `path` of the model's checkout (empty where it is not said),
    and how many `gpus` a process takes. With `idle_s` a process may keep the model loaded
    for further batches, until it was idle for so many seconds; None forbids it.
    """

    python: str
    cache: str
    folder: str = ""
    path: str = ""
    gpus: int = 1
    idle_s: int | None = None


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


class Engine(Protocol):
    """How a model is called. All of it is pure: values in, values out."""

    @property
    def name(self) -> str:
        """The name that job files use."""
        ...

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return what runs must share to be made by one process."""
        ...

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return what is odd or impossible about a run, with its video's `files` by role."""
        ...

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return the control maps that are to be computed where the video has no file of them.

        By control (`vis`, `edge`), each with the parameters of the preview
        engine that say how.
        """
        ...

    def checkpoint(self, run: Run) -> str:
        """Return which weights of the model make a run, by its own names; empty for none."""
        ...

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return how the tasks are run in a batch's folder, whose `out/` they fill."""
        ...

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return, for each run, the files below `out/` that tell its outcome once they exist.

        Those that end in `.ndjson` grow, and are read again as long as the batch runs.
        """
        ...

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return the outcomes that can be told by now.

        `texts` are the contents of the markers that exist, and under `ASKED`
        what the batch was asked for, as `documents.asked` has it. When the
        batch has exited there is an outcome for every run.
        """
        ...

    def progress(self, log: str) -> int:
        """Return how many frames the batch has made, from the end of its log."""
        ...


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


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt that is to be written in more detail, with an id of the caller's own.

    `video` is its color video on this machine, of the content `sha256`; None where there is none.
    """

    id: str
    text: str
    negative: str = ""
    video: Path | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: a `text`, or "" and the `reason` why there is none.

    Where the text is the one that was given, the reason says why it was left as it is.
    """

    text: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Errand:
    """Work for a machine of `target` that has `engine`, and that leaves text in place of videos.

    The same `key` is the same work: what was begun is joined, what was done is
    read. `files` are brought there, by sha256; `command` gets the setup and
    where they are, without those that could not be brought. The file `answer`
    below `out/` comes back. It may take `limit_s` seconds.
    """

    key: str
    engine: str
    target: str
    files: Mapping[str, Path]
    command: Callable[[Setup, Mapping[str, str]], Command]
    answer: str
    limit_s: int | None = None


Messenger: TypeAlias = Callable[[Errand], str]
"""Does an errand to its end and returns its answer.

Raises HostError when the machine cannot, EngineError when it leaves no answer.
"""


class Enhancer(Protocol):
    """Writes prompts in more detail.

    One of an entry point `cosmos_jobs.enhancers` is made as
    ``factory(settings, messenger)``: a project's EnhancerSettings and a Messenger.
    """

    @property
    def name(self) -> str:
        """What made a text, as the store and readers have it: `openai:gpt-4o`."""
        ...

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """All that makes its texts other ones: model, temperature, version; nothing secret."""
        ...

    @property
    def is_free(self) -> bool:
        """Whether it costs neither money nor GPU time, so that a dry run may call it."""
        ...

    def enhance(self, requests: Sequence[Request]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer to every request, behind its id, as they come.

        What is wrong with one is its own answer. Blocks in between. Raises
        EngineError when it can answer none (not installed, no key, no such
        model), HostError for a machine.
        """
        ...


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


class Shelf(Protocol):
    """Where a team's outputs are published: files by their sha256, and a manifest for each run.

    The manifest is written last. What is read may be damaged or anybody's: it is
    for the reader to check. Every method blocks, may be called by several
    threads, and raises StoreError, StoreAway when the place does not answer.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def find(self, runs: Collection[str]) -> frozenset[str]:
        """Return those of the runs that have a manifest."""
        ...

    def manifest(self, run: str) -> bytes:
        """Return a run's manifest; empty when there is none, or it is too long to be one."""
        ...

    def get(self, files: Mapping[str, Path]) -> None:
        """Fetch contents, by sha256, as these files; what is not there is left out."""
        ...

    def put(
        self, run: str, manifest: Path, files: Mapping[str, Path], anew: Collection[str] = ()
    ) -> None:
        """Publish a run: the contents that are not there, those of `anew` in any case; then it."""
        ...

    def close(self) -> None:
        """Let go of it; it can be used again."""
        ...
