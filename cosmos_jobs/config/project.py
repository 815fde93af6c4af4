"""The project's settings: cosmos-jobs.yaml and the environment, frozen."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cosmos_jobs.config import mapping, target_rules, violations
from cosmos_jobs.core import redaction
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S, Setup
from cosmos_jobs.errors import EngineError, InvalidFiles, UsageError

FILE = "cosmos-jobs.yaml"
FOLDER = ".cosmos-jobs"
ENGINE = "preview"
MAX_BATCH = 50
TIMEOUT_FACTOR = 5.0
WARM, NATIVE = "warm", "native"
DOCKER, APPTAINER, PYXIS = "docker", "apptainer", "pyxis"
PROCESS, SLURM = "process", "slurm"
ARRAY_LIMIT = 1000
MAX_RUNNING = 8
IDLE_S = 300
MIN_SECRET = 8
ENHANCER = "template"
IMAGES = 4
"""How many frames of a video an enhancer sees that is to see any."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container that an engine runs in; `volumes` and `args` are options of its `runtime`."""

    image: str
    volumes: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    runtime: str = DOCKER


@dataclass(frozen=True, slots=True)
class Installation:
    """How an engine is installed on a target's machines, or inside its container.

    `venv` is a Python environment, `path` the model's checkout. A value of
    `env` that is `${NAME}` is a secret: taken from the environment here or there.
    A `driver` that is WARM keeps the model loaded until it was idle for `idle_s`
    seconds; one that is NATIVE is the model's own program.
    """

    venv: str = ""
    path: str = ""
    container: Container | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    _: KW_ONLY
    driver: str = WARM
    idle_s: int = IDLE_S


@dataclass(frozen=True, slots=True)
class Slurm:
    """What a job of a Slurm cluster is asked for, in sbatch's own words.

    What is empty is left to the cluster; `extra` are further options of sbatch.
    An array has at most `array_limit` batches, of which `max_running` run at a time.
    """

    partition: str = ""
    account: str = ""
    gres: str = ""
    time: str = ""
    _: KW_ONLY
    mem: str = ""
    cpus: int | None = None
    array_limit: int = ARRAY_LIMIT
    max_running: int = MAX_RUNNING
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where runs execute: machines, their folder `root`, their GPUs and engines.

    Without `hosts` it is this machine. `gpus` are the ids of the GPUs of each
    machine; none means that its engines need none. A batch takes
    `gpus_per_batch` of them, and may take `run_timeout_s` for each of its runs,
    or, where that is None and their time can be estimated, `timeout_factor`
    times the estimate. A machine that does not answer is tried for
    `connect_timeout_s`, None where nothing says how long. With `slurm` the
    machine hands batches to a cluster, and `gpus` are those of one batch.
    """

    name: str
    root: str
    hosts: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    _: KW_ONLY
    gpus_per_batch: int = 1
    max_batch: int = MAX_BATCH
    price_per_gpu_hour: float | None = None
    gpu: str = ""
    run_timeout_s: float | None = None
    timeout_factor: float = TIMEOUT_FACTOR
    engines: Mapping[str, Installation] = field(default_factory=dict)
    slurm: Slurm | None = None
    connect_timeout_s: float | None = None

    @property
    def executor(self) -> str:
        """What queues batches there, as the file calls it."""
        return PROCESS if self.slurm is None else SLURM

    def installation(self, engine: str) -> Installation | None:
        """Return how an engine is installed; None when the target does not have it.

        This machine always has `preview`: it is the program that asks.
        """
        here = engine == ENGINE and not self.hosts
        return self.engines.get(engine) or (Installation() if here else None)

    def installed(self, engine: str) -> Installation:
        """Return how an engine is installed; EngineError when the target does not have it."""
        found = self.installation(engine)
        place = "venv" if engine == ENGINE else "path"
        hint = f"say in cosmos-jobs.yaml where it is: engines: {{{engine}: {{{place}: …}}}}"
        if found is None:
            look = "\nsee what it would be conditioned on: cosmos-jobs preview FILE"
            raise EngineError(
                f"the target `{self.name}` has no engine `{engine}`", hint=f"{hint}{look}"
            )
        if engine != ENGINE and not found.path:
            message = f"the target `{self.name}` does not say where the checkout of {engine} is"
            raise EngineError(message, hint=hint)
        return found

    def patience_s(self, otherwise: float = CONNECT_TIMEOUT_S) -> float:
        """Return for how long a machine is tried that does not answer."""
        return otherwise if self.connect_timeout_s is None else self.connect_timeout_s

    def python(self, engine: str) -> str:
        """Return the Python that runs an engine, on the machine or in the engine's image."""
        found = self.installation(engine) or Installation()
        if found.venv:
            return f"{found.venv}/bin/python"
        return "python3" if self.hosts or found.container else sys.executable

    def setup(self, engine: str, *, folder: str, cache: str, may_stay: bool = False) -> Setup:
        """Return what an engine finds here; EngineError when the target does not have it.

        One that `may_stay` keeps its model loaded for further batches.
        """
        found, gpus = self.installed(engine), self.gpus_per_batch if self.gpus else 1
        idle_s = found.idle_s if may_stay and found.driver == WARM else None
        return Setup(self.python(engine), cache, folder, found.path, gpus, idle_s)


