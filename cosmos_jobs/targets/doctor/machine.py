"""What a machine of a target has and lacks: a script that asks it, and its answers as checks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from cosmos_jobs import __version__
from cosmos_jobs.config import project
from cosmos_jobs.config.project import (
    APPTAINER,
    DOCKER,
    ENGINE,
    FILE,
    Container,
    Installation,
    Target,
)
from cosmos_jobs.config.schema import listed
from cosmos_jobs.targets import executors
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.findings import MARK, Check, Facts, Verdict

PROGRAMS: Mapping[str, str] = {
    "awk": "mawk",
    "base64": "coreutils",
    "dd": "coreutils",
    "find": "findutils",
    "flock": "util-linux",
    "gzip": "gzip",
    "head": "coreutils",
    "setsid": "util-linux",
    "sha256sum": "coreutils",
    "stat": "coreutils",
    "tail": "coreutils",
    "tar": "tar",
    "timeout": "coreutils",
    "xargs": "findutils",
}
"""What our scripts call on a machine, each with Debian's package of it."""

SPACE_LOW, SPACE_NONE = 20e9, 1e9
"""Free bytes below which there is a warning, and below which no run fits."""

SKEW_S = 2.0
"""Seconds that two clocks may differ."""

MEMORY_IN_USE = 1024
"""MiB of a GPU that are in use before we ask by whom."""

COMMITS = {"transfer1": "5005e823", "transfer2.5": "2ff49d07", "cosmos3": "5eee9ed5"}
"""The commit of each model's repository that its engine is written for."""

_LIMIT_S = 30
_VERSIONS = """\
import sys
try:
    from cosmos_jobs import __version__ as ours
except ImportError:
    ours = "none"
print("python", sys.version.split()[0], ours)
"""


@dataclass(frozen=True, slots=True)
class Trip:
    """When, by our clock, the script was sent and its answer was there: seconds since 1970."""

    sent: float
    received: float


# --- the script -----------------------------------------------------------------------------


def script(target: Target) -> str:
    """Return the POSIX shell script that asks a machine for all facts, in one round trip."""
    questions = "".join((":\n", *_questions(target), executors.of(target).questions(target)))
    values = {"root": target.root, "programs": " ".join(PROGRAMS), "mark": MARK, "limit": _LIMIT_S}
    return scripts.script("machine", values, f"questions() {{\n{questions}\n}}\n")


def _questions(target: Target) -> Iterator[str]:
    if _has_gpus(target):
        yield scripts.text("gpus")
    if _needs_docker(target):
        yield scripts.text("docker")
    for engine, installation in installed(target).items():
        yield from _engine_questions(target, engine, installation)


def _is_elsewhere(target: Target) -> bool:
    """Return whether batches run on machines that this one tells nothing of."""
    return executors.traits(target).queues_elsewhere


def _has_gpus(target: Target) -> bool:
    return bool(target.gpus) and not _is_elsewhere(target)


def _needs_docker(target: Target) -> bool:
    containers = (each.container for each in installed(target).values())
    return not _is_elsewhere(target) and any(each and each.runtime == DOCKER for each in containers)


def installed(target: Target) -> Mapping[str, Installation]:
    """Return the engines of a target; this machine's own preview is one of them."""
    own = target.installation(ENGINE)
    return {**({ENGINE: own} if own else {}), **target.engines}


def _engine_questions(target: Target, engine: str, installation: Installation) -> Iterator[str]:
    for name in _references(installation).values():
        yield f'[ -z "${{{name}:-}}" ] || fact variable {name}\n'
    container = installation.container
    if container and container.runtime == APPTAINER:
        yield "has apptainer && fact apptainer\n"
        yield f"[ ! -e {quote(container.image)} ] || fact image {engine}\n"
    elif container and _needs_docker(target):
        image = quote(container.image)
        yield f"limited docker image inspect {image} > /dev/null 2>&1 && fact image {engine}\n"
    if container:
        return
    if installation.path:
        path = quote(installation.path)
        commit = f"git -c safe.directory='*' -C {path} rev-parse --short=12 HEAD 2> /dev/null"
        yield f'[ -d {path} ] && fact folder:{engine} "$({commit})"\n'
    python = quote(target.python(engine))
    yield f'fact python:{engine} "$(limited {python} -c {quote(_VERSIONS)} 2>&1 | tail -n 1)"\n'


def _references(installation: Installation) -> Mapping[str, str]:
    """Return the variables that are secrets, each with the NAME of its `${NAME}`."""
    return {key: value[2:-1] for key, value in installation.env.items() if value.startswith("${")}


