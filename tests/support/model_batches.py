"""Batches of the real models' adapters, run on the stand-ins without an executor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_jobs import engines
from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, serialize
from cosmos_jobs.core.batch import Batch, Command, Life, Outcome, Setup, Status, Task
from cosmos_jobs.core.serialize import ASKED, Asked
from tests.support.stand_in_models import Models

LOG_TAIL = 8192


@dataclass(frozen=True, slots=True)
class Ran:
    """What a batch left: its folder, and what its engine says of it."""

    folder: Path
    status: Status
    outcomes: Mapping[str, Outcome]


def task(
    engine: str,
    text: str,
    files: Mapping[str, Path],
    weights: Mapping[str, float],
    negative: str = "",
    **params: Any,
) -> Task:
    """Return a run of an engine with its prompt; `files` are its inputs by role."""
    inputs = {role: path.name for role, path in files.items()}
    prompt = identity.prompt(text, negative, inputs)
    run = identity.run(prompt.id, schema.contract(engine), weights, params)
    return Task(run, prompt, {role: str(path) for role, path in files.items()})


def run_batch(
    models: Models,
    tasks: Sequence[Task],
    folder: Path,
    *,
    gpus: int = 1,
    warm: bool = False,
) -> Ran:
    """Run the tasks in one process of their engine, as a machine would, in a new folder."""
    name = tasks[0].run.engine
    engine = engines.get(name)
    checkout = str(models.checkout(name))
    python = str(models.python(name))
    setup = Setup(python, "", str(folder), checkout, gpus, 60 if warm else None)
    command = engine.command(tasks, setup)
    asked = serialize.asking([Asked(each.run.id, each.prompt.text) for each in tasks])
    code = execute(replace(command, files={**command.files, ASKED: asked}), folder)
    return look(name, [each.run.id for each in tasks], folder, code)


def execute(command: Command, folder: Path) -> int:
    """Put a command's files into a folder and run it there; return its exit code."""
    (folder / "out").mkdir(parents=True)
    for path, data in command.files.items():
        (folder / path).write_bytes(data)
    (folder / "out" / ASKED).write_bytes(command.files[ASKED])
    with (folder / "log").open("wb") as log:
        done = subprocess.run(
            command.argv,
            cwd=command.cwd or folder,
            env={**os.environ, **command.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=60,
        )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def look(engine: str, runs: Sequence[str], folder: Path, code: int) -> Ran:
    """Return what a batch that has ended left, told as an executor does."""
    out = folder / "out"
    files = tuple(str(each.relative_to(out)) for each in sorted(out.rglob("*")) if each.is_file())
    log = (folder / "log").read_bytes()[-LOG_TAIL:].decode(errors="replace")
    status = Status(Life.EXITED, code, 10.0, 50.0, files, log)
    batch = Batch("ba_0123456789abcdef", engine, "gpu", tuple(runs))
    adapter = engines.get(engine)
    names = {name for each in adapter.markers(batch).values() for name in each} | {ASKED}
    texts = {name: (out / name).read_text() for name in names if name in files}
    found = adapter.outcomes(batch, status, texts)
    return Ran(folder, status, {run: found[run] for run in runs})
