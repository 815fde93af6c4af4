"""A batch: what an engine gets, how it is run, and what a machine says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import Prompt, Run
from cosmos_jobs.core.safe_path import SafePath

CONNECT_TIMEOUT_S = 60.0
"""How long a machine that does not answer is tried, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs that one engine process makes on one target, so that the model loads once.

    `host` is the machine of the target that it was given to, empty while none was.
    """

    id: str
    engine: str
    target: str
    runs: tuple[str, ...]
    done: bool = False
    host: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that keeps a model loaded and takes batch after batch.

    It is started as `argv` with its own folder behind, and ends after `idle_s`
    seconds without work. Batches with the same `key` may share it.
    """

    argv: tuple[str, ...]
    key: str
    idle_s: int


@dataclass(frozen=True, slots=True)
class Command:
    """How a batch is run: `argv` in `cwd`, with `env`; `files` are put into the batch's folder.

    Without `cwd` that is the batch's folder, too. Where a machine can keep
    processes, `server` works the batch in place of `argv`.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What an engine has to say about a run before it starts; an error keeps it from starting.

    `about` is where the job file says it: `weights`, `video`, or a parameter's name.
    """

    about: str
    message: str
    hint: str = ""
    is_error: bool = False


class Life(StrEnum):
    """What a host says about a batch.

    ABSENT: never claimed there. GONE: it was started, ended without an exit
    code and no process of it lives; CANCELLED: the same, and we asked for it.
    REFUSED: it never began, as other batches had its runs in the meantime.
    """

    ABSENT = "absent"
    REFUSED = "refused"
    RUNNING = "running"
    EXITED = "exited"
    CANCELLED = "cancelled"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Status:
    """A batch as its host sees it.

    `files` are the paths below `out/`, `log` the end of the log. Times are
    seconds since 1970 on the host's clock. One that RUNS but has not `started`
    waits for a GPU: `waits_for` says which, and who has it. `gpu` are the ids
    of its own. `fault` is what the machine found wrong: a word and what it is
    about. `others` are the batches for which it was REFUSED. `facts` are what the
    machine says of itself: `commit` of the model's repository, `image` (its
    digest), `gpu_name`, `driver`.
    """

    life: Life
    exit_code: int | None = None
    started: float | None = None
    finished: float | None = None
    files: tuple[str, ...] = ()
    log: str = ""
    gpu: str = ""
    fault: str = ""
    waits_for: str = ""
    others: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine made of a run; PENDING means that it never came to it.

    `files` maps names in the run's output folder to paths below `out/`;
    `output.mp4` is the video, or `output.jpg` the image. `digests` are the
    sha256 of those, by name, that the engine noted. `details` go into the
    run's manifest. One that `crashed` FAILED and ended the whole batch, without
    a word why: it gets one more chance, by itself.
    """

    state: State
    reason: str = ""
    files: Mapping[SafePath, SafePath] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    crashed: bool = False


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
