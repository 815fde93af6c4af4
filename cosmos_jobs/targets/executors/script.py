"""Shell scripts for hosts: the files in the `shell/` folders, with their values in front."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path
from shlex import quote

from cosmos_jobs.config.project import Installation
from cosmos_jobs.core.batch import Command
from cosmos_jobs.targets import layout

_FOLDER = Path(__file__).parent


def script(name: str, values: Mapping[str, object], functions: str = "") -> str:
    """Return a script of a `shell/` folder, by name, with what it needs in front of it.

    That are assignments of `values`, each quoted, those of the names on a host
    that it uses, and its `functions`.
    """
    head = "".join(f"{key}={quote(str(value))}\n" for key, value in values.items())
    body = f"{functions}\n{text(name)}"
    return f"{head}{layout.assignments(body)}\n{body}"


@cache
def text(name: str) -> str:
    """Return a script as it is: `lib` of what all share, `slurm/lib` of what is Slurm's."""
    folder, _, file = name.rpartition("/")
    return (_FOLDER / folder / "shell" / f"{file}.sh").read_text(encoding="utf-8")


def texts(*names: str) -> str:
    """Return several scripts as one."""
    return "\n".join(map(text, names))


def writing(contents: Mapping[str, bytes]) -> str:
    """Return the shell function `write_files`, which writes files into the working folder."""
    lines = ["write_files() {"]
    for name, data in contents.items():
        lines += [
            # Others may be writing the same at this moment.
            f"base64 -d > {quote(name)}.$$ << 'END' && mv -f {quote(name)}.$$ {quote(name)}"
            " || return 1",
            base64.encodebytes(data).decode().rstrip("\n"),
            "END",
        ]
    return "\n".join([*lines, "}", ""])


def exporting(values: Mapping[str, str], secrets: Mapping[str, str]) -> list[str]:
    """Return commands that set environment variables for all that is started from here.

    A value `${NAME}` is the one in `secrets`, else the machine's own variable NAME.
    """
    return [f"export {name}={_value(value, secrets.get(name))}" for name, value in values.items()]


def exporting_references(installation: Installation, secrets: Mapping[str, str]) -> list[str]:
    """Return commands that set those variables of an engine that are secrets, as `exporting`."""
    values = {name: installation.env[name] for name in references(installation)}
    return exporting(values, secrets)


def _value(value: str, secret: str | None) -> str:
    if not is_reference(value):
        return quote(value)
    return f'"{value}"' if secret is None else quote(secret)


def is_reference(value: str) -> bool:
    """Return whether a variable's value is `${NAME}`: one that stays out of every file."""
    return value.startswith("${")


def printing(name: str, lines: Sequence[str]) -> str:
    """Return the shell function `name`, which prints `lines`."""
    text = "\n".join(lines)
    return f"{name}() {{\ncat << 'END'\n{text}\nEND\n}}\n"


def server_key(command: Command, installation: Installation) -> str:
    """Return what batches must share to be worked by one server, "" for one that wants none.

    Of secrets only the names count: their values are to be in no file, not even as a digest.
    """
    if command.server is None:
        return ""
    container = installation.container
    shared = [
        command.server.key,
        command.cwd,
        sorted(environment(command, installation).items()),
        references(installation),
        installation.venv,
        installation.path,
        astuple(container) if container else None,
    ]
    return hashlib.sha256(json.dumps(shared).encode()).hexdigest()


def checkout(installation: Installation) -> str:
    """Return where the model's checkout is on the machine itself; empty when it is in an image."""
    path = installation.path
    if installation.container is None or not path:
        return path
    for volume in installation.container.volumes:
        there, inside = volume.split(":")[:2]
        if path == inside or path.startswith(f"{inside.rstrip('/')}/"):
            return there + path.removeprefix(inside.rstrip("/"))
    return ""


def environment(command: Command, installation: Installation) -> Mapping[str, str]:
    """Return the variables of an engine that are no secrets."""
    plain = {name: value for name, value in installation.env.items() if not is_reference(value)}
    return {**plain, **command.env}


def references(installation: Installation) -> Sequence[str]:
    """Return the names of the variables that are secrets."""
    return sorted(name for name, value in installation.env.items() if is_reference(value))