@dataclass(frozen=True, slots=True)
class EnhancerSettings:
    """How prompts are written in more detail: `kind` says by what, the rest is what it needs.

    A server at `base_url` is asked for `model`, with the `key` (of the variable
    `key_name`, where there must be one), and shown `images` frames of the video.
    It may take `timeout_s`, and is tried `retries` times more. `target` is where
    the enhancer runs that is a model of ours.
    """

    name: str
    kind: str
    _: KW_ONLY
    model: str = ""
    base_url: str = ""
    key: str = field(default="", repr=False)
    key_name: str = ""
    images: int = 0
    temperature: float | None = None
    max_tokens: int = 600
    timeout_s: float | None = None
    retries: int = 4
    parallel: int = 4
    stream: bool = False
    instructions: str = ""
    target: str = ""
    options: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """Where several machines share something: the host of a `target`, or an object store's `url`.

    With neither, it is not shared.
    """

    target: str = ""
    url: str = ""

    def __bool__(self) -> bool:
        return bool(self.target or self.url)


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with its settings; every path of a job file is relative to `root`.

    `enhancers` are as the project file has them: `${NAME}` is not looked up yet.
    """

    root: Path
    _: KW_ONLY
    engine: str = ENGINE
    target: str = target_rules.LOCAL
    targets: Mapping[str, Target] = field(default_factory=dict)
    enhancer: str = ENHANCER
    enhancers: Mapping[str, EnhancerSettings] = field(default_factory=dict)
    state: SharedPlace = SharedPlace()
    published: SharedPlace = SharedPlace()
    """Where outputs are published; the setting `outputs`."""
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    """For how long an object store is tried that does not answer."""

    def named(self, target: str) -> Target:
        """Return a target; UsageError when the project has none of this name."""
        if target in self.targets:
            return self.targets[target]
        near = difflib.get_close_matches(target, self.targets, 1)
        every = f"the targets are {', '.join(self.targets)}"
        hint = f"did you mean `{near[0]}`?" if near else every
        raise UsageError(f"unknown target `{target}`", hint=hint)

    def trying(self, connect_timeout_s: float) -> Project:
        """Return the project where all that does not answer is tried for so long."""
        targets = {
            name: replace(each, connect_timeout_s=connect_timeout_s)
            for name, each in self.targets.items()
        }
        return replace(self, targets=targets, connect_timeout_s=connect_timeout_s)

    @property
    def store(self) -> Path:
        """The state file, where it is not shared."""
        return self.root / FOLDER / "state.json"

    @property
    def cache(self) -> Path:
        """What can be deleted at any time: file digests and control maps."""
        return self.root / FOLDER / "cache"

    @property
    def locks(self) -> Path:
        """By what processes that upload the same file keep out of each other's way."""
        return self.cache / "uploads"

    @property
    def outputs(self) -> Path:
        """The finished videos."""
        return self.root / "outputs"

    @property
    def client(self) -> str:
        """What others are told who uses a machine: `ann@laptop`."""
        import getpass
        import socket

        return f"{getpass.getuser()}@{socket.gethostname()}"

    @property
    def identity(self) -> str:
        """12 hexadecimal digits that tell this project, on this machine, from all others."""
        import socket

        place = f"{socket.gethostname()}:{self.root.resolve()}"
        return hashlib.sha256(place.encode()).hexdigest()[:12]

    @property
    def owner(self) -> str:
        """What `identity` is, for all that share a state: what one of them needs they all do."""
        if not self.state:
            return self.identity
        place = self.state.url
        if self.state.target:
            target = self.targets[self.state.target]
            place = f"{target.hosts[0]}:{target.root}"
        return hashlib.sha256(place.encode()).hexdigest()[:12]

    def enhancing(self, wanted: str = "") -> EnhancerSettings:
        """Return the settings of `NAME` or `NAME:MODEL`, else of the project's own enhancer.

        A key comes from the environment here.
        """
        name, _, model = (wanted or self.enhancer).partition(":")
        found = self.enhancers.get(name) or EnhancerSettings(name, name)
        return _with_key(replace(found, model=model or found.model), os.environ)

    def secrets(self, installation: Installation) -> Mapping[str, str]:
        """Return the secrets of an installation that the environment here has."""
        return secrets(installation, os.environ)


