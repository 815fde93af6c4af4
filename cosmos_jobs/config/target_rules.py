"""What is wrong with the targets and enhancers of a project file, beyond their shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cosmos_jobs.config.schema import listed
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Where
from cosmos_jobs.core.redaction import looks_secret, masked

LOCAL = "local"
"""The target that is always there: this machine."""

WITH_DRIVER = frozenset({"transfer2.5"})
"""The engines that have a driver of ours beside the model's own program."""

VENV = "venv"
"""The runtime of an engine that is not in a container."""

OWN_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("--partition", "-p"), "partition"),
    **dict.fromkeys(("--account", "-A"), "account"),
    "--gres": "gres",
    **dict.fromkeys(("--time", "-t"), "time"),
    "--mem": "mem",
    **dict.fromkeys(("--cpus-per-task", "-c"), "cpus"),
    **dict.fromkeys(("--array", "-a"), "array_limit"),
    **dict.fromkeys(("--job-name", "-J", "--comment", "--output", "-o", "--error", "-e"), ""),
    **dict.fromkeys(("--chdir", "-D", "--export", "--export-file", "--wrap", "--parsable"), ""),
    **dict.fromkeys(("--input", "-i", "--open-mode", "--wait", "-W", "--hold", "-H"), ""),
    **dict.fromkeys(("--signal", "--dependency", "-d", "--test-only"), ""),
}
"""Options of sbatch that are not for `extra`, with the key that is for them."""

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_BUCKET = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/[^\s?#]*)?")
_ONE = "keep one of the two"
# Switches are no secrets, whatever their name: HF_HUB_DISABLE_IMPLICIT_TOKEN=1.
_SWITCHES = frozenset({"", "0", "1", "true", "false", "yes", "no", "on", "off"})


def problems(
    targets: Mapping[str, Mapping[str, Any] | None], locator: Locator
) -> Iterator[Diagnostic]:
    """Yield every mistake in the meaning of `targets`; values of a wrong shape are left out."""
    for name, given in targets.items():
        at: Where = ("targets", name)
        target = given or {}
        yield from _hosts(target, at, locator)
        yield from _root(target, at, locator)
        yield from _gpus(target, at, locator)
        yield from _executor(target, at, locator)
        for engine, installation in (target.get("engines") or {}).items():
            place: Where = (*at, "engines", engine)
            yield from _installation(installation or {}, place, locator, target)


def gpus(given: int | list[int | str]) -> tuple[str, ...]:
    """Return the ids that `gpus` means: a number of GPUs has the ids from 0 on."""
    if isinstance(given, list):
        return tuple(_id(each) for each in given if each is not None)
    return tuple(str(number) for number in range(int(given)))


def _id(given: float | str) -> str:
    return given if isinstance(given, str) else str(int(given))


def gres_gpus(gres: str) -> int:
    """Return how many GPUs `gres` asks for: `gpu:h100:2` is two, `gpu` one."""
    return sum(count for _, count in gpu_types(gres))


def gpu_types(gres: str) -> Iterator[tuple[str, int]]:
    """Yield the types, "" for any, and numbers of the GPUs in `gpu:TYPE:NUMBER,…`."""
    for each in gres.split(","):
        # Behind a parenthesis it says which sockets they are of.
        name, *rest = each.partition("(")[0].removeprefix("gres/").split(":")
        if name == "gpu":
            count = int(rest.pop()) if rest and rest[-1].isdigit() else 1
            yield (rest[0] if rest else ""), count


def _hosts(target: Mapping[str, Any], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    if "hosts" not in target:
        return
    place: Where = (*at, "hosts")
    if at[-1] == LOCAL:
        message = "`local` is this machine and has no `hosts`"
        hint = "give the target another name, such as `gpu`"
        yield locator.diagnostic(place, "local-hosts", message, key=True, hint=hint)
    yield from _repeated(target["hosts"], place, locator)


def _repeated(given: list[str | None], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    for number, each in enumerate(given):
        if each is not None and each in given[:number]:
            message = f"`{each}` is listed twice"
            hint = "remove one of the two"
            yield locator.diagnostic((*at, number), "listed-twice", message, hint=hint)


def _root(target: Mapping[str, Any], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    root = target.get("root")
    if root is not None:
        yield from _path(root, (*at, "root"), locator, absolute="hosts" in target)
        if not root.strip("/."):
            message = "`root` must be a folder of its own"
            hint = "for example `root: /data/cosmos-jobs`"
            yield locator.diagnostic((*at, "root"), "bad-root", message, hint=hint)
    elif "hosts" in target:
        message = f"`root` is missing in target `{at[-1]}`: which folder of its hosts may we use?"
        hint = "add one that is ours alone, such as `root: /data/cosmos-jobs`"
        yield locator.diagnostic(at, "missing-root", message, key=True, hint=hint)


def _path(given: str, at: Where, locator: Locator, *, absolute: bool) -> Iterator[Diagnostic]:
    if given == "~" or given.startswith("~/"):
        message = f"`~` is not expanded in `{at[-1]}`"
        yield locator.diagnostic(at, "home-path", message, hint="write the whole path")
    elif absolute and not given.startswith("/"):
        message = f"`{at[-1]}` must be an absolute path: it is one of another machine or an image"
        hint = f"begin it with `/`, such as /data/{given.removeprefix('./')}"
        yield locator.diagnostic(at, "relative-path", message, hint=hint)


def _gpus(target: Mapping[str, Any], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    given = target.get("gpus", 0)
    if isinstance(given, list):
        ids = [None if each is None else _id(each) for each in given]
        yield from _repeated(ids, (*at, "gpus"), locator)
    count, each = len(gpus(given)), target.get("gpus_per_batch", 1)
    if count and each > count:
        message = f"a batch takes {each} GPUs, and a machine has {count}"
        place: Where = (*at, "gpus_per_batch")
        yield locator.diagnostic(place, "too-few-gpus", message, hint=f"use {count} or less")


def _executor(target: Mapping[str, Any], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    if target.get("executor") != "slurm":
        if "slurm" in target:
            message = "`slurm` is for a target whose executor is Slurm"
            hint = "add `executor: slurm`"
            yield locator.diagnostic((*at, "slurm"), "no-slurm", message, key=True, hint=hint)
        return
    if at[-1] == LOCAL:
        message = "`local` is this machine itself and takes no turns in a cluster"
        hint = "give the target another name, such as `cluster`"
        yield locator.diagnostic((*at, "executor"), "local-slurm", message, hint=hint)
    if len(target.get("hosts", ())) > 1:
        message = "a cluster is reached by one login node"
        hint = "name one; nodes that do the work are Slurm's own affair"
        yield locator.diagnostic((*at, "hosts"), "many-logins", message, hint=hint)
    for key in ("gpus", "gpus_per_batch"):
        if key in target:
            message = f"Slurm itself gives GPUs to batches: `{key}` is not for a cluster"
            hint = 'say how many a batch takes: slurm: {gres: "gpu:1"}'
            yield locator.diagnostic((*at, key), "slurm-gpus", message, key=True, hint=hint)
    yield from _extra((target.get("slurm") or {}).get("extra", ()), (*at, "slurm"), locator)


def _extra(given: Collection[str | None], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    for number, each in enumerate(given):
        name = re.split("[= ]", each or "")[0]
        place: Where = (*at, "extra", number)
        if name in OWN_OPTIONS:
            message = f"`{name}` is set by us"
            key = OWN_OPTIONS[name]
            hint = f"say it as `{key}`, beside `extra`" if key else "remove it"
            yield locator.diagnostic(place, "own-option", message, hint=hint)


def _installation(
    given: Mapping[str, Any], at: Where, locator: Locator, target: Mapping[str, Any]
) -> Iterator[Diagnostic]:
    docker = given.get("docker")
    yield from _driver(given, at, locator)
    yield from _runtime(given, at, locator, target)
    for key in ("venv", "path"):
        if key in given:
            absolute = "hosts" in target or docker is not None or "image" in given
            yield from _path(given[key], (*at, key), locator, absolute=absolute)
    yield from _environment(given.get("env") or {}, (*at, "env"), locator)
    yield from _arguments(given.get("args") or (), (*at, "args"), locator)
    if docker is not None:
        yield from _environment(docker.get("env") or {}, (*at, "docker", "env"), locator)
        yield from _arguments(docker.get("args") or (), (*at, "docker", "args"), locator)


def _runtime(
    given: Mapping[str, Any], at: Where, locator: Locator, target: Mapping[str, Any]
) -> Iterator[Diagnostic]:
    runtime, image = given.get("runtime", VENV), given.get("image")
    if "docker" in given:
        for key in ("runtime", "image", "volumes", "args"):
            if key in given:
                message, hint = f"`{key}` is said twice, here and by `docker`", "remove one of them"
                yield locator.diagnostic((*at, key), "two-runtimes", message, key=True, hint=hint)
        return
    if runtime != VENV and image is None:
        message = f"which image is {runtime} to run?"
        yield locator.diagnostic((*at, "runtime"), "no-image", message, hint="add `image: …`")
    for key in ("image", "volumes", "args"):
        if key in given and runtime == VENV:
            message = f"`{key}` is for a container"
            hint = "add `runtime: docker`, `apptainer` or `pyxis`"
            yield locator.diagnostic((*at, key), "no-runtime", message, key=True, hint=hint)
    if runtime == "pyxis" and target.get("executor") != "slurm":
        message = "pyxis is a part of Slurm"
        hint = "use docker or apptainer, or a target with `executor: slurm`"
        yield locator.diagnostic((*at, "runtime"), "pyxis-alone", message, hint=hint)
    if runtime in ("apptainer", "pyxis") and set(":,") & set(target.get("root") or ""):
        message = f"{runtime} cannot mount a folder with `:` or `,` in its name"
        hint = f"give `root` of `{at[1]}` another name"
        yield locator.diagnostic((*at, "runtime"), "bad-root", message, hint=hint)


def _driver(given: Mapping[str, Any], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    if at[-1] in WITH_DRIVER:
        return
    for key in ("driver", "idle_s"):
        if key in given:
            message = f"`{at[-1]}` has no `{key}`: only {listed(WITH_DRIVER)} keeps a model loaded"
            hint = "remove it"
            yield locator.diagnostic((*at, key), "no-driver", message, key=True, hint=hint)


def _environment(given: Mapping[str, str], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    for name, value in given.items():
        if _REFERENCE.fullmatch(value):
            continue
        if "${" in value:
            message = f"`{name}` must be either text or one `${{NAME}}`, not both"
            hint = f"write `${{{name}}}`, and set {name} in the environment to the whole value"
            yield locator.diagnostic((*at, name), "bad-reference", message, hint=hint)
        elif _is_secret(name, value):
            message = f"`{name}` has its value in the open"
            hint = f"write ${{{name}}}: secrets do not belong in this file"
            yield locator.diagnostic((*at, name), "open-secret", message, key=True, hint=hint)


def _is_secret(name: str, value: str) -> bool:
    named = looks_secret(name) and value.lower() not in _SWITCHES
    return named or masked(value) != value


def _arguments(given: Collection[str | None], at: Where, locator: Locator) -> Iterator[Diagnostic]:
    for number, each in enumerate(given):
        if each is not None and masked(each) != each:
            message = "this option has a secret in the open"
            hint = "write it under `env`, as `HF_TOKEN: ${HF_TOKEN}`"
            yield locator.diagnostic((*at, number), "open-secret", message, hint=hint)


def enhancer_problems(
    enhancers: Mapping[str, Mapping[str, Any] | None],
    targets: Collection[str],
    locator: Locator,
) -> Iterator[Diagnostic]:
    """Yield every mistake in the meaning of `enhancers`, with the `targets` that there are."""
    for name, given in enhancers.items():
        settings, at = given or {}, ("enhancers", name)
        key, url, target = (settings.get(each, "") for each in ("api_key", "base_url", "target"))
        if key and not _REFERENCE.fullmatch(key):
            message = "`api_key` must be one `${NAME}`: secrets do not belong in this file"
            hint = "write `${OPENAI_API_KEY}`, and set OPENAI_API_KEY in the environment"
            yield locator.diagnostic((*at, "api_key"), "open-secret", message, key=True, hint=hint)
        if url and masked(url) != url:
            message = "`base_url` has a secret in the open"
            hint = "take it out of the address, and write `api_key: ${NAME}`"
            place: Where = (*at, "base_url")
            yield locator.diagnostic(place, "open-secret", message, key=True, hint=hint)
        if target and target not in targets:
            message = f"unknown target `{target}`"
            hint = f"the targets are {listed(targets)}"
            yield locator.diagnostic((*at, "target"), "unknown-target", message, hint=hint)


def shared_problems(
    name: str,
    given: Mapping[str, str],
    targets: Mapping[str, Mapping[str, Any] | None],
    locator: Locator,
) -> Iterator[Diagnostic]:
    """Yield every mistake in the meaning of `state` or `outputs`, with the `targets` there are."""
    if len(given) > 1:
        message = f"`{name}` has both a `target` and a `url`: it is one place"
        yield locator.diagnostic((name, "url"), "two-places", message, key=True, hint=_ONE)
    if "target" in given:
        yield from _shared_target(name, given["target"], targets, locator)
    if "url" in given:
        yield from _shared_url((name, "url"), given["url"], locator)


def _shared_target(
    setting: str, name: str, targets: Mapping[str, Mapping[str, Any] | None], locator: Locator
) -> Iterator[Diagnostic]:
    at: Where = (setting, "target")
    hosts = (targets.get(name) or {}).get("hosts", ())
    if name not in targets:
        hint = f"the targets are {listed(targets)}"
        yield locator.diagnostic(at, "unknown-target", f"unknown target `{name}`", hint=hint)
    elif not hosts:
        message = f"`{name}` is this machine, which is the place without this setting"
        hint = f"name a target that has a host, or remove `{setting}`"
        yield locator.diagnostic(at, "no-host", message, hint=hint)
    elif len(hosts) > 1:
        message = f"`{name}` has {len(hosts)} hosts, and `{setting}` is a place on one"
        hint = "make a target of the one that is to keep it"
        yield locator.diagnostic(at, "many-hosts", message, hint=hint)


def _shared_url(at: Where, url: str, locator: Locator) -> Iterator[Diagnostic]:
    if "@" in url or masked(url) != url:
        message = "`url` has credentials in the open"
        hint = "take them out: they come from AWS_ACCESS_KEY_ID, a profile or a role"
        yield locator.diagnostic(at, "open-secret", message, key=True, hint=hint)
    elif not _BUCKET.fullmatch(url):
        message = "`url` must be a bucket and a prefix"
        hint = "write s3://BUCKET/PREFIX; AWS_ENDPOINT_URL says which server"
        yield locator.diagnostic(at, "bad-url", message, hint=hint)


def without_secrets(problem: Diagnostic) -> Diagnostic:
    """Return a problem whose line of the file shows no secret; without it where it must not."""
    shown = masked(problem.source)
    end = problem.span.end_column - 1 if problem.span else 0
    # What is underlined must stay in its place.
    moved = shown[:end] != problem.source[:end]
    return replace(problem, source="" if moved else shown)


def unknown(target: str, known: Collection[str], locator: Locator) -> Diagnostic:
    """Return the problem that the project's own `target` is none of those `known`."""
    message = f"unknown target `{target}`"
    hint = f"the targets are {listed(known)}"
    return locator.diagnostic(("target",), "unknown-target", message, hint=hint)
