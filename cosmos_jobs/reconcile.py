"""Carry a plan out: claim the pending runs, submit their batches, watch, collect, record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from cosmos_jobs import batching, digests, files, lifecycle
from cosmos_jobs.engines import get as engine_named
from cosmos_jobs.errors import HostError
from cosmos_jobs.executors.process import ProcessExecutor
from cosmos_jobs.hosts.local import LocalHost
from cosmos_jobs.model import (
    IN_FLIGHT,
    Batch,
    Desired,
    Event,
    Kind,
    Life,
    Outcome,
    Output,
    PromptRecord,
    Record,
    Snapshot,
    Source,
    State,
    Status,
)
from cosmos_jobs.outputs import Outputs
from cosmos_jobs.project import Project, Target
from cosmos_jobs.protocols import Engine, Executor, Host, Setup, Task
from cosmos_jobs.store import Store, Transaction

TICK_S = 0.1
WRITE_SHARE = 0.04
"""The longest share of time that is spent writing the store."""

RESUBMIT_S = 5.0
MAX_SUBMISSIONS = 6


@dataclass(frozen=True, slots=True)
class Site:
    """A target that is ready to work: its host, its executor and what engines find there."""

    target: Target
    host: Host
    executor: Executor
    setup: Setup


def open_site(target: Target) -> Site:
    """Return the site of a target."""
    host = LocalHost()
    executor = ProcessExecutor(host, target.root, target.slots)
    return Site(target, host, executor, Setup(target.python, target.cache))


@dataclass(slots=True)
class _Watch:
    """A batch that is being watched, and what was already learnt about it."""

    batch: Batch
    site: Site
    engine: Engine
    status: Status = field(default_factory=lambda: Status(Life.ABSENT))
    submitted: float | None = None
    submissions: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    @property
    def settled(self) -> bool:
        """Whether every run has come to its end."""
        return len(self.ended) == len(self.batch.runs)

    def news(self) -> list[str]:
        """Return the runs of which something is known that is not recorded yet."""
        return [run for run in self.batch.runs if run not in self.ended and self._told(run)]

    def _told(self, run: str) -> bool:
        outcome = self.outcomes.get(run)
        if outcome is not None:
            return outcome.state is not State.SUCCEEDED or run in self.outputs
        match self.status.life:
            case Life.ABSENT:
                return False
            case Life.RUNNING:
                return run not in self.begun
        return True


class Reconciler:
    """Makes the world agree with the store's claims; may be stopped and begun again anywhere."""

    def __init__(
        self, project: Project, store: Store, notify: Callable[[Event], None], *, fail_fast: bool
    ) -> None:
        self._project = project
        self._outputs = Outputs(project.outputs)
        self._store = store
        self._notify = notify
        self._fail_fast = fail_fast
        self._sites: dict[str, Site] = {}
        self._claimed: set[str] = set()
        self._write_s = 0.0

    # --- claim ----------------------------------------------------------------------------

    def claim(
        self,
        desired: Sequence[Desired],
        sources: Mapping[str, Source],
        starts: Mapping[str, tuple[str, int]],
        paths: Mapping[str, str],
    ) -> frozenset[str]:
        """Record what the jobs desire, and queue runs: `starts` maps them to target and attempts.

        `paths` are the jobs' files. Return the runs that are queued now. One
        transaction: of two applies that start a run, the second finds that it
        has been tried once more than its plan knew, and leaves it.
        """
        with self._store.transaction() as change:
            known = {each.run.id: change.run(each.run.id) for each in desired}
            records: dict[str, Record] = {}
            for each in desired:
                before = records.get(each.run.id) or known[each.run.id]
                records[each.run.id] = lifecycle.adopt(before, each)
            queued: dict[str, list[Record]] = {}
            for run_id, (target, attempts) in starts.items():
                record = records[run_id]
                if len(record.attempts) == attempts and record.state not in IN_FLIGHT:
                    queued.setdefault(target, []).append(record)
            for target, members in queued.items():
                records |= self._queue(change, target, members)
            change.put_runs(
                record for run_id, record in records.items() if record is not known[run_id]
            )
            change.put_jobs({job: path for job, path in paths.items() if change.job(job) != path})
            prompts = map(self._prompt_record, sources.values())
            change.put_prompts(each for each in prompts if change.prompt(each.prompt.id) != each)
        return frozenset(record.run.id for members in queued.values() for record in members)

    def _queue(
        self, change: Transaction, target: str, records: Sequence[Record]
    ) -> dict[str, Record]:
        site = self._site(target)
        attempts = {record.run.id: len(record.attempts) for record in records}
        batches = [
            batch
            for engine in dict.fromkeys(record.run.engine for record in records)
            for batch in batching.group(
                [record.run for record in records if record.run.engine == engine],
                attempts,
                target,
                engine_named(engine).batch_key,
                site.target.max_batch,
            )
        ]
        change.put_batches(batches)
        self._claimed.update(batch.id for batch in batches)
        by_id = {record.run.id: record for record in records}
        return {
            run_id: lifecycle.queue(by_id[run_id], batch)
            for batch in batches
            for run_id in batch.runs
        }

    def _prompt_record(self, source: Source) -> PromptRecord:
        root = self._project.root
        paths = {role: file.path for role, file in source.files.items()}
        shown = {
            role: str(path.relative_to(root) if path.is_relative_to(root) else path)
            for role, path in paths.items()
        }
        frames = source.files["color"].frames
        return PromptRecord(source.prompt, source.name, source.video, shown, frames)

    # --- settle ---------------------------------------------------------------------------

    async def settle(self, wanted: Collection[str]) -> None:
        """Work until none of the `wanted` runs is in flight, whoever claimed it.

        Cancelled (Ctrl-C), it ends the batches of its own that run on this
        machine, records what came of them, and lets the cancellation pass.
        """
        watches: dict[str, _Watch] = {}
        try:
            while self._find(watches, wanted):
                began = time.monotonic()
                await self._tick(watches)
                # A write every tick must not take more than its share of the time.
                pause = max(TICK_S, self._write_s / WRITE_SHARE - (time.monotonic() - began))
                if any(not watch.settled for watch in watches.values()):
                    await asyncio.sleep(pause)
        except asyncio.CancelledError:
            await self._stop(watches)
            raise

    def _find(self, watches: dict[str, _Watch], wanted: Collection[str]) -> bool:
        """Watch the batches in flight; forget the settled. Looks in the store when none is left."""
        for batch_id in [each for each, watch in watches.items() if watch.settled]:
            del watches[batch_id]
        if not watches:
            known = self._store.snapshot()
            for run_id in wanted:
                if known.states.get(run_id) in IN_FLIGHT:
                    last = known.runs[run_id].last
                    if last is not None and last.batch not in watches:
                        watches[last.batch] = self._watch(known.batches[last.batch])
        return bool(watches)

    def _watch(self, batch: Batch) -> _Watch:
        return _Watch(batch, self._site(batch.target), engine_named(batch.engine))

    def _site(self, name: str) -> Site:
        if name not in self._sites:
            target = self._project.targets.get(name)
            if target is None:
                raise HostError(
                    f"the target `{name}` is no longer in cosmos-jobs.yaml, but runs wait there",
                    hint="put it back, or prune these runs",
                )
            self._sites[name] = open_site(target)
        return self._sites[name]

    async def _tick(self, watches: Mapping[str, _Watch]) -> None:
        sites = _by_site(watches.values())
        known = self._store.snapshot()
        for members in sites:
            await self._look(members)
        for watch in watches.values():
            await self._read(watch, known)
        failed = self._record(list(watches.values()))
        if failed and self._fail_fast:
            await self._stop(watches)
        for members in sites:
            await self._submit(members, known)
        frames = sum(watch.engine.progress(watch.status.log) for watch in watches.values())
        self._notify(Event(Kind.PROGRESS, frames=frames))

    async def _look(self, watches: Sequence[_Watch]) -> None:
        """Ask a host how its batches stand, the next to be started included."""
        executor = watches[0].site.executor
        seen = [watch for watch in watches if watch.status.life is not Life.ABSENT]
        waiting = [watch for watch in watches if watch.status.life is Life.ABSENT]
        asked = seen + waiting[: 2 * executor.slots]
        found = await executor.poll([watch.batch.id for watch in asked])
        for watch in asked:
            watch.status = found[watch.batch.id]

    async def _submit(self, watches: Sequence[_Watch], known: Snapshot) -> None:
        """Start batches while the target has room; who claimed them does not matter."""
        now = time.monotonic()
        free = watches[0].site.executor.slots
        free -= sum(watch.status.life is Life.RUNNING for watch in watches)
        for watch in watches:
            if free <= 0:
                return
            if watch.status.life is not Life.ABSENT:
                continue
            free -= 1
            if watch.submitted is None or now - watch.submitted > RESUBMIT_S:
                watch.submitted = now
                watch.submissions += 1
                await self._start(watch, known)

    async def _start(self, watch: _Watch, known: Snapshot) -> None:
        if watch.submissions > MAX_SUBMISSIONS:
            raise HostError(
                f"{watch.site.host.name} does not start {watch.batch.id}",
                hint=f"look in {watch.site.target.root}/batches/{watch.batch.id}",
            )
        tasks = [
            task for run_id in watch.batch.runs if (task := await self._task(watch, run_id, known))
        ]
        if tasks:
            command = watch.engine.command(tasks, watch.site.setup)
            await watch.site.executor.submit(watch.batch, command)

    async def _task(self, watch: _Watch, run_id: str, known: Snapshot) -> Task | None:
        """Bring a run's inputs to the host; a run whose inputs cannot be had fails by itself."""
        run = known.runs[run_id].run
        prompt = known.prompts[run.prompt_id]
        inputs: dict[str, str] = {}
        try:
            for role, path in prompt.files.items():
                sha256 = prompt.prompt.inputs[role]
                inputs[role] = f"{watch.site.target.root}/inputs/{sha256}{Path(path).suffix}"
                await watch.site.host.put(self._project.root / path, inputs[role], sha256)
        except (HostError, FileNotFoundError, PermissionError) as error:
            watch.outcomes[run_id] = Outcome(State.FAILED, str(error))
            return None
        return Task(run, prompt.prompt, inputs)

    # --- collect --------------------------------------------------------------------------

    async def _read(self, watch: _Watch, known: Snapshot) -> None:
        """Read the new markers of a batch; fetch what they say is done."""
        # A run that was pruned meanwhile is nobody's any more.
        watch.ended.update(run for run in watch.batch.runs if run not in known.states)
        listed = set(watch.status.files)
        markers = (name for names in watch.engine.markers(watch.batch).values() for name in names)
        new = [name for name in markers if name in listed and name not in watch.texts]
        if new:
            watch.texts.update(await watch.site.executor.read(watch.batch.id, new))
        told = watch.engine.outcomes(watch.batch, watch.status, watch.texts)
        watch.outcomes = {**told, **watch.outcomes}
        for run_id, outcome in watch.outcomes.items():
            if outcome.state is not State.SUCCEEDED and run_id not in watch.ended:
                self._keep_log(watch, run_id)
        for run_id, outcome in told.items():
            fetched = run_id in watch.outputs or run_id in watch.ended
            if outcome.state is State.SUCCEEDED and not fetched:
                await self._fetch(watch, known.runs[run_id], outcome, known)

    async def _fetch(
        self, watch: _Watch, record: Record, outcome: Outcome, known: Snapshot
    ) -> None:
        """Bring a finished run's files into `outputs/`; what is not a video is a failure."""
        run_id = record.run.id
        folder, video = self._outputs.folder(run_id), self._outputs.video(run_id)
        sha256 = {}
        try:
            for name, path in outcome.files.items():
                source = watch.site.executor.path(watch.batch.id, path)
                sha256[name] = await watch.site.host.get(source, folder / name)
        except FileNotFoundError as error:
            watch.outcomes[run_id] = Outcome(State.FAILED, f"a file is missing: {error.filename}")
            return
        found = await asyncio.to_thread(digests.probe, video)
        if isinstance(found, str):
            reason = f"the engine's output is no video: {found}"
            watch.outcomes[run_id] = Outcome(State.FAILED, reason)
            return
        output = Output(sha256[video.name], video.stat().st_size, found.frames)
        prompt = known.prompts[record.run.prompt_id]
        self._keep_log(watch, run_id)
        files.write(folder / "manifest.json", _manifest(watch, record, prompt, outcome, output))
        self._outputs.link(record)
        watch.outputs[run_id] = output

    def _keep_log(self, watch: _Watch, run_id: str) -> None:
        """Leave the end of the batch's log where a run's files are: also where it failed."""
        folder = self._outputs.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text(watch.status.log)

    # --- record ---------------------------------------------------------------------------

    def _record(self, watches: Collection[_Watch]) -> bool:
        """Write what is new in one transaction and tell it; return whether a run failed."""
        news = [(watch, run_ids) for watch in watches if (run_ids := watch.news())]
        if not news:
            return False
        began = time.monotonic()
        with self._store.transaction() as change:
            records = [each for watch, ids in news for each in _observe(change, watch, ids)]
        self._write_s = time.monotonic() - began
        for record in records:
            kind = Kind.STARTED if record.state in IN_FLIGHT else Kind.FINISHED
            self._notify(Event(kind, record.run.id, record.state, record.reason))
        return any(record.state is State.FAILED for record in records)

    async def _stop(self, watches: Mapping[str, _Watch]) -> None:
        """End the batches that this apply claimed, and record what they made before."""
        known = self._store.snapshot()
        own = [
            watch
            for watch in watches.values()
            if watch.batch.id in self._claimed and not watch.settled
        ]
        for members in _by_site(own):
            executor, ids = members[0].site.executor, [watch.batch.id for watch in members]
            await executor.cancel(ids)
            found = await executor.poll(ids)
            for watch in members:
                watch.status = found[watch.batch.id]
                await self._read(watch, known)
        self._record(own)