def secrets(installation: Installation, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values of those variables that are a `${NAME}` and whose NAME `environ` has.

    The others are left to the machine; a NAME that is empty here counts as not there.
    """
    names = {
        variable: value.removeprefix("${").removesuffix("}")
        for variable, value in installation.env.items()
        if value.startswith("${")
    }
    return {variable: environ[name] for variable, name in names.items() if environ.get(name)}


def environment_secrets() -> frozenset[str]:
    """Return the values of all variables here whose names look secret; short ones may be words."""
    named = (value for name, value in os.environ.items() if redaction.looks_secret(name))
    return frozenset(value for value in named if len(value) >= MIN_SECRET)


def _with_key(given: EnhancerSettings, environ: Mapping[str, str]) -> EnhancerSettings:
    """Return the settings with the value of their key, and the server that the environment names.

    The key of OpenAI is for OpenAI, or for the server that the environment
    itself names: one that a project file names is not given it unasked.
    """
    key, name = environ.get(given.key_name, ""), given.key_name
    if given.kind != "openai" or given.base_url or name:
        return replace(given, key=key)
    url, key = environ.get("OPENAI_BASE_URL", ""), environ.get("OPENAI_API_KEY", "")
    # A server of one's own may want none.
    return replace(given, base_url=url, key=key, key_name="" if url else "OPENAI_API_KEY")


def find(start: Path) -> Path:
    """Return the nearest folder from `start` upwards with a cosmos-jobs.yaml, else `start`."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / FILE).is_file()), start)


def in_repository(root: Path) -> str:
    """Return where a project is in its git repository: `.` at the top, or where there is none."""
    root = root.resolve()
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    return root.relative_to(top).as_posix()


def shown(path: Path, root: Path) -> str:
    """Return a path as the store and messages have it: relative to `root` where it is in it."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def load(root: Path) -> Project:
    """Return the settings of the project in `root`; without a file, the defaults.

    Raises InvalidFiles with every problem of the file, UsageError when `root` is no folder.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    try:
        data = (root / FILE).read_bytes()
    except FileNotFoundError:
        data = b"version: 1\n"
    # What runs detached has another working directory.
    return parse(data, root.resolve())


def parse(data: bytes, root: Path) -> Project:
    """Return the settings in `data`; raise InvalidFiles with every problem of the file."""
    settings, locator, found = mapping.read(data, FILE, "project")
    settings = settings or {}
    written = {target_rules.LOCAL: {}, **settings.get("targets", {})}
    target = settings.get("target", target_rules.LOCAL)
    found += tuple(target_rules.problems(written, locator))
    if target not in written and not found:
        found += (target_rules.unknown(target, written, locator),)
    state, published = settings.get("state") or {}, settings.get("outputs") or {}
    found += tuple(target_rules.shared_problems("state", state, written, locator))
    found += tuple(target_rules.shared_problems("outputs", published, written, locator))
    enhancers = settings.get("enhancers", {})
    found += tuple(target_rules.enhancer_problems(enhancers, written, locator))
    if found:
        shown = map(target_rules.without_secrets, sorted(found, key=violations.position))
        raise InvalidFiles(f"{FILE} is invalid", tuple(shown))
    made = {name: _target(name, each or {}, root) for name, each in written.items()}
    return Project(
        root,
        engine=settings.get("engine", ENGINE),
        target=target,
        targets=made,
        enhancer=settings.get("enhancer", ENHANCER),
        enhancers={name: _enhancer(name, each or {}) for name, each in enhancers.items()},
        state=SharedPlace(**state),
        published=SharedPlace(**published),
    )


def _enhancer(name: str, given: Mapping[str, Any]) -> EnhancerSettings:
    images = given.get("images", False)
    # Written true it is a number of our choice; true is 1 to Python.
    count = IMAGES * images if isinstance(images, bool) else int(images)
    others = {key: each for key, each in given.items() if key not in ("kind", "api_key", "images")}
    variable = given.get("api_key", "").removeprefix("${").removesuffix("}")
    return EnhancerSettings(
        name, given.get("kind", name), key_name=variable, images=count, **others
    )


def _target(name: str, given: Mapping[str, Any], root: Path) -> Target:
    hosts = tuple(given.get("hosts", ()))
    folder = given.get("root", f"{FOLDER}/hosts/{name}")
    base = None if hosts else root
    engines = given.get("engines") or {}
    slurm = _slurm(given.get("slurm") or {}) if given.get("executor") == SLURM else None
    gpus = target_rules.gpus(target_rules.gres_gpus(slurm.gres) if slurm else given.get("gpus", 0))
    return Target(
        name,
        _placed(folder, base),
        hosts=hosts,
        gpus=gpus,
        gpus_per_batch=max(1, len(gpus)) if slurm else int(given.get("gpus_per_batch", 1)),
        max_batch=int(given.get("max_batch", MAX_BATCH)),
        price_per_gpu_hour=given.get("price_per_gpu_hour"),
        gpu=given.get("gpu", ""),
        run_timeout_s=given.get("run_timeout_s"),
        timeout_factor=float(given.get("timeout_factor", TIMEOUT_FACTOR)),
        engines={engine: _installation(each or {}, base) for engine, each in engines.items()},
        slurm=slurm,
        connect_timeout_s=given.get("connect_timeout_s"),
    )


def _slurm(given: Mapping[str, Any]) -> Slurm:
    numbers = {
        key: int(given[key]) for key in ("cpus", "array_limit", "max_running") if key in given
    }
    return Slurm(**{**given, **numbers, "extra": tuple(given.get("extra", ()))})


def _installation(given: Mapping[str, Any], base: Path | None) -> Installation:
    docker: Mapping[str, Any] = given.get("docker") or {}
    container = _container({"runtime": DOCKER, **docker} if docker else given)
    base = base if container is None else None
    return Installation(
        _placed(given.get("venv", ""), base),
        _placed(given.get("path", ""), base),
        container=container,
        env={**given.get("env", {}), **docker.get("env", {})},
        driver=given.get("driver", WARM),
        idle_s=int(given.get("idle_s", IDLE_S)),
    )


def _container(given: Mapping[str, Any]) -> Container | None:
    if "image" not in given:
        return None
    volumes, args = (tuple(given.get(key, ())) for key in ("volumes", "args"))
    return Container(given["image"], volumes, args, given["runtime"])


def _placed(path: str, base: Path | None) -> str:
    """Return a path as one writes it, below `base` when it is relative to that folder."""
    if not path:
        return ""
    return str(PurePosixPath(path) if base is None else base / path)
