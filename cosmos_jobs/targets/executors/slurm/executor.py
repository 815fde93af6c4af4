"""Batches as elements of Slurm's job arrays: Slurm says whether one lives, files what it made.

The login node and all nodes share the target's `root`. Slurm is asked seldom,
and about all batches at once; files are looked at in between.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import secrets as randomness
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from cosmos_jobs.config.project import Target
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.executors.base import Say, Submission
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.executors.slurm import script as arrays
from cosmos_jobs.targets.executors.slurm import settings, states, traits
from cosmos_jobs.targets.executors.slurm.states import Key, Place, Told
from cosmos_jobs.targets.layout import Name

ASK_EVERY_S = (5.0, 30.0)
"""Between two questions to Slurm: at first, and where nothing happens."""

ANSWER_S = 20
"""How long Slurm may take to answer one."""

AWAY_PAUSE_S = (2.0, 30.0)
AWAY_PATIENCE_S = 900.0
CANCEL_S = 120
SCRIPT_S = 180
FILES_LATE_S = 60.0
"""How long a shared folder may take to show what a node has written."""

_AWAY = re.compile(
    r"(?i)unable to contact|unable to establish|not respond|timed out|zero bytes|refused"
    r"|temporarily unable|in standby|communication|somebody else|^\s*$"
)
_BUSY = "somebody else"
_TEMPORARY = 75
_ASKING = "ask Slurm for its limits"


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What a cluster allows: elements in an array, seconds of a job, and whether it keeps books."""

    max_array: int
    max_time_s: int | None
    has_accounting: bool