def _by_site(watches: Iterable[_Watch]) -> list[list[_Watch]]:
    sites: dict[str, list[_Watch]] = {}
    for watch in watches:
        sites.setdefault(watch.batch.target, []).append(watch)
    return list(sites.values())


def _observe(change: Transaction, watch: _Watch, run_ids: Sequence[str]) -> list[Record]:
    """Put what was learnt about runs of a batch; return the records that changed."""
    changed = []
    for run_id in run_ids:
        before = change.run(run_id)
        outcome, output = watch.outcomes.get(run_id), watch.outputs.get(run_id)
        after = before and lifecycle.observe(
            before,
            watch.batch,
            watch.status,
            outcome,
            output,
            time.time(),
            watch.site.host.name,
        )
        watch.begun.add(run_id)
        # A run that was removed, or that another batch has taken over, is none of ours.
        if after is None or after.state not in IN_FLIGHT or _elsewhere(after, watch.batch):
            watch.ended.add(run_id)
        if after is not None and after is not before:
            changed.append(after)
    change.put_runs(changed)
    if watch.settled:
        change.put_batches([replace(watch.batch, done=True)])
    return changed


def _elsewhere(record: Record, batch: Batch) -> bool:
    return record.last is not None and record.last.batch != batch.id


def _manifest(
    watch: _Watch, record: Record, prompt: PromptRecord, outcome: Outcome, output: Output
) -> bytes:
    """Return a run's full provenance as JSON: what was asked, where it ran, what came of it."""
    document = {
        "run": asdict(record.run),
        "prompt": {**asdict(prompt.prompt), "files": prompt.files},
        "jobs": record.jobs,
        "output": asdict(output),
        "batch": watch.batch.id,
        "companions": [run for run in watch.batch.runs if run != record.run.id],
        "target": watch.batch.target,
        "host": watch.site.host.name,
        "attempt": len(record.attempts),
        "started": watch.status.started,
        "engine": outcome.details,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
