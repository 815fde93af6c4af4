"""The values that flow through cosmos-jobs: frozen, and without a world around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from cosmos_jobs.core.safe_path import SafePath

if TYPE_CHECKING:
    from cosmos_jobs.errors import CosmosJobsError

Scalar: TypeAlias = str | int | float | bool | None
Where: TypeAlias = tuple[str | int, ...]

CONTROLS = ("vis", "edge", "depth", "seg")
"""The control inputs of Cosmos Transfer, always in this order."""

ROLES = ("color", "depth", "segmentation", "edge", "vis")
"""The files of an input video: `color.mp4` is required, the others are its control maps."""

ROLE_OF = {"vis": "vis", "edge": "edge", "depth": "depth", "seg": "segmentation"}
"""The file of an input video that is a control's map."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""How the names of images end; all other inputs are videos."""

MAX_RUNS = 1000
"""How many runs one apply starts at most, unless told otherwise."""

CONNECT_TIMEOUT_S = 60.0
"""How long a machine that does not answer is tried, unless told otherwise."""


# --- what a reader is told about a file ---------------------------------------------------


class Severity(StrEnum):
    """How bad a problem of a file is: an error stops everything, a warning is shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file: `line` and `column` count from 1, columns in code points.

    `end_column` is exclusive and on the same line.
    """

    line: int
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem of one file: where it is, what is wrong, and what to do."""

    code: str
    message: str
    path: str
    span: Span | None = None
    source: str = ""
    hint: str = ""
    note: str = ""
    severity: Severity = Severity.ERROR


class Locator(Protocol):
    """Knows where each value of a parsed file stands in its text."""

    def diagnostic(
        self,
        at: Where,
        code: str,
        message: str,
        *,
        key: bool = False,
        hint: str = "",
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        """Return a diagnostic at the value (or, with `key`, the key) of path `at`.

        `at` is a path of keys and indexes from the root, such as
        ``("prompts", "storm", "videos", 0)``; where it does not exist in the
        text, its nearest existing parent is shown.
        """
        ...


# --- what a job file says -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VideoSource:
    """Where a job file says that a video is: a folder, or one file per role.

    Paths are as written, relative to the project root. Exactly one of the two is set.
    """

    folder: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A prompt of a job file; `text` still has its `{variables}`.

    Exactly one of `text` and `file` is given; `videos` None means all of them.
    `enhance` names the enhancer that writes it in more detail, as NAME or
    NAME:MODEL: "" is the project's, None is none.
    """

    name: str
    text: str | None = None
    file: str | None = None
    negative: str = ""
    videos: tuple[str, ...] | None = None
    enhance: str | None = None


@dataclass(frozen=True, slots=True)
class Include:
    """One complete combination beyond the product.

    `weights` is one of the job's labels or the weights themselves; `variables`
    and `params` hold what is given for them.
    """

    prompt: str
    video: str | None
    weights: str | Mapping[str, float] | None
    variables: Mapping[str, str]
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class FileValue:
    """A file that is a value of a parameter: its path as written, and where that stands.

    `kind` is `image`, `video` or `tensor`.
    """

    parameter: str
    kind: str
    path: str
    at: Where


