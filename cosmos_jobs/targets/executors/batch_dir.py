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
from typing import Any

from cosmos_jobs.config.project import DOCKER
from cosmos_jobs.core import failures, serialize
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.core.redaction import masked
from cosmos_jobs.core.safe_path import SafePath
from cosmos_jobs.errors import ConnectionLost, HostError
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.executors.base import Submission, Swept
from cosmos_jobs.targets.hosts.base import Completed, Host
from cosmos_jobs.targets.layout import Layout, Name

LOG_TAIL_BYTES = 8192
LOG_PART_BYTES = 4 << 20
CLAIM_GRACE_S = 10
PATIENCE_S = 60
PAUSE_S = 0.5
"""How long a question is asked again whose answer is lost on the way each time."""

NO_GPU = "cpu"
"""The lease of a machine whose engines need no GPU: one batch at a time."""


class BatchDirectory:
    """The batches below `root` on a host, as far as files tell of them.

    `client` names us to others; `owner` marks the batches that we still need.
    Values of `secrets` are not shown, nor are those of submissions.
    """

    def __init__(
        self, host: Host, root: str, *, client: str, owner: str, secrets: Collection[str] = ()
    ) -> None:
        self.root = root
        self.client = client
        self.owner = owner
        self.layout = Layout(root)
        self._host = host
        self._secrets = set(secrets)

    @property
    def host(self) -> str:
        """What the host is called."""
        return self._host.name

    async def find(self, runs: Sequence[str]) -> Mapping[str, str]:
        """Return the batches that runs were last given to on this host, by whomever."""
        said = await self._ask("find", {}, "look for runs", scripts.printing("runs", runs))
        return dict(line.split() for line in said.splitlines())

    async def list(self) -> Sequence[str]:
        """Return all batches that have a folder here."""
        said = await self._ask("list", {}, "list batches")
        return sorted(line.removeprefix("./") for line in said.splitlines())

    async def describe(self, batches: Collection[str]) -> Mapping[str, bytes]:
        """Return what each batch that is there is for, as its client described it."""
        told = await self._read(f"{batch}/{Name.DESCRIPTION}" for batch in batches)
        return {path.split("/")[0]: data for path, data in told.items()}

    async def read(self, names: Mapping[str, Sequence[str]]) -> Mapping[str, Mapping[str, str]]:
        """Return the texts of small files below the `out/` of batches, in one round trip."""
        paths = {
            (batch, name): f"{batch}/{Name.OUT}/{name}"
            for batch, each in names.items()
            for name in each
        }
        found = await self._read(paths.values())
        told: dict[str, dict[str, str]] = {batch: {} for batch in names}
        for (batch, name), path in paths.items():
            if path in found:
                told[batch][name] = found[path].decode(errors="replace")
        return told

    async def _read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of those files below the folder of batches that exist."""
        asked = list(paths)
        said = await self._ask("read", {}, "read files", scripts.printing("files", asked))
        told = said.splitlines()
        return {
            asked[int(number)]: base64.b64decode(data)
            for number, data in zip(told[::2], told[1::2], strict=True)
        }

    async def log(self, batch: str, offset: int) -> tuple[bytes, int]:
        """Return the batch's log from a byte on, LOG_PART_BYTES at most, and where it goes on.

        At the log's end it is empty. It ends at the end of a line, as far as
        there is one: a secret is seen in whole lines only.
        """
        values = {"batch": batch, "from": offset + 1, "most": LOG_PART_BYTES}
        data = base64.b64decode(await self._ask("log", values, "read the log"))
        data = data[: data.rfind(b"\n") + 1] or data
        text = masked(data.decode(errors="surrogateescape"), self._secrets)
        return text.encode(errors="surrogateescape"), offset + len(data)

    async def keep(self, batches: Sequence[str]) -> None:
        """Say that we need what batches made, whoever started them, so that nobody prunes it."""
        await self._mark(batches, is_needed=True)

    async def release(self, batches: Sequence[str]) -> None:
        """Say that we have all that we need of the batches."""
        await self._mark(batches, is_needed=False)

    async def _mark(self, batches: Sequence[str], *, is_needed: bool) -> None:
        values = {"batches": " ".join(batches), "needed": "yes" if is_needed else ""}
        await self._ask("mark", {**values, "owner": self.owner}, "mark batches")

    async def sweep(self, needed: Collection[str], judge: str, *, delete: bool) -> Sequence[Swept]:
        """Return what nobody needs any more: ended batches, and inputs of none that stays.

        `needed` are batches that we need ourselves; with `delete` the others go.
        `judge` is an executor's, which knows what is at work.
        """
        values = {
            "needed": " ".join(needed),
            "owner": self.owner,
            "grace": CLAIM_GRACE_S,
            "delete": "yes" if delete else "",
        }
        functions = f"{scripts.text('lib')}\n{judge}"
        said = await self._ask("sweep", values, "look for what can go", functions, 600)
        lines = (line.split() for line in said.splitlines())
        return [Swept(name, int(size)) for name, size in lines]

    def path(self, batch: str, name: SafePath) -> str:
        """Return where a file below a batch's `out/` is on the host."""
        return self.layout.out(batch, name)

    # --- for executors ------------------------------------------------------------------------

    def contents(
        self, submission: Submission, values: Mapping[str, object], *parts: str
    ) -> Mapping[str, bytes]:
        """Return the files of a batch's folder.

        `values` are further ones of its run.sh, and `parts` names of the
        scripts that have what is the executor's own in it.
        """
        self._secrets.update(submission.secrets.values())
        batch = submission.batch
        runs = "".join(" ".join((run, *submission.known.get(run, ()))) + "\n" for run in batch.runs)
        return {
            **submission.command.files,
            Name.DESCRIPTION: submission.description,
            Name.RUNS: runs.encode(),
            Name.INPUTS: "".join(f"{sha256}\n" for sha256 in submission.inputs).encode(),
            Name.SCRIPT: self._run_script(submission, values, parts).encode(),
        }

    def _run_script(
        self, submission: Submission, values: Mapping[str, object], parts: Sequence[str]
    ) -> str:
        installation, container = submission.installation, submission.installation.container
        in_docker = container is not None and container.runtime == DOCKER
        image = container.image if container else ""
        shared = {
            "batch": submission.batch.id,
            "folder": self.layout.batch(submission.batch.id),
            "root": self.root,
            "client": self.client,
            "image": image if in_docker else "",
            "image_name": image,
            "limit": submission.limit_s or "",
            "secrets": " ".join(scripts.references(installation)),
            "checkout": scripts.checkout(installation),
            "asked": serialize.ASKED,
            "server": "",
        }
        engine = launcher.engine(submission.command, installation, submission.limit_s)
        functions = scripts.texts("lib", "mask", "facts", *parts)
        return scripts.script("run", {**shared, **values}, f"{functions}\n{engine}")

    async def look(
        self,
        batches: Sequence[str],
        judging: str,
        values: Mapping[str, object],
        timeout_s: float = 60,
    ) -> Sequence[str]:
        """Return the lines that a look at batches prints; `judging` says how each stands."""
        given = {"batches": " ".join(batches), "tail": LOG_TAIL_BYTES, **values}
        functions = f"{scripts.text('lib')}\n{judging}"
        what = f"list {self.layout.batch('')}"
        return (await self._ask("poll", given, what, functions, timeout_s)).split("\n")

    def statuses(self, lines: Iterable[str]) -> dict[str, Status]:
        """Return what the lines of a look say of each batch."""
        return statuses(lines, self._secrets)

    async def _ask(
        self,
        name: str,
        values: Mapping[str, object],
        what: str,
        functions: str = "",
        timeout_s: float = 60,
    ) -> str:
        script = scripts.script(name, {"root": self.root, **values}, functions)
        return await self.run(script, what, timeout_s)

    async def run(self, script: str, what: str, timeout_s: float = 60) -> str:
        """Return what a script prints; HostError where it fails, which cannot do `what`."""
        return self.answer(await self.attempt(script, timeout_s), what)

    def answer(self, done: Completed, what: str) -> str:
        """Return what a script has printed; HostError where it failed."""
        if done.exit_code != 0:
            why = done.stderr.strip() or "its shell ended without a word"
            raise HostError(f"{self.host} cannot {what}: {why}", hint=failures.hint(why))
        return done.stdout

    async def attempt(self, script: str, timeout_s: float) -> Completed:
        """Run a script to its end, again where that end is unknown: ours may all be repeated."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with suppress(ConnectionLost):
                done = await self._host.run(script, timeout_s=timeout_s)
                if done.exit_code is not None:
                    return done
            await asyncio.sleep(PAUSE_S)
        return await self._host.run(script, timeout_s=timeout_s)


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
        case Name.STARTED:
            return {"started": _time(rest)}
        case Name.EXIT:
            code, _, when = rest.partition(" ")
            return {"exit_code": int(code), "finished": _time(when)}
        case Name.FAULT | Name.GPU:
            return {kind: rest}
        case Name.REFUSED:
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
