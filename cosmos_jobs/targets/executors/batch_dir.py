"""Batches in their folders on a host: written, found, read, marked and swept.

Everything of a batch is in `<root>/batches/<batch id>/`, whoever schedules it:
what it is for, its `run.sh`, its log, what it made, and `exit`, written last.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any

from cosmos_jobs.config.project import DOCKER, Target
from cosmos_jobs.core import failures, serialize
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.errors import ConnectionLost, HostError
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.executors.base import Order, Swept
from cosmos_jobs.targets.hosts.base import Completed, Host

LOG_TAIL_BYTES = 8192
LOG_PART_BYTES = 4 << 20
CLAIM_GRACE_S = 10
PATIENCE_S = 60
PAUSE_S = 0.5
"""How long a question is asked again whose answer is lost on the way each time."""

NO_GPU = "cpu"
"""The lease of a machine whose engines need no GPU: one batch at a time."""


class Folders:
    """The batches of `target` on `host`, one of its machines, as far as files tell of them.

    `client` names us to others; `owner` marks the batches that we still need.
    Values of `secrets` are not shown, nor are those of orders.
    """

    def __init__(
        self,
        host: Host,
        target: Target,
        client: str,
        owner: str,
        *,
        secrets: Collection[str] = (),
    ) -> None:
        self._host = host
        self._target = target
        self._client = client
        self._owner = owner
        self._batches = f"{target.root}/batches"
        self._secrets = set(secrets)

    @property
    def slots(self) -> int:
        """How many batches run at a time."""
        return self._target.slots

    async def find(self, runs: Sequence[str]) -> Mapping[str, str]:
        """Return the batches that runs were last given to on this host, by whomever."""
        values = {"root": self._target.root}
        functions = scripts.printing("runs", runs)
        said = await self._run(scripts.script("find", values, functions), "look for runs")
        return dict(line.split() for line in said.splitlines())

    async def batches(self) -> Sequence[str]:
        """Return all batches that have a folder here."""
        script = f"cd {quote(self._batches)} 2>/dev/null && find . -maxdepth 1 -name 'ba_*'; exit 0"
        said = await self._run(script, "list batches")
        return sorted(line.removeprefix("./") for line in said.splitlines())

    async def describe(self, batches: Collection[str]) -> Mapping[str, bytes]:
        """Return what each batch that is there is for, as its client described it."""
        return {
            path.split("/")[0]: data
            for path, data in (await self._read(f"{b}/batch.json" for b in batches)).items()
        }

    async def read(self, names: Mapping[str, Sequence[str]]) -> Mapping[str, Mapping[str, str]]:
        """Return the texts of small files below the `out/` of batches, in one round trip."""
        found = await self._read(
            f"{batch}/out/{name}" for batch, each in names.items() for name in each
        )
        texts = {path: data.decode(errors="replace") for path, data in found.items()}
        return {
            batch: {name: texts[path] for name in each if (path := f"{batch}/out/{name}") in texts}
            for batch, each in names.items()
        }

    async def _read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of those files below `batches/` that exist."""
        asked = list(paths)
        lines = [
            f"[ -f {quote(path)} ] && echo {number} && base64 -w 0 {quote(path)} && echo"
            for number, path in enumerate(asked)
        ]
        there = f"cd {quote(self._batches)} 2>/dev/null || exit 0\n"
        said = await self._run(there + "\n".join([*lines, "exit 0"]), "read files")
        told = said.splitlines()
        return {
            asked[int(number)]: base64.b64decode(data)
            for number, data in zip(told[::2], told[1::2], strict=True)
        }

    async def log(self, batch: str, offset: int) -> tuple[bytes, int]:
        """Return the batch's log from a byte on, LOG_PART_BYTES at most, and where it goes on.

        It ends at the end of a line, as far as there is one: a secret is seen in whole lines only.
        """
        path = quote(f"{self._batches}/{batch}/log")
        part = f"tail -c +{offset + 1} {path} | head -c {LOG_PART_BYTES} | base64 -w 0"
        said = await self._run(f"[ ! -f {path} ] || {part}", "read the log")
        data = base64.b64decode(said)
        data = data[: data.rfind(b"\n") + 1] or data
        text = masked(data.decode(errors="surrogateescape"), self._secrets)
        return text.encode(errors="surrogateescape"), offset + len(data)

    async def keep(self, batches: Sequence[str]) -> None:
        """Say that we need what batches made, whoever started them, so that nobody prunes it."""
        await self._mark(
            batches, '[ ! -d "$batch" ] || { mkdir -p "$batch/needed" && : > "$mark"; }'
        )

    async def release(self, batches: Sequence[str]) -> None:
        """Say that we have all that we need of the batches."""
        await self._mark(batches, 'rm -f "$mark"')

    async def _swept(self, needed: Collection[str], judging: str, *, delete: bool) -> list[Swept]:
        """Return the batches and inputs that nobody needs any more; with `delete` they go.

        `judging` is shell text that says how a batch stands.
        """
        values = {
            "root": self._target.root,
            "needed": " ".join(needed),
            "owner": self._owner,
            "grace": CLAIM_GRACE_S,
            "delete": "yes" if delete else "",
        }
        script = scripts.script("sweep", values, judging)
        said = await self._run(script, "look for what can go", 600)
        lines = (line.split() for line in said.splitlines())
        return [Swept(name, int(size)) for name, size in lines]

    def _contents(self, order: Order, values: Mapping[str, object]) -> dict[str, bytes]:
        """Return the files of a batch's folder; `values` are further ones of its run.sh."""
        self._secrets.update(order.secrets.values())
        batch = order.batch
        runs = "".join(" ".join((run, *order.known.get(run, ()))) + "\n" for run in batch.runs)
        return {
            **order.command.files,
            "batch.json": order.description,
            "runs": runs.encode(),
            "inputs": "".join(f"{sha256}\n" for sha256 in order.inputs).encode(),
            "run.sh": self._run_script(order, values).encode(),
        }

    def _run_script(self, order: Order, values: Mapping[str, object]) -> str:
        installation, container = order.installation, order.installation.container
        in_docker = container is not None and container.runtime == DOCKER
        image = container.image if container else ""
        shared = {
            "batch": order.batch.id,
            "folder": f"{self._batches}/{order.batch.id}",
            "root": self._target.root,
            "client": self._client,
            "image": image if in_docker else "",
            "image_name": image,
            "limit": order.limit_s or "",
            "secrets": " ".join(scripts.references(installation)),
            "checkout": scripts.checkout(installation),
            "asked": serialize.ASKED,
        }
        engine = launcher.engine(order.command, installation, order.limit_s)
        return scripts.script("run", {**shared, **values}, engine)

    async def _look(
        self,
        batches: Sequence[str],
        judging: Sequence[str],
        values: Mapping[str, object],
        timeout_s: float = 60,
    ) -> str:
        """Return what a look at batches prints; scripts of `judging` say how each stands."""
        shared = {"root": self._target.root, "batches": " ".join(batches), "tail": LOG_TAIL_BYTES}
        functions = "\n".join(map(scripts.text, judging))
        script = scripts.script("poll", {**shared, **values}, functions)
        return await self._run(script, f"list {self._batches}", timeout_s)

    async def _mark(self, batches: Sequence[str], action: str) -> None:
        lines = [
            f"cd {quote(self._batches)} || exit 0",
            f"for batch in {' '.join(batches)}; do",
            f'mark="$batch/needed/{self._owner}"',
            action,
            "done",
        ]
        await self._run("\n".join(lines), "mark batches")

    async def _run(self, script: str, what: str, timeout_s: float = 60) -> str:
        return self._answer(await self._done(script, timeout_s), what)

    def _answer(self, done: Completed, what: str) -> str:
        if done.exit_code != 0:
            why = done.stderr.strip() or "its shell ended without a word"
            raise HostError(f"{self._host.name} cannot {what}: {why}", hint=failures.hint(why))
        return done.stdout

    async def _done(self, script: str, timeout_s: float) -> Completed:
        """Run a script to its end, again where that end is unknown: ours may all be repeated."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with suppress(ConnectionLost):
                done = await self._host.run(script, timeout_s=timeout_s)
                if done.exit_code is not None:
                    return done
            await asyncio.sleep(PAUSE_S)
        return await self._host.run(script, timeout_s=timeout_s)

    def path(self, batch: str, name: SafePath) -> str:
        """Return where a file below a batch's `out/` is on the host."""
        return f"{self._batches}/{batch}/out/{name}"


