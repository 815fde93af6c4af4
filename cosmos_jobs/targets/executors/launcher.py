"""How an engine is started: shell functions that do it on the machine itself, or in a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import join, quote

from cosmos_jobs.config import project
from cosmos_jobs.config.project import Container, Installation
from cosmos_jobs.core.batch import Command
from cosmos_jobs.targets.executors.script import environment, exporting, references
from cosmos_jobs.targets.layout import Name

KILL_AFTER_S = 30
"""How long an engine that is told to end may take before it is killed, a server also."""


def engine(command: Command, installation: Installation, limit_s: int | None) -> str:
    """Return the shell functions `check` and `engine` of a batch; `serve` in place of `engine`.

    `check` says in `fault` what the machine lacks; the others get the leased GPUs
    as one argument, divided by spaces. `serve` runs a server in the folder `$slot`.
    """
    timed = ("timeout", f"--kill-after={KILL_AFTER_S}", str(limit_s)) if limit_s else ()
    container = installation.container
    if container is None:
        return _bare(command, installation, timed)
    contained = {project.DOCKER: _docker, project.APPTAINER: _apptainer, project.PYXIS: _pyxis}
    return contained[container.runtime](command, installation, container, timed)


def started(command: Command, installation: Installation, container: Container) -> Sequence[str]:
    """Return the commands of the shell that run an engine in Apptainer or Pyxis, on GPUs `$1`."""
    if container.runtime == project.APPTAINER:
        return _in_apptainer(command, installation, container, ())
    return _in_pyxis(command, installation, container, ())


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


def _docker(
    command: Command, installation: Installation, docker: Container, timed: Sequence[str]
) -> str:
    image, server = quote(docker.image), command.server
    # A container of a batch is looked for wherever this file is.
    mark, said = "" if server else f": > {Name.CONTAINER}; ", Name.DOCKER
    checks = [
        f"docker image inspect {image} > /dev/null 2> {said} && {{ {mark}return 0; }}",
        f"if grep -qi 'no such image' {said}; then fault no-image {image}; return 1; fi",
        f'fault no-docker "$(head -n 1 {said})"; return 1',
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
    env: Mapping[str, str], secrets: Sequence[str], docker: Container, argv: Sequence[str]
) -> str:
    settings = [*(f"{name}={value}" for name, value in env.items()), *secrets]
    variables = [part for each in settings for part in ("--env", each)]
    volumes = [part for volume in docker.volumes for part in ("--volume", volume)]
    return join((*variables, *volumes, *docker.args, docker.image, *argv))


def _apptainer(
    command: Command, installation: Installation, container: Container, timed: Sequence[str]
) -> str:
    image = quote(container.image)
    checks = ["command -v apptainer > /dev/null || { fault no-program apptainer; return 1; }"]
    if container.image.startswith("/"):
        checks.append(f"[ -e {image} ] || {{ fault no-image-file {image}; return 1; }}")
    name = "serve" if command.server else "engine"
    return _functions(
        {"check": checks, name: _in_apptainer(command, installation, container, timed)}
    )


def _in_apptainer(
    command: Command, installation: Installation, container: Container, timed: Sequence[str]
) -> Sequence[str]:
    server = command.server
    env = dict(environment(command, installation))
    if server:
        env |= _secret_names(installation)
    folder = quote(command.cwd) if command.cwd else '"$slot"' if server else '"$folder"'
    # Variables of this name are set inside; those of the machine itself are not.
    inside = {f"APPTAINERENV_{name}": value for name, value in env.items()}
    binds = [part for volume in container.volumes for part in ("--bind", volume)]
    words = join((*binds, *container.args, container.image, *(server or command).argv))
    program = join((*timed, "apptainer", "exec", "--cleanenv"))
    return [
        "(",
        *exporting(inside, {}),
        *(f'export APPTAINERENV_{name}="${name}"' for name in references(installation)),
        'if [ "$1" = cpu ]; then set --; else',
        'export APPTAINERENV_CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"',
        "set -- --nv",
        "fi",
        f'exec {program} "$@" --bind "$root:$root" --pwd {folder} {words}'
        + (' "$slot"' if server else ""),
        ")",
    ]


def _pyxis(
    command: Command, installation: Installation, container: Container, timed: Sequence[str]
) -> str:
    checks = ["command -v srun > /dev/null || { fault no-program srun; return 1; }"]
    return _functions(
        {"check": checks, "engine": _in_pyxis(command, installation, container, timed)}
    )


def _in_pyxis(
    command: Command, installation: Installation, container: Container, timed: Sequence[str]
) -> Sequence[str]:
    env = environment(command, installation)
    # What the image sets by itself wins over the machine's, but for these.
    names = sorted({*env, *references(installation)})
    more = "".join(f",{volume}" for volume in container.volumes)
    folder = quote(command.cwd) if command.cwd else '"$folder"'
    words = [
        "exec",
        *map(quote, timed),
        '"$srun" --ntasks=1 --export=ALL "$@"',
        f'--container-mounts="$root:$root"{quote(more) if more else ""}',
        f"--container-workdir={folder}",
        *([f"--container-env={','.join(names)}"] if names else []),
        join((f"--container-image={container.image}", *container.args, *command.argv)),
    ]
    return [
        "(",
        # Where PATH is one of ours, it is meant for the container.
        "srun=$(command -v srun)",
        *exporting(env, {}),
        # Slurm 22.05 and later do not pass it on.
        "set -- ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}",
        " ".join(words),
        ")",
    ]


def _functions(functions: Mapping[str, Sequence[str]]) -> str:
    lines = [f"{name}() {{\n" + "\n".join(body) + "\n}" for name, body in functions.items()]
    return "\n".join([*lines, ""])
