"""The shell scripts of the process executor: the files in `shell/`, with their values in front."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from shlex import join, quote

from cosmos_jobs.project import Docker, Installation

_FOLDER = Path(__file__).parent / "shell"
KILL_AFTER_S = 30
"""How long an engine that is told to end may take before it is killed."""


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


def engine(
    argv: Sequence[str], env: Mapping[str, str], installation: Installation, limit_s: int | None
) -> str:
    """Return the shell functions `check` and `engine` of a batch.

    `check` says in `fault` what the machine lacks; `engine` gets the leased
    GPUs as one argument, divided by spaces.
    """
    timed = ("timeout", f"--kill-after={KILL_AFTER_S}", str(limit_s)) if limit_s else ()
    if installation.docker is None:
        return _bare(argv, env, installation, timed)
    return _contained(argv, env, installation, installation.docker, timed)


def _bare(
    argv: Sequence[str], env: Mapping[str, str], installation: Installation, timed: Sequence[str]
) -> str:
    program = quote(argv[0])
    checks = [f"command -v {program} > /dev/null || {{ fault no-program {program}; return 1; }}"]
    if installation.path:
        folder = quote(installation.path)
        checks.insert(0, f"[ -d {folder} ] || {{ fault no-folder {folder}; return 1; }}")
    return _functions(
        checks,
        [
            *exporting(env, {}),
            '[ "$1" = cpu ] || export CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"',
            join((*timed, *argv)),
        ],
    )


def _contained(
    argv: Sequence[str],
    env: Mapping[str, str],
    installation: Installation,
    docker: Docker,
    timed: Sequence[str],
) -> str:
    image = quote(docker.image)
    checks = [
        f"docker image inspect {image} > /dev/null 2> docker.err && {{ : > container; return 0; }}",
        f"if grep -qi 'no such image' docker.err; then fault no-image {image}; return 1; fi",
        'fault no-docker "$(head -n 1 docker.err)"; return 1',
    ]
    # Secrets are taken from our environment, and so are on no command line; the others are not
    # in it: PATH or HOME are meant for the container, not for docker itself.
    settings = [f"{name}={value}" for name, value in env.items()]
    settings += [name for name, value in installation.env.items() if is_reference(value)]
    variables = [part for each in settings for part in ("--env", each)]
    volumes = [part for volume in docker.volumes for part in ("--volume", volume)]
    return _functions(
        checks,
        [
            # Both are read as CSV: a field in quotes may hold commas, and quotes twice.
            'device="\\"device=$(echo "$1" | tr " " ,)\\""',
            'if [ "$1" = cpu ]; then set --; else set -- --gpus "$device"; fi',
            'place=$(printf %s "$root" | sed \'s/"/""/g\')',
            f'{join((*timed, "docker", "run", "--rm"))} --name "$batch"'
            ' --label "cosmos-jobs.batch=$batch" --label "cosmos-jobs.root=$root" "$@"'
            ' --mount "type=bind,\\"source=$place\\",\\"target=$place\\"" --workdir "$folder"'
            f" {join((*variables, *volumes, *docker.args, docker.image, *argv))}",
        ],
    )


def _functions(check: Sequence[str], engine: Sequence[str]) -> str:
    lines = ["check() {", *check, "}", "engine() {", *engine, "}", ""]
    return "\n".join(lines)