# --- the checks -----------------------------------------------------------------------------


def judged(
    target: Target,
    address: str,
    found: Facts,
    trip: Trip,
    secrets: Mapping[str, Collection[str]],
) -> tuple[Check, ...]:
    """Return the checks of a machine, whose `address` is "" for this one.

    `secrets` are, by engine, the variables that the environment here has a value for.
    """
    on = _On(address)
    return tuple(
        each
        for part in (
            _reached(address, found, trip),
            _programs(found, on),
            _root(target, found, on),
            _gpus(target, found, on),
            _engines(target, found, on, secrets),
            executors.of(target).judged(target, found),
        )
        for each in part
    )


def ssh_command(address: str) -> str:
    """Return how a user reaches `[user@]host[:port]` by hand."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        return f"ssh -p {port} {host.replace('[', '').replace(']', '')}"
    return f"ssh {address}"


@dataclass(frozen=True, slots=True)
class _On:
    """A machine, for hints on what to type there."""

    address: str

    def type(self, command: str) -> str:
        """Return what to type here to run a command there."""
        return f"{ssh_command(self.address)} {quote(command)}" if self.address else command


def _reached(address: str, found: Facts, trip: Trip) -> Iterator[Check]:
    if "clock-at-end" not in found:
        said = "its shell did not run our script to its end"
        hint = f"does `{ssh_command(address)} echo hello` print hello?" if address else ""
        yield Check("shell", Verdict.MISSING, said, hint)
    elif address:
        there = _seconds(found.one("clock")), _seconds(found.one("clock-at-end"))
        way_s = max(0.0, trip.received - trip.sent - (there[1] - there[0]))
        yield Check("ssh", Verdict.OK, f"answers after {way_s * 1000:.0f} ms, with connecting")
        yield _clock(there, trip, way_s)


def _seconds(text: str) -> float:
    """Return the time that `date +%s.%N` printed; some know no %N."""
    match = re.match(r"\d+(\.\d+)?", text)
    return float(match[0]) if match else 0.0


def _clock(there: tuple[float, float], trip: Trip, way_s: float) -> Check:
    # As NTP does; where on the way the time was lost is not known, so half of it is taken off.
    skew_s = (there[0] + there[1] - trip.sent - trip.received) / 2
    if abs(skew_s) - way_s / 2 <= SKEW_S:
        return Check("clock", Verdict.OK, "agrees with ours")
    ahead = "ahead of" if skew_s > 0 else "behind"
    said = f"is {abs(skew_s):,.0f} s {ahead} ours: times in logs and tables will differ"
    return Check("clock", Verdict.WARNING, said, "timedatectl set-ntp true, on both machines")


def _programs(found: Facts, on: _On) -> Iterator[Check]:
    if missing := found.all("no-program"):
        packages = " ".join(sorted({PROGRAMS[each] for each in missing}))
        verb = "is" if len(missing) == 1 else "are"
        said = f"{listed(missing)} {verb} not installed"
        hint = on.type(f"sudo apt-get install {packages}")
        yield Check("programs", Verdict.MISSING, said, hint)
    else:
        yield Check("programs", Verdict.OK, f"all {len(PROGRAMS)} are there")


def _root(target: Target, found: Facts, on: _On) -> Iterator[Check]:
    if "root-is-writable" not in found:
        said = _last_words(found.one("root-trouble")) or f"{target.root} cannot be written"
        folder = quote(target.root)
        hint = on.type(f'sudo mkdir -p {folder} && sudo chown "$USER" {folder}')
        yield Check("root", Verdict.MISSING, said, hint)
        return
    yield Check("root", Verdict.OK, f"{target.root} can be written")
    if numbers := re.search(r"(\d+) +\d+ +(\d+) +\d+%", found.one("space")):
        yield _disk(int(numbers[1]) * 1024, int(numbers[2]) * 1024, target, on)


def _disk(size: float, free: float, target: Target, on: _On) -> Check:
    said = f"{_gb(free)} of {_gb(size)} are free"
    if free >= SPACE_LOW:
        return Check("disk", Verdict.OK, said)
    verdict = Verdict.MISSING if free < SPACE_NONE else Verdict.WARNING
    prune = "cosmos-jobs prune --remote" if target.hosts else "cosmos-jobs prune"
    return Check("disk", verdict, said, f"{prune}; what else is big: {on.type('df -h')}")


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size < 100e9 else f"{size / 1e9:,.0f} GB"


def _last_words(text: str) -> str:
    """Return an error of a shell without the shell's own name and line number."""
    return re.sub(r"^(\S*sh: (line )?\d+: )", "", text)


