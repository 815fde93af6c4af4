"""The shell scripts of the process executor: the files in `shell/`, with their values in front."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from shlex import join, quote

from cosmos_jobs.model import Command
from cosmos_jobs.project import Docker, Installation

_FOLDER = Path(__file__).parent / "shell"
KILL_AFTER_S = 30
"""How long an engine that is told to end may take before it is killed, a server also."""


def script(name: str, values: Mapping[str, object], functions: str = "") -> str:
    """Return a script of `shell/` after assignments of `values`, each quoted."""
    head = "".join(f"{key}={quote(str(value))}\n" for key, value in values.items())
    return f"{head}\n{_text('lib')}\n{functions}\n{_text(name)}"


@cache
def _text(name: str) -> str:
    return (_FOLDER / f"{name}.sh").read_text(encoding="utf-8")


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


def engine(command: Command, installation: Installation, limit_s: int | None) -> str:
    """Return the shell functions `check` and `engine` of a batch; `serve` in place of `engine`.

    `check` says in `fault` what the machine lacks; the others get the leased GPUs
    as one argument, divided by spaces. `serve` runs a server in the folder `$slot`.
    """
    timed = ("timeout", f"--kill-after={KILL_AFTER_S}", str(limit_s)) if limit_s else ()
    if installation.docker is None:
        return _bare(command, installation, timed)
    return _contained(command, installation, installation.docker, timed)


def server_key(command: Command, installation: Installation) -> str:
    """Return what batches must share to be worked by one server, "" for one that wants none.

    Of secrets only the names count: their values are to be in no file, not even as a digest.
    """
    if command.server is None:
        return ""
    docker = installation.docker
    shared = [
        command.server.key,
        command.cwd,
        sorted(environment(command, installation).items()),
        references(installation),
        installation.venv,
        installation.path,
        [docker.image, docker.volumes, docker.args] if docker else None,
    ]
    return hashlib.sha256(json.dumps(shared).encode()).hexdigest()


def checkout(installation: Installation) -> str:
    """Return where the model's checkout is on the machine itself; empty when it is in an image."""
    path = installation.path
    if installation.docker is None or not path:
        return path
    for volume in installation.docker.volumes:
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


def _bare(command: Command, installation: Installation, timed: Sequence[str]) -> str:
    server = command.server
    program = quote((server or command).argv[0])
    checks = [f"command -v {program} > /dev/null || {{ fault no-program {program}; return 1; }}"]
    for folder in sorted({command.cwd, installation.path} - {""}):
        place = quote(folder)
        checks.insert(0, f"[ -d {place} ] || {{ fault no-folder {place}; return 1; }}")
    env = dict(environment(command, installation))
    if server is None:
        folder = quote(command.cwd) if command.cwd else ""
        engine = _in_place(env, folder, (*timed, *command.argv))
        return _functions({"check": checks, "engine": engine})
    folder = quote(command.cwd) if command.cwd else '"$slot"'
    env |= _secret_names(installation)
    return _functions({"check": checks, "serve": _in_place(env, folder, server.argv, '"$slot"')})


def _secret_names(installation: Installation) -> Mapping[str, str]:
    """Return the variable that tells a server what it must not show."""
    names = " ".join(references(installation))
    return {"COSMOS_JOBS_SECRETS": names} if names else {}


def _in_place(
    env: Mapping[str, str], folder: str, argv: Sequence[str], more: str = ""
) -> Sequence[str]:
    """Return commands that run `argv` in a folder; that and the argument `more` are shell text."""
    return [
        "(",
        *exporting(env, {}),
        '[ "$1" = cpu ] || export CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"',
        *([f"cd -- {folder} || exit 127"] if folder else []),
        f"exec {join(argv)} {more}".rstrip(),
        ")",
    ]


def _contained(
    command: Command, installation: Installation, docker: Docker, timed: Sequence[str]
) -> str:
    image, server = quote(docker.image), command.server
    # A container of a batch is looked for wherever this file is.
    mark = "" if server else ": > container; "
    checks = [
        f"docker image inspect {image} > /dev/null 2> docker.err && {{ {mark}return 0; }}",
        f"if grep -qi 'no such image' docker.err; then fault no-image {image}; return 1; fi",
        'fault no-docker "$(head -n 1 docker.err)"; return 1',
    ]
    # Secrets are taken from our environment, and so are on no command line; the others are not
    # in it: PATH or HOME are meant for the container, not for docker itself.
    secrets = references(installation)
    env = dict(environment(command, installation))
    if server is None:
        run = _docker_run(
            f'{join((*timed, "docker", "run", "--rm"))} --name "$batch"'
            ' --label "cosmos-jobs.batch=$batch"',
            quote(command.cwd) if command.cwd else '"$folder"',
            _inside(env, secrets, docker, command.argv),
        )
        return _functions({"check": checks, "engine": run})
    env |= _secret_names(installation)
    run = _docker_run(
        'docker run --rm --name "$box" --label "cosmos-jobs.server=${slot##*/}"',
        quote(command.cwd) if command.cwd else '"$slot"',
        f'{_inside(env, secrets, docker, server.argv)} "$slot"',
    )
    return _functions({"check": checks, "serve": run})


def _docker_run(run: str, folder: str, inside: str) -> Sequence[str]:
    return [
        # Both are read as CSV: a field in quotes may hold commas, and quotes twice.
        'device="\\"device=$(echo "$1" | tr " " ,)\\""',
        'if [ "$1" = cpu ]; then set --; else set -- --gpus "$device"; fi',
        'place=$(printf %s "$root" | sed \'s/"/""/g\')',
        f'{run} --label "cosmos-jobs.root=$root" "$@"'
        f' --mount "type=bind,\\"source=$place\\",\\"target=$place\\"" --workdir {folder} {inside}',
    ]


def _inside(
    env: Mapping[str, str], secrets: Sequence[str], docker: Docker, argv: Sequence[str]
) -> str:
    settings = [*(f"{name}={value}" for name, value in env.items()), *secrets]
    variables = [part for each in settings for part in ("--env", each)]
    volumes = [part for volume in docker.volumes for part in ("--volume", volume)]
    return join((*variables, *volumes, *docker.args, docker.image, *argv))


def _functions(functions: Mapping[str, Sequence[str]]) -> str:
    lines = [f"{name}() {{\n" + "\n".join(body) + "\n}" for name, body in functions.items()]
    return "\n".join([*lines, ""])