class SlurmExecutor:
    """Hands batches to the Slurm cluster that a target's host is a login node of.

    `say` is told what is waited for.
    """

    def __init__(
        self, batches: BatchDirectory, target: Target, say: Say = lambda line: None
    ) -> None:
        self.traits = traits(target)
        self._batches = batches
        self._target = target
        self._say = say
        self._slurm = settings(target)
        self._known: _Cluster | None = None
        self._queue: Mapping[Key, Told] = {}
        self._ended: dict[Key, Told] = {}
        self._ended_at: dict[Key, float] = {}
        self._missing: dict[Key, Place] = {}
        self._cancelled: set[str] = set()
        self._is_away = False
        self._asked_at = 0.0
        self._pause_s = 0.0

    @property
    def judge(self) -> str:
        """Shell text that asks Slurm which arrays it still has to do with."""
        return f"patience={ANSWER_S}\n{scripts.texts(*_LIB, 'slurm/sweep')}"

    # --- submit ---------------------------------------------------------------------------

    async def submit(self, submissions: Sequence[Submission]) -> None:
        """Submit batches as arrays, one for each engine; waits for a controller that is away."""
        cluster = await self._cluster()
        limit = min(self.traits.at_once, cluster.max_array)
        by_engine: dict[str, list[Submission]] = {}
        for submission in submissions:
            by_engine.setdefault(submission.batch.engine, []).append(submission)
        for members in by_engine.values():
            for part in _parts(members, limit):
                await self._insist(self._array(part, cluster), f"submit {_batches(len(part))}")

    def _array(self, submissions: Sequence[Submission], cluster: _Cluster) -> str:
        """Return the script that submits batches of one engine as one array."""
        name = f"ca_{randomness.token_hex(8)}"
        limits = [submission.limit_s for submission in submissions if submission.limit_s]
        limit_s = max(limits) if len(limits) == len(submissions) else None
        if limit_s and cluster.max_time_s:
            limit_s = min(limit_s, cluster.max_time_s - arrays.MARGIN_S)
        array = arrays.script(name, len(submissions), self._slurm, limit_s, self._batches.client)
        given = {
            key: value for submission in submissions for key, value in submission.secrets.items()
        }
        functions = [
            *scripts.exporting_references(submissions[0].installation, given),
            _printing("unpack", _packed(self._folders(submissions))),
            scripts.printing("array_script", array.splitlines()),
        ]
        values = {
            "batches": " ".join(submission.batch.id for submission in submissions),
            "name": name,
            "owner": self._batches.owner,
        }
        return self._script("submit", values, "\n".join(functions))

    def _script(self, name: str, values: Mapping[str, object], functions: str = "") -> str:
        """Return one of the scripts for a login node."""
        shared = {"root": self._batches.root, "patience": ANSWER_S}
        functions = f"{functions}\n{scripts.texts('lib', *_LIB)}"
        return scripts.script(f"slurm/{name}", {**shared, **values}, functions)

    def _folders(self, submissions: Iterable[Submission]) -> Iterator[tuple[str, bytes]]:
        """Yield the files of batches, each below the batch's id."""
        for submission in submissions:
            # No process outlives its job.
            bare = replace(submission, command=replace(submission.command, server=None))
            for name, data in self._batches.contents(bare, {}, "slurm/element").items():
                yield f"{submission.batch.id}/{name}", data
            yield f"{submission.batch.id}/{Name.NEEDED}/{self._batches.owner}", b""

    async def _cluster(self) -> _Cluster:
        if self._known is None:
            self._known = _limits(await self._insist(self._asking(), _ASKING))
        return self._known

    async def _has_accounting(self) -> bool | None:
        """Return whether there are books of what has ended; None while the controller is away."""
        if self._known is None:
            done = await self._batches.attempt(self._asking(), SCRIPT_S)
            if done.exit_code == _TEMPORARY:
                return None
            self._known = _limits(self._batches.answer(done, _ASKING))
        return self._known.has_accounting

    def _asking(self) -> str:
        """Return the script that asks what the cluster allows."""
        return self._script("limits", {"partition": self._slurm.partition.split(",")[0]})

    async def _insist(self, script: str, what: str, timeout_s: float = SCRIPT_S) -> str:
        """Run a script, again as long as Slurm's controller is away; return what it prints.

        Raises HostError when it refuses, or stays away for AWAY_PATIENCE_S.
        """
        give_up = time.monotonic() + AWAY_PATIENCE_S
        pause, longest = AWAY_PAUSE_S
        told = ""
        while True:
            done = await self._batches.attempt(script, timeout_s)
            if done.exit_code != _TEMPORARY:
                return self._batches.answer(done, what)
            said = done.stderr.strip().splitlines()
            why = "; ".join(line.removeprefix("sbatch: error: ") for line in said)
            if not _AWAY.search(why):
                raise HostError(
                    f"{self._batches.host}: Slurm does not {what}: {why}",
                    hint=f"look closer: cosmos-jobs doctor {self._target.name};"
                    " where it is too much at a time, lower array_limit, or apply again later",
                )
            waits_for = "somebody else, who is submitting" if _BUSY in why else states.AWAY
            if time.monotonic() > give_up:
                minutes = f"{AWAY_PATIENCE_S / 60:.0f} minutes"
                raise HostError(
                    f"{self._batches.host}: waited {minutes} for {waits_for}: {why}",
                    hint="look at it there: scontrol ping; then repeat: nothing is lost",
                )
            if waits_for != told:
                told = waits_for
                self._say(f"{self._batches.host}: waits for {waits_for}")
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, longest)

    # --- poll -----------------------------------------------------------------------------

    async def poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        """Return how the batches stand; one that was never submitted is ABSENT."""
        is_first = not self._asked_at
        told = await self._poll(batches)
        if is_first and self._missing:
            # Who looks only once is to know how these have ended.
            await asyncio.sleep(self._pause_s + 0.1)
            told = await self._poll(batches)
        return told

    async def _poll(self, batches: Sequence[str]) -> Mapping[str, Status]:
        query = await self._query()
        jobs = sorted({place.job for place in self._missing.values()} - {""})
        values = {"query": query, "jobs": ",".join(jobs), "patience": ANSWER_S, "gpus": ""}
        judging = scripts.texts(*_LIB, "slurm/judge", "slurm/queue")
        lines = await self._batches.look(batches, judging, values, 60 + ANSWER_S * len(jobs))
        told = self._batches.statuses(lines)
        found = {
            batch: _numbered(place, told[batch]) for batch, place in states.places(lines).items()
        }
        is_fresh = self._learn(query, lines, found, told)
        judged = {
            batch: self._judged(batch, status, found.get(batch), is_fresh=is_fresh)
            for batch, status in told.items()
        }
        return {batch: Status(Life.ABSENT) for batch in batches} | judged

    async def _query(self) -> str:
        """Return what Slurm is asked now, "" for nothing."""
        if time.monotonic() - self._asked_at < self._pause_s:
            return ""
        if not self._missing or (has_books := await self._has_accounting()) is None:
            # Of a controller that is away the queue tells just that.
            return "queue"
        return "sacct" if has_books else "scontrol"

    def _learn(
        self,
        query: str,
        lines: Sequence[str],
        found: Mapping[str, Place],
        told: Mapping[str, Status],
    ) -> bool:
        """Take note of what Slurm says; return whether that is its whole queue, of now."""
        if not query:
            return False
        self._asked_at = time.monotonic()
        shortest, longest = ASK_EVERY_S
        answered = "answered" in lines
        self._is_away = any(line.startswith("silent ") for line in lines)
        before = self._queue
        if query == "queue" and answered:
            self._queue = states.queue(lines)
            self._missing = {
                place.key: place
                for batch, place in found.items()
                if told[batch].life is Life.RUNNING
                and (place.job or place.has_begun)
                and place.key not in self._queue
                and place.key not in self._ended
            }
        elif answered:
            self._close(states.history(lines))
        is_new = before != self._queue or bool(self._missing) or query != "queue"
        self._pause_s = shortest if is_new else min(max(1.5 * self._pause_s, shortest), longest)
        return query == "queue" and answered

    def _close(self, history: Mapping[Key, Told]) -> None:
        """Note how the elements have ended that are missing in the queue."""
        for key, place in self._missing.items():
            told = states.ended(place, history)
            if not told.is_active:
                self._ended[key] = told
                self._ended_at[key] = time.monotonic()
        self._missing = {}

    def _judged(self, batch: str, status: Status, place: Place | None, *, is_fresh: bool) -> Status:
        if place is None or status.life is not Life.RUNNING:
            return status
        if batch in self._cancelled:
            return replace(status, life=Life.CANCELLED)
        told = self._ended.get(place.key) or self._queue.get(place.key)
        if told is None and not place.job and not place.has_begun:
            # Cut before sbatch, unless somebody is just at it: to submit it again does no harm.
            return Status(Life.ABSENT) if is_fresh else status
        if (
            told
            and not told.is_active
            and not place.is_cancelled
            and self._is_young(place.key, told)
        ):
            # What it wrote at last may not be seen yet.
            told = None
        after = states.judged(status, place, told)
        if self._is_away and after.life is Life.RUNNING and not place.has_begun:
            return replace(after, waits_for=states.AWAY)
        return after

    def _is_young(self, key: Key, told: Told) -> bool:
        """Return whether an element has ended less than FILES_LATE_S ago."""
        if told.age_s is None or key not in self._ended_at:
            return False
        return told.age_s + time.monotonic() - self._ended_at[key] < FILES_LATE_S

    # --- cancel ---------------------------------------------------------------------------

    async def cancel(self, batches: Sequence[str], *, kill: bool = True) -> frozenset[str]:
        """End the batches; when this returns Slurm has ended the jobs of all.

        Without `kill` only those end that have not begun: they never will.
        Return those that others need too: they are left alone, and no longer marked as ours.
        """
        values = {
            "batches": " ".join(batches),
            "owner": self._batches.owner,
            "kill": "yes" if kill else "",
            "grace": CANCEL_S,
        }
        said = await self._insist(self._script("cancel", values), "cancel", 120 + CANCEL_S)
        shared = frozenset(line.removeprefix("shared ") for line in said.splitlines())
        if kill:
            self._cancelled |= {*batches} - shared
        return shared


