"""The commands that make a run again, by hand, on the machine that made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import join, quote
from typing import Any

from cosmos_jobs.config.project import DOCKER, Container, Installation, Target
from cosmos_jobs.core.batch import Command, Task
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import ROLES
from cosmos_jobs.engines.base import Engine
from cosmos_jobs.targets import executors
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.layout import Layout, Name

MAP = ".mp4"
"""What computed maps are called."""

Manifest = Mapping[str, Any]


def script(
    engine: Engine, target: Target, record: Record, prompt: PromptRecord, manifest: Manifest
) -> str:
    """Return a shell script that makes a run alone, from the inputs that its machine still has.

    It calls the model's own command line, also where our driver made the run.
    On a cluster it is a script for its scheduler.
    """
    run, layout = record.run, Layout(target.root)
    installation, folder = target.installed(run.engine), layout.reproduce(run.id)
    setup = target.setup(run.engine, folder=folder, cache=layout.cache)
    command = engine.command([_task(record, prompt, layout, manifest)], setup)
    lines = [
        "#!/bin/sh",
        *executors.of(target).head(target),
        *_about(record, prompt, manifest),
        "set -eu",
        f"mkdir -p {quote(f'{folder}/{Name.OUT}')}",
        f"cd {quote(folder)}",
        *_files(command),
        *_call(command, installation, target, folder, str(manifest.get("gpu", ""))),
    ]
    return "\n".join([*lines, ""])


def _task(record: Record, prompt: PromptRecord, layout: Layout, manifest: Manifest) -> Task:
    paths = {
        name: layout.input(sha256, _suffix(name, record, prompt))
        for name, sha256 in manifest["inputs"].items()
    }
    inputs = {name: path for name, path in paths.items() if name in ROLES}
    values = {name: path for name, path in paths.items() if name not in ROLES}
    return Task(record.run, prompt.prompt, inputs, values, manifest["inputs"])


def _suffix(name: str, record: Record, prompt: PromptRecord) -> str:
    known = {**prompt.files, **record.files}
    return Path(known[name]).suffix if name in known else MAP


def _about(record: Record, prompt: PromptRecord, manifest: Manifest) -> Iterator[str]:
    places = ", ".join(f"{job}/{place}" for job, place in record.jobs.items())
    yield f"# {record.run.id}, {record.run.engine}{': ' if places else ''}{places}"
    made_by = {
        "host": manifest["host"],
        "node": manifest.get("node"),
        "Slurm job": manifest.get("slurm_job"),
        "GPU": manifest.get("gpu_name"),
        "driver": manifest.get("driver"),
        "image": manifest.get("image"),
        "commit of the model's repository": manifest.get("commit"),
        "batch": manifest["batch"],
    }
    yield from (f"# {what}: {value}" for what, value in made_by.items() if value)
    known = {**prompt.files, **record.files}
    for name, sha256 in manifest["inputs"].items():
        yield f"# {name}: {sha256} {known.get(name, '')}".rstrip()


def _files(command: Command) -> Iterator[str]:
    for name, data in command.files.items():
        text = data.decode()
        yield f"cat > {quote(name)} << 'END OF FILE'"
        yield text.removesuffix("\n")
        yield "END OF FILE"


def _call(
    command: Command, installation: Installation, target: Target, folder: str, gpus: str
) -> Iterator[str]:
    root = target.root
    ids = ",".join(gpus.split())
    if installation.container is None:
        if command.cwd:
            yield f"cd {quote(command.cwd)}"
        yield from scripts.exporting({**installation.env, **command.env}, {})
        # A scheduler says to each job which GPUs are its own.
        if ids and not executors.traits(target).gives_gpus:
            yield f"export CUDA_VISIBLE_DEVICES={quote(ids)}"
        yield join(command.argv)
        return
    yield from scripts.exporting_references(installation, {})
    if installation.container.runtime == DOCKER:
        yield join(_container(command, installation, installation.container, root, folder, ids))
        return
    yield from scripts.exporting({"root": root, "folder": folder}, {})
    is_given = executors.traits(target).gives_gpus
    own = '"${CUDA_VISIBLE_DEVICES:-cpu}"' if is_given else quote(gpus or "cpu")
    yield f"set -- {own}"
    yield from launcher.started(command, installation, installation.container)


def _container(
    command: Command,
    installation: Installation,
    docker: Container,
    root: str,
    folder: str,
    ids: str,
) -> Sequence[str]:
    # Both are read as CSV.
    place = root.replace('"', '""')
    # A secret is passed on from the environment that the script is started in.
    env = [
        name if scripts.is_reference(value) else f"{name}={value}"
        for name, value in {**installation.env, **command.env}.items()
    ]
    return (
        *("docker", "run", "--rm"),
        *(("--gpus", f'"device={ids}"') if ids else ()),
        *("--mount", f'type=bind,"source={place}","target={place}"'),
        *("--workdir", command.cwd or folder),
        *(part for each in env for part in ("--env", each)),
        *(part for volume in docker.volumes for part in ("--volume", volume)),
        *docker.args,
        docker.image,
        *command.argv,
    )