@dataclass(frozen=True, slots=True)
class Upscale:
    """What becomes of every output of a job: a 4K video, with this weight of the upscaler (0–1).

    Without a `prompt` it is that of the run.
    """

    weight: float
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A reproducible random subset of `count` combinations."""

    count: int
    seed: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one apply of a job may start: runs, and estimated GPU hours."""

    max_runs: int | None = None
    max_gpu_hours: float | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job file, parsed: valid in itself, its files not yet looked at.

    `path` is the file as the user named it, empty where there is none. Ranges
    and grids are expanded: `weights` maps labels to control weights (0–1,
    snapped to 0.01, zeros dropped, in the order of CONTROLS), `params` and
    `variables` map names to their values. `exclude` entries map axis names (`prompt`, `video`,
    `weights`, a variable, a parameter) to the values that match. `video_glob`
    is the pattern of ``videos: {glob: …}``. A parameter that each control has
    is named like `masks.edge`. `files` are those values of parameters that are
    files, `regions` the prompts of parts of the picture: each has `prompt` and
    either `box` or `mask_prompt`.
    """

    path: str
    name: str
    engine: str
    target: str
    videos: Mapping[str, VideoSource]
    video_glob: str | None
    prompts: tuple[PromptSpec, ...]
    variables: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, Mapping[str, float]]
    params: Mapping[str, tuple[Scalar, ...]]
    zip: tuple[tuple[str, ...], ...]
    exclude: tuple[Mapping[str, tuple[Scalar, ...]], ...]
    include: tuple[Include, ...]
    sample: Sample | None
    limits: Limits
    description: str
    source: Locator = field(compare=False, repr=False)
    files: tuple[FileValue, ...] = ()
    regions: tuple[Mapping[str, Any], ...] = ()
    upscale: Upscale | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input file, looked at: content, size in bytes, frames, pixels, fps.

    An image has one frame; a file that is no picture has none, and no pixels.
    """

    path: Path
    sha256: str
    size: int
    frames: int
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class JobInputs:
    """The files that a job names, read.

    Videos by name and role, prompt files by path, and by path those files that
    are values of parameters.
    """

    videos: Mapping[str, Mapping[str, InputFile]]
    texts: Mapping[str, str]
    files: Mapping[str, InputFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detailer:
    """An enhancer as far as its texts depend on it: its name, its kind and its settings."""

    name: str
    kind: str
    settings: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A text that an enhancer made of another, with the id of what was asked."""

    id: str
    text: str
    original: str
    enhancer: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What is known about the prompts of a job that are to be written in more detail.

    `by` are the enhancers, by prompt name; `texts` those that are kept, by their ids.
    """

    by: Mapping[str, Detailer] = field(default_factory=dict)
    texts: Mapping[str, Enhanced] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contract:
    """What an engine accepts: the version of its meaning, and its parameters' defaults.

    `schemas` maps every parameter to its JSON Schema (draft-07) with type,
    range, default and description. `images` says whether an input may be one.
    """

    engine: str
    version: int
    defaults: Mapping[str, Scalar]
    schemas: Mapping[str, Mapping[str, Any]]
    images: bool = False


# --- what is to be made -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text, negative text and the input video by content: `inputs` maps roles to sha256.

    Where the video is the output of a run, as yet unknown, `inputs` is
    ``{"run": id of that run}``. One whose text is yet to be written in more
    detail stands for what will come of it, and is in no store: its `inputs` have
    ``enhance``, the id of the text that is awaited.
    """

    id: str
    text: str
    negative: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One output video: a prompt through an engine.

    `weights` holds the controls above 0 (0.01–1) in the order of CONTROLS,
    `params` every parameter of the engine, defaults included. The value of a
    parameter that is a file is that file's sha256.
    """

    id: str
    prompt_id: str
    engine: str
    contract: int
    weights: Mapping[str, float]
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Desired:
    """A run that a job asks for, and its place there: `outputs/<job>/<prompt>/<label>.mp4`.

    `files` are the files that are values of its parameters. It works on the
    output of the run `after`, where there is one. With `awaits`, the id of an
    enhanced text, it is unknown until that is there, and its ids mean nothing.
    """

    run: Run
    job: str
    prompt: str
    label: str
    files: Mapping[str, InputFile] = field(default_factory=dict)
    after: str = ""
    awaits: str = ""

    @property
    def place(self) -> str:
        """The prompt's name and the label, joined as in the outputs folder."""
        return f"{self.prompt}/{self.label}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a prompt's content comes from: its name, its video's name and the files by role.

    Where the prompt works on a run's output, `files` has only the color video of
    that run, with the frames and fps that the output will have. A text that was
    made by an `enhancer` has the prompt before it as `parent`.
    """

    prompt: Prompt
    name: str
    video: str
    files: Mapping[str, InputFile]
    parent: str = ""
    enhancer: str = ""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Everything that one job asks for: each run once, in the order of the file."""

    prompts: Mapping[str, Source]
    runs: tuple[Desired, ...]


# --- what is known about it ---------------------------------------------------------------


class State(StrEnum):
    """Where a run stands.

    A guardrail's refusal is BLOCKED and never retried by itself; LOST means
    that the host itself says the work is gone.
    """

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    LOST = "lost"


IN_FLIGHT = frozenset({State.QUEUED, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run. Times are seconds since 1970, the host's; `exit_code` is the batch's.

    `gpu` are the ids of the GPUs that it had on `host`, `gpu_name` what these
    are. One that `crashed` took its whole batch with it.
    """

    batch: str
    target: str
    state: State
    started: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    host: str = ""
    gpu: str = ""
    reason: str = ""
    gpu_name: str = ""
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A finished video or image, `outputs/runs/<run id>/<name>`: sha256, bytes, frames."""

    sha256: str
    size: int
    frames: int
    name: str = "output.mp4"


@dataclass(frozen=True, slots=True)
class Record:
    """What the store knows about a run; `jobs` maps each job that asks for it to its place.

    `files` maps parameters whose value is a file to its path as last seen.
    `passed` are the batches that it was given to and that never came to it.
    `rating` are the stars, 1–5, that somebody gave it, `note` is what they wrote.
    """

    run: Run
    jobs: Mapping[str, str]
    state: State = State.PENDING
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    output: Output | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    rating: int | None = None
    note: str = ""

    @property
    def batches(self) -> frozenset[str]:
        """The batches that it was ever given to."""
        return frozenset((*(attempt.batch for attempt in self.attempts), *self.passed))

    @property
    def last(self) -> Attempt | None:
        """The newest attempt: the one in flight, or the one that decided the state."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """What the store knows about a prompt; `files` maps roles to paths as last seen.

    One that was enhanced has the prompt that it was made of as its `parent`,
    and was made by the `enhancer`.
    """

    prompt: Prompt
    name: str
    video: str
    files: Mapping[str, str]
    frames: int
    parent: str = ""
    enhancer: str = ""


@dataclass(frozen=True, slots=True)
class Enhancement:
    """What came of a prompt that was to be enhanced: its new `text`, and the prompt that has it.

    Without a text the `reason` says why; with the text that it had, why it was left.
    """

    before: PromptRecord
    text: str
    reason: str = ""
    after: PromptRecord | None = None


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
class StateFacts:
    """Which state there is, and where; `written` is in seconds since 1970, None if not noted."""

    place: str
    shared: bool
    lineage: str
    serial: int
    size: int
    prompts: int
    runs: int
    written: float | None = None
    client: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store at one moment: each table by id, and which store and which write it was.

    `states` repeats the runs' states and `sizes` the bytes of their videos:
    ten times cheaper to read than the records. `jobs` maps the names of jobs
    to their files, relative to the project root. `enhanced` are the texts that
    enhancers made.
    """

    runs: Mapping[str, Record]
    states: Mapping[str, State]
    prompts: Mapping[str, PromptRecord]
    batches: Mapping[str, Batch]
    jobs: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    enhanced: Mapping[str, Enhanced] = field(default_factory=dict)
    lineage: str = ""
    serial: int = 0


# --- plan ---------------------------------------------------------------------------------


class Action(StrEnum):
    """What apply will do about a run; UNKNOWN ones are known once their prompt is enhanced."""

    CREATE = "create"
    RETRY = "retry"
    FORCE = "force"
    UNKNOWN = "unknown"
    WAIT = "wait"
    KEEP = "keep"
    BLOCKED = "blocked"
    ORPHAN = "orphan"


STARTS = frozenset({Action.CREATE, Action.RETRY, Action.FORCE})
"""The actions that start a run."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: what happens to a run of a job, and why.

    An UNKNOWN one has no run id yet.
    `attempts` is how often it was tried so far; apply starts it only while that still holds.
    """

    action: Action
    run_id: str
    job: str
    place: str
    reason: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What apply will do, against which store: `lineage` and `serial` say which."""

    changes: tuple[Change, ...]
    lineage: str
    serial: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Wall seconds, GPU hours and price of the runs that a plan starts.

    `unknown` counts the runs that nothing tells about: they are in no sum.
    `low` and `high` are factors on the others: the range of what was measured.
    `tables` of the runs go by NVIDIA's tables, which leave out guardrails and
    the load of the model; the others by at most `batches` past ones.
    """

    runs: int = 0
    unknown: int = 0
    wall_s: float = 0.0
    gpu_hours: float = 0.0
    price: float = 0.0
    low: float = 1.0
    high: float = 1.0
    tables: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs of which job files are meant, and how.

    `only` are prompt names and run ids; `target` replaces the files' targets;
    `preview` shows every job through the preview engine on this machine. With
    `since`, a git ref, it is only the files that differ from it, or of which
    something differs that they name.
    """

    paths: tuple[str, ...]
    target: str = ""
    only: tuple[str, ...] = ()
    force: bool = False
    preview: bool = False
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job file that holds: what it says, and what it asks for on which target."""

    spec: JobSpec
    target: str
    expansion: Expansion


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with the jobs that it is for, the warnings of their files and its cost.

    `desired` are the selected runs, job by job, without those that await an
    enhanced text; `refusals` say why apply will not carry the plan out.
    """

    selection: Selection
    jobs: tuple[Job, ...]
    desired: tuple[Desired, ...]
    plan: Plan
    warnings: tuple[Diagnostic, ...]
    estimate: Estimate
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an apply: the record of every desired run.

    It `started` some; others were in flight already, and it `awaited` them.
    Those `held_back` were not started, as a canary did not succeed. `troubles`
    are machines that were left alone, and why; `traffic` is what went over
    the connections. Of runs whose prompt could not be enhanced `planned` says why.
    """

    planned: Planned
    started: frozenset[str]
    awaited: frozenset[str]
    records: tuple[Record, ...]
    held_back: frozenset[str] = frozenset()
    troubles: tuple[CosmosJobsError, ...] = ()
    traffic: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of runs that were in flight; `troubles` and `traffic` as in Applied."""

    records: tuple[Record, ...]
    troubles: tuple[CosmosJobsError, ...] = ()
    traffic: tuple[str, ...] = ()


# --- carrying it out ----------------------------------------------------------------------


class Kind(StrEnum):
    """What an event tells."""

    SUBMITTED = "submitted"
    STARTED = "started"
    FINISHED = "finished"
    PROGRESS = "progress"
    NOTE = "note"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch in flight: the machine and GPUs that it is on, how many of its runs are made.

    `waits_for` says what it waits for while it has not `started` (seconds
    since 1970), `tail` is the last line of its log.
    """

    batch: str
    target: str
    host: str
    gpu: str
    done: int
    runs: int
    started: float | None
    waits_for: str
    tail: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: to a run, or, with a `reason` only, to a machine (NOTE).

    LOG is a line of an engine's log, behind its batch.

    SUBMITTED has the batch that a run was given to a machine in, PROGRESS the
    frames made so far by the batches at work, and where each is.
    """

    kind: Kind
    run_id: str = ""
    state: State = State.PENDING
    reason: str = ""
    frames: int = 0
    lanes: tuple[Lane, ...] = ()


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