# --- GPUs -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gpu:
    index: str
    uuid: str
    name: str
    total_mib: int
    used_mib: int


def _listed_gpus(lines: Iterable[str]) -> Iterator[_Gpu]:
    for line in lines:
        parts = [each.strip() for each in line.split(",")]
        # Some GPUs have no memory of their own: [N/A].
        if len(parts) == 5:
            total, used = (int(each.split()[0]) if each[:1].isdigit() else 0 for each in parts[3:])
            yield _Gpu(parts[0], parts[1], parts[2], total, used)


def _gpus(target: Target, found: Facts, on: _On) -> Iterator[Check]:
    if not _has_gpus(target):
        return
    there = tuple(_listed_gpus(found.all("gpu")))
    if not there:
        said = found.one("gpu-trouble") or "nvidia-smi lists no GPU"
        hint = f"install NVIDIA's driver, or remove `gpus` of `{target.name}` from {FILE}"
        yield Check("gpus", Verdict.MISSING, said, hint)
        return
    chosen = {each: _named(each, there) for each in target.gpus}
    parts = found.one("gpu-parts")
    lacking = [each for each, gpu in chosen.items() if gpu is None and not _part(each, parts)]
    if lacking:
        said = f"there is no GPU {listed(lacking, 'or')}, only {listed([g.index for g in there])}"
        hint = f"correct `gpus` of `{target.name}` in {FILE}; see: {on.type('nvidia-smi -L')}"
        yield Check("gpus", Verdict.MISSING, said, hint)
        return
    ours = [gpu for gpu in chosen.values() if gpu]
    yield Check("gpus", Verdict.OK, _described(ours, target, there))
    yield from _gpu_warnings(target, ours, on)


def _named(name: str, gpus: Iterable[_Gpu]) -> _Gpu | None:
    """Return the GPU of an index or of a UUID, which may be cut short as CUDA allows."""
    return next(
        (
            each
            for each in gpus
            if name == each.index or (name.startswith("GPU-") and each.uuid.startswith(name))
        ),
        None,
    )


def _part(name: str, parts: str) -> bool:
    return name.startswith("MIG-") and name in parts


def _described(ours: Sequence[_Gpu], target: Target, there: Sequence[_Gpu]) -> str:
    models = sorted({(each.name, each.total_mib) for each in ours})
    named = ", ".join(f"{name}, {mib / 1024:.0f} GiB" if mib else name for name, mib in models)
    of = "" if len(there) == len(target.gpus) else f" of {len(there)}"
    return f"{len(target.gpus)}{of} × {named or 'parts of a GPU'}"


def _gpu_warnings(target: Target, ours: Sequence[_Gpu], on: _On) -> Iterator[Check]:
    if busy := [each for each in ours if each.used_mib > MEMORY_IN_USE]:
        used = ", ".join(f"GPU {each.index}: {each.used_mib / 1024:.1f} GiB" for each in busy)
        hint = f"fine if it is a run of ours; else see by whom: {on.type('nvidia-smi')}"
        yield Check("gpu memory", Verdict.WARNING, f"in use ({used})", hint)
    others = sorted({each.name for each in ours if target.gpu.lower() not in each.name.lower()})
    if others:
        said = f"`{target.name}` says {target.gpu}, and the machine has {', '.join(others)}"
        hint = f"write `gpu: {others[0]}` in {FILE}, so that estimates hold"
        yield Check("gpu name", Verdict.WARNING, said, hint)


# --- engines --------------------------------------------------------------------------------


def _engines(
    target: Target, found: Facts, on: _On, secrets: Mapping[str, Collection[str]]
) -> Iterator[Check]:
    engines = installed(target)
    if not engines:
        hint = f"add `engines: {{preview: {{venv: /opt/cosmos-jobs}}}}` to it in {FILE}"
        yield Check("engines", Verdict.MISSING, f"`{target.name}` lists none", hint)
    if _needs_docker(target):
        yield _docker(found, on)
    for engine, installation in engines.items():
        if installation.container:
            yield from _image(engine, installation.container, target, found, on)
        else:
            yield from _folder(engine, installation, found, on)
            yield _python(target, engine, installation, found, on)
        yield from _variables(engine, installation, found, secrets.get(engine, ()))