_LIB = ("slurm/variables", "slurm/lib")


def _batches(count: int) -> str:
    return "1 batch" if count == 1 else f"{count:,} batches"


def _numbered(place: Place, status: Status) -> Place:
    """Return the place of a batch; where its array's number was lost, it has noted its own."""
    return replace(place, job=place.job or status.facts.get("slurm_job", "").partition("_")[0])


def _parts(submissions: Sequence[Submission], size: int) -> Iterator[list[Submission]]:
    left = iter(submissions)
    while part := list(islice(left, size)):
        yield part


def _limits(said: str) -> _Cluster:
    """Return the limits in what `scontrol show config` and `show partition` print."""
    config = dict(re.findall(r"^(\w+) *= *(.*?) *$", said, re.MULTILINE))
    # Of several partitions the first is the one that was asked for, or else the default.
    limit = re.search(r"\bMaxTime=(\S+)", said)
    storage = config.get("AccountingStorageType", "")
    return _Cluster(
        max(1, int(config.get("MaxArraySize", "1001"))),
        arrays.seconds(limit[1]) if limit else None,
        storage not in ("", "(null)", "accounting_storage/none"),
    )


def _packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return files as tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=3) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), int(time.time())
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _printing(name: str, data: bytes) -> str:
    """Return the shell function `name`, which prints `data`."""
    text = base64.encodebytes(data).decode().rstrip("\n")
    return f"{name}() {{\nbase64 -d << 'END'\n{text}\nEND\n}}\n"
