"""The project's settings: cosmos-jobs.yaml and the environment, frozen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_jobs import spec
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.model import Locator, Severity

FILE = "cosmos-jobs.yaml"
FOLDER = ".cosmos-jobs"
MAX_BATCH = 50


@dataclass(frozen=True, slots=True)
class Target:
    """Where runs execute: the host's `root` folder, and how many runs share a process.

    `gpus` 0 means that its engines need none; `slots` batches run at a time.
    """

    name: str
    root: str
    cache: str
    python: str
    max_batch: int = MAX_BATCH
    slots: int = 1
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with its settings; every path of a job file is relative to `root`."""

    root: Path
    engine: str = "preview"
    target: str = "local"
    targets: Mapping[str, Target] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The state file."""
        return self.root / FOLDER / "state.json"

    @property
    def cache(self) -> Path:
        """What can be deleted at any time: file digests and control maps."""
        return self.root / FOLDER / "cache"

    @property
    def outputs(self) -> Path:
        """The finished videos."""
        return self.root / "outputs"


def find(start: Path) -> Path:
    """Return the nearest folder from `start` upwards with a cosmos-jobs.yaml, else `start`."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / FILE).is_file()), start)


def load(root: Path) -> Project:
    """Return the settings of the project in `root`; without a file, the defaults.

    Raises InvalidFiles with every problem of the file, UsageError when `root` is no folder.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    settings, locator = _settings(root / FILE)
    written = {"local": {}, **(settings.get("targets") or {})}
    targets = {name: _local(root, name, each or {}) for name, each in written.items()}
    target = settings.get("target", "local")
    if target not in targets and locator:
        hint = f"the targets are {', '.join(targets)}"
        message = f"unknown target `{target}`"
        problem = locator.diagnostic(("target",), "unknown-target", message, hint=hint)
        raise InvalidFiles(f"{FILE} is invalid", (problem,))
    return Project(root, settings.get("engine", "preview"), target, targets)


def _settings(path: Path) -> tuple[dict[str, Any], Locator | None]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, None
    settings, locator, problems = spec.parse_mapping(data, path.name, "project")
    errors = [each for each in problems if each.severity is Severity.ERROR]
    if settings is None or errors:
        raise InvalidFiles(f"{path.name} is invalid", problems)
    return settings, locator


def _local(root: Path, name: str, settings: Mapping[str, object]) -> Target:
    folder = root / str(settings.get("root", f"{FOLDER}/hosts/{name}"))
    return Target(
        name,
        str(folder),
        str(root / FOLDER / "cache" / "controls"),
        sys.executable,
        int(str(settings.get("max_batch", MAX_BATCH))),
    )
