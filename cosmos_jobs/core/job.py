"""What a job file says, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from cosmos_jobs.core.diagnostics import Locator, Where
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar

MAX_RUNS = 1000
"""How many runs one apply starts at most, unless told otherwise."""


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


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs of which job files are meant, and how.

    `only` are prompt names and run ids; `target` replaces the files' targets;
    `preview` shows every job through the preview engine on this machine. With
    `since`, a git ref, it is only the files that differ from it, or of which
    something differs that they name.
    """

    paths: tuple[str, ...]
    _: KW_ONLY
    target: str = ""
    only: tuple[str, ...] = ()
    force: bool = False
    preview: bool = False
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Runs that are wanted together on one target: those of a job file, or of a command.

    `spec` is what the file says, None where there is none. Without one the runs
    may stand under no `name`; `title` is what people know the job by then.
    """

    name: str
    target: str
    engines: tuple[str, ...]
    expansion: Expansion
    limits: Limits = Limits()
    spec: JobSpec | None = None
    title: str = ""

    @property
    def file(self) -> str:
        """The job file as the user named it; empty where there is none."""
        return self.spec.path if self.spec else ""

    @property
    def shown(self) -> str:
        """What a plan calls the job: its file, else its title or name."""
        return self.file or self.title or self.name