def _docker(found: Facts, on: _On) -> Check:
    if "docker" in found:
        return Check("docker", Verdict.OK, f"version {found.one('docker')} answers")
    said = found.one("docker-trouble") or "does not answer"
    if "not installed" in said:
        hint = "see https://docs.docker.com/engine/install/"
    elif "permission denied" in said.lower():
        hint = on.type('sudo usermod -aG docker "$USER"')
    else:
        hint = on.type("sudo systemctl start docker")
    return Check("docker", Verdict.MISSING, said, hint)


def _image(
    engine: str, container: Container, target: Target, found: Facts, on: _On
) -> Iterator[Check]:
    match container.runtime:
        case project.DOCKER if not _is_elsewhere(target):
            yield from _docker_image(engine, container, found, on)
        case project.APPTAINER:
            yield _image_file(engine, container, target, found)
        case runtime:
            said = f"image {container.image}; only the nodes know whether {runtime} has it"
            yield Check(engine, Verdict.OK, said)


def _docker_image(engine: str, container: Container, found: Facts, on: _On) -> Iterator[Check]:
    if "docker" not in found:
        return
    if engine in found.all("image"):
        yield Check(engine, Verdict.OK, f"image {container.image}")
        return
    image = quote(container.image)
    hint = f"{on.type(f'docker pull {image}')}, or build it there: docker build -t {image} FOLDER"
    yield Check(engine, Verdict.MISSING, f"there is no image {container.image}", hint)


def _image_file(engine: str, container: Container, target: Target, found: Facts) -> Check:
    # Many clusters have it on their nodes only.
    if "apptainer" not in found and not _is_elsewhere(target):
        hint = "see https://apptainer.org/docs/admin/latest/installation.html"
        return Check(engine, Verdict.MISSING, "apptainer is not installed", hint)
    if container.image.startswith("/") and engine not in found.all("image"):
        hint = f"apptainer pull {quote(container.image)} docker://IMAGE, or correct `image`"
        return Check(engine, Verdict.MISSING, f"there is no image {container.image}", hint)
    return Check(engine, Verdict.OK, f"image {container.image}")


def _folder(engine: str, installation: Installation, found: Facts, on: _On) -> Iterator[Check]:
    if not installation.path:
        return
    if f"folder:{engine}" not in found:
        hint = f"clone the model's repository there, or correct `path` in {FILE}"
        yield Check(engine, Verdict.MISSING, f"there is no folder {installation.path}", hint)
        return
    commit, known = found.one(f"folder:{engine}"), COMMITS.get(engine, "")
    said = f"{installation.path}, {f'commit {commit}' if commit else 'no git commit'}"
    if not commit or commit.startswith(known):
        yield Check(engine, Verdict.OK, said)
        return
    path = quote(installation.path)
    hint = on.type(f"git -C {path} fetch && git -C {path} checkout {known}")
    yield Check(engine, Verdict.WARNING, f"{said}; we know its program at {known}", hint)


def _python(
    target: Target, engine: str, installation: Installation, found: Facts, on: _On
) -> Check:
    python = target.python(engine)
    said = found.one(f"python:{engine}")
    answer = re.fullmatch(r"python (\S+) (\S+)", said)
    if not answer:
        hint = f"correct `venv` in {FILE}"
        if engine == ENGINE and installation.venv:
            venv = quote(installation.venv)
            hint = on.type(f"python3 -m venv {venv} && {_install(venv)}")
        detail = f"{python} does not run: {_last_words(said) or 'no answer'}"
        return Check(engine, Verdict.MISSING, detail, hint)
    version, ours = answer.groups()
    if engine != ENGINE or ours == __version__:
        return Check(engine, Verdict.OK, f"Python {version}, {python}")
    has = "no cosmos-jobs" if ours == "none" else f"cosmos-jobs {ours}"
    install = (
        _install(quote(installation.venv))
        if installation.venv
        else (f"{quote(python)} -m pip install cosmos-jobs=={__version__}")
    )
    detail = f"{python} has {has}; {__version__} is needed"
    return Check(engine, Verdict.MISSING, detail, on.type(install))


def _install(venv: str) -> str:
    return f"{venv}/bin/pip install cosmos-jobs=={__version__}"


def _variables(
    engine: str, installation: Installation, found: Facts, here: Collection[str]
) -> Iterator[Check]:
    there = found.all("variable")
    wanted = _references(installation)
    lacking = [name for key, name in wanted.items() if key not in here and name not in there]
    if lacking:
        said = f"{listed(lacking)} has no value, neither here nor there"
        hint = f"export {lacking[0]}=…, here or in the machine's environment"
        yield Check(engine, Verdict.WARNING, said, hint)