def statuses(lines: Iterable[str], secrets: Collection[str] = ()) -> dict[str, Status]:
    """Return what a poll printed, by batch; logs without the values of `secrets`."""
    found: dict[str, dict[str, Any]] = {}
    holders: list[tuple[str, str]] = []
    current: dict[str, Any] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        match kind:
            case "batch":
                batch, _, life = rest.partition(" ")
                current = found[batch] = {"life": Life(life), "files": [], "log": [], "facts": {}}
            case "look":
                current = found[rest]
            case "holder":
                name, _, holder = rest.partition(" ")
                holders.append((name, holder))
            case "file" | "log" if current:
                current["files" if kind == "file" else "log"].append(rest)
            case "fact" if current:
                name, _, value = rest.partition(" ")
                current["facts"][name] = value
            case _:
                current |= _event(kind, rest)
    return {batch: _status(each, holders, secrets) for batch, each in found.items()}


def _event(kind: str, rest: str) -> dict[str, Any]:
    match kind:
        case "started":
            return {"started": _time(rest)}
        case "exit":
            code, _, when = rest.partition(" ")
            return {"exit_code": int(code), "finished": _time(when)}
        case "fault" | "gpu":
            return {kind: rest}
        case "refused":
            return {"others": tuple(rest.split())}
    return {}


def _status(
    told: dict[str, Any], holders: Sequence[tuple[str, str]], secrets: Collection[str]
) -> Status:
    waits = told["life"] is Life.RUNNING and "started" not in told
    return Status(
        **{
            **told,
            "files": tuple(told["files"]),
            "log": masked("\n".join(told["log"]), secrets),
            "waits_for": " or ".join(_holder(*each) for each in holders) if waits else "",
        }
    )


def _holder(name: str, holder: str) -> str:
    batch, _, client = holder.partition(" ")
    return f"{'the machine' if name == NO_GPU else f'GPU {name}'}, used by {batch} of {client}"


def _time(text: str) -> float:
    """Return seconds since 1970; a `date` that knows no %N leaves the letter."""
    return float(text.strip().rstrip("N"))
