"""WorkflowOperations: the one interface of the command line and of Python users."""

from __future__ import annotations

import difflib
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from cosmos_jobs import batching, engines, estimate, jobfiles, plan, upscaling
from cosmos_jobs.errors import AnswerIsNo, EngineError, InvalidFiles, UsageError
from cosmos_jobs.model import (
    CONNECT_TIMEOUT_S,
    IN_FLIGHT,
    MAX_RUNS,
    Action,
    Applied,
    Batch,
    Desired,
    Diagnostic,
    Estimate,
    Event,
    Followed,
    Job,
    Lane,
    Planned,
    PromptRecord,
    Record,
    Selection,
    Severity,
    Snapshot,
    Source,
    State,
)
from cosmos_jobs.outputs import MANIFEST, NAMES, Outputs
from cosmos_jobs.project import Project, Target
from cosmos_jobs.store import Store

if TYPE_CHECKING:
    from cosmos_jobs.doctor import Examined
    from cosmos_jobs.protocols import Swept
    from cosmos_jobs.prune import Pruned
    from cosmos_jobs.reconcile import Reconciler, Until

PATIENCE = 3
"""How often an apply takes up again what was left unfinished, while nothing gets made."""

PENDING = frozenset({State.PENDING})
UNFINISHED = PENDING | {State.LOST, State.CANCELLED}

Hashing = Callable[[str, int, int], None]


class WorkflowOperations:
    """Everything that can be done in a project; every method may be called again at any time."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.store = Store(project.store)
        self.outputs = Outputs(project.outputs)

    # --- job files ------------------------------------------------------------------------

    def validate(
        self, paths: Sequence[str], *, hashing: Hashing | None = None
    ) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
        """Return the jobs of those files that hold, and every problem of all of them."""
        return jobfiles.load(self.project, paths, progress=hashing)

    def plan(self, selection: Selection, *, hashing: Hashing | None = None) -> Planned:
        """Return what apply would do; nothing but the cache is written.

        Raises InvalidFiles with every problem of every file, UsageError when
        `only` matches nothing.
        """
        jobs, problems = jobfiles.load(
            self.project,
            selection.paths,
            target=selection.target,
            preview=selection.preview,
            progress=hashing,
        )
        return self._planned(selection, jobs, problems)

    def _planned(
        self, selection: Selection, jobs: tuple[Job, ...], problems: tuple[Diagnostic, ...]
    ) -> Planned:
        known = self.store.snapshot()
        problems = (*problems, *self._taken(jobs, known))
        if any(each.severity is Severity.ERROR for each in problems):
            raise InvalidFiles("nothing was planned and nothing was changed", problems)
        desired = _selected(jobs, selection.only)
        made = plan.diff(
            desired,
            _sources(jobs, desired),
            known,
            missing=self._missing(desired, known),
            force=selection.force,
            partial=bool(selection.only),
        )
        starts = {(change.job, change.run_id) for change in plan.starts(made)}
        history = estimate.History(known)
        costs = {job.spec.name: self._cost(job, starts, history) for job in jobs}
        problems = (*problems, *_unchecked(self.project, jobs, costs))
        refusals = tuple(
            why
            for job in jobs
            for why in _refusals(job, self.project.targets[job.target], costs[job.spec.name])
        )
        total = estimate.total((job.target, costs[job.spec.name]) for job in jobs)
        return Planned(selection, jobs, desired, made, problems, total, refusals)

    def upscale(
        self,
        sources: Sequence[str],
        *,
        weight: float = upscaling.WEIGHT,
        words: str = "",
        engine: str = "",
        target: str = "",
        force: bool = False,
    ) -> Planned:
        """Return the plan that makes 4K videos of runs (by id) and video files.

        Without `words` a run's own prompt is taken; a file needs them. Without
        an `engine` the model makes them, unless preview made the run or is the
        project's engine. Raises UsageError for what cannot be upscaled.
        """
        from cosmos_jobs import unwritten

        wish = unwritten.Wish(weight, words, engine)
        sources = [self._named_run(each) for each in sources]
        made = unwritten.Upscaling(self.project, self.store.snapshot(), self.outputs, wish)
        job = made.job(sources, target)
        return self._planned(Selection(tuple(sources), job.target, force=force), (job,), ())

    def apply(
        self,
        planned: Planned,
        notify: Callable[[Event], None],
        *,
        max_runs: int = MAX_RUNS,
        max_gpu_hours: float | None = None,
        fail_fast: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        canary: int = 0,
        detach: bool = False,
        with_logs: bool = False,
    ) -> Applied:
        """Carry a plan out, wait for all its runs, and return what came of them.

        With `canary` the first runs of each kind of batch are made first, and
        the others only if all of these succeed. With `detach` it returns as
        soon as the machines have all the work. `with_logs` tells what the
        engines say, too. Raises AnswerIsNo, with nothing
        started, when a limit refuses, HostError when no machine of a target
        answers, and KeyboardInterrupt on Ctrl-C, with what was running here ended.
        """
        # asyncio takes 50 ms to import, and a plan needs none of it.
        import asyncio

        from cosmos_jobs.reconcile import Until

        for job in planned.jobs:
            for engine in _engines(job):
                self.project.targets[job.target].installed(engine)
        _within_limits(planned, max_runs, max_gpu_hours)
        self._clear_old_places(planned.desired)
        reconciler = self._reconciler(
            notify, connect_timeout_s, fail_fast=fail_fast, with_logs=with_logs
        )
        until = Until.SUBMITTED if detach else Until.SETTLED
        return asyncio.run(self._carry_out(reconciler, planned, canary, until))

    async def _carry_out(
        self, reconciler: Reconciler, planned: Planned, canary: int, until: Until
    ) -> Applied:
        from cosmos_jobs.reconcile import Until

        wanted = tuple(dict.fromkeys(each.run.id for each in planned.desired))
        starts = {change.run_id: change.attempts for change in plan.starts(planned.plan)}
        started: frozenset[str] = frozenset()
        held_back: frozenset[str] = frozenset()
        try:
            if first := _canaries(planned, starts, canary):
                started = await self._round(reconciler, planned, first, tuple(first), Until.SETTLED)
                known = self.store.snapshot()
                if any(known.states.get(run_id) is not State.SUCCEEDED for run_id in first):
                    held_back = frozenset(starts.keys() - first.keys())
                    return self._outcome(planned, wanted, started, reconciler, held_back)
                starts = {run_id: n for run_id, n in starts.items() if run_id not in first}
            patience = PATIENCE
            while patience:
                before = self._made(wanted)
                ready = self._ready(planned, starts)
                started |= await self._round(reconciler, planned, ready, wanted, until)
                waiting = {run_id: n for run_id, n in starts.items() if run_id not in ready}
                starts = waiting | self._left_over(wanted, started)
                if reconciler.gave_up or not self._ready(planned, starts):
                    break
                patience = PATIENCE if self._made(wanted) > before else patience - 1
            return self._outcome(planned, wanted, started, reconciler, held_back)
        finally:
            await reconciler.close()

    async def _round(
        self,
        reconciler: Reconciler,
        planned: Planned,
        starts: Mapping[str, int],
        wanted: Sequence[str],
        until: Until,
    ) -> frozenset[str]:
        """Claim the runs of `starts`, each with its attempts so far, and follow all wanted ones."""
        from cosmos_jobs.claims import Claim

        # The first job that asks for a run says where it runs.
        targets = {
            each.run.id: job.target for job in reversed(planned.jobs) for each in job.expansion.runs
        }
        forced = (each for each in planned.plan.changes if each.action is Action.FORCE)
        claimed = await reconciler.claim(
            Claim(
                planned.desired,
                _sources(planned.jobs, planned.desired),
                {run_id: (targets[run_id], tried) for run_id, tried in starts.items()},
                self._paths(planned.jobs),
                frozenset(each.run_id for each in forced),
            )
        )
        await reconciler.settle(wanted, until)
        return claimed

    def _outcome(
        self,
        planned: Planned,
        wanted: Iterable[str],
        started: frozenset[str],
        reconciler: Reconciler,
        held_back: frozenset[str],
    ) -> Applied:
        known = self.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in wanted if run_id in known.runs)
        for record in records:
            self.outputs.link(record)
        waits = (each for each in planned.plan.changes if each.action is Action.WAIT)
        awaited = frozenset(change.run_id for change in waits) - started
        return Applied(
            planned,
            started,
            awaited,
            records,
            held_back,
            reconciler.troubles(),
            reconciler.traffic(),
        )

    def _clear_old_places(self, desired: Iterable[Desired]) -> None:
        """Remove the links of runs whose place in their job is now another one."""
        known = self.store.snapshot()
        for each in desired:
            record = known.runs.get(each.run.id)
            place = record.jobs.get(each.job, each.place) if record else each.place
            if record and place != each.place:
                suffix = self.outputs.video(record).suffix
                self.outputs.unlink(record, [self.outputs.place(each.job, place, suffix)])

    def _ready(self, planned: Planned, starts: Mapping[str, int]) -> dict[str, int]:
        """Return the runs that can start now: those that work on another's output need it."""
        after = {each.run.id: each.after for each in planned.desired if each.after}
        if not after:
            return dict(starts)
        states = self.store.snapshot().states
        made = {each for each in after.values() if states.get(each) is State.SUCCEEDED}
        # What is to be made anew is as good as not made.
        ready = made - starts.keys()
        return {
            run_id: attempts
            for run_id, attempts in starts.items()
            if run_id not in after or after[run_id] in ready
        }

    def _made(self, wanted: Collection[str]) -> int:
        """Return how many of the runs are made."""
        states = self.store.snapshot().states
        return sum(states.get(run_id) is State.SUCCEEDED for run_id in wanted)

    def _left_over(self, wanted: Collection[str], started: Collection[str]) -> dict[str, int]:
        """Return the runs to take up again, with attempts.

        They are those that another apply had in flight and did not finish,
        our own that a machine refused, as others had them meanwhile, that a
        crash kept from beginning, or that work on what was made just now.
        """
        known = self.store.snapshot()
        left = (
            known.runs[each]
            for each in wanted
            if known.states.get(each) in (PENDING if each in started else UNFINISHED)
        )
        return {record.run.id: len(record.attempts) for record in left}

    def _missing(self, desired: Iterable[Desired], known: Snapshot) -> frozenset[str]:
        """Return the runs that succeeded, but whose video is gone or has another size."""
        return frozenset(self._gone((each.run.id for each in desired), known))

    def _gone(self, run_ids: Iterable[str], known: Snapshot) -> Iterator[str]:
        folder = str(self.project.outputs / "runs")
        for run_id in run_ids:
            if known.states.get(run_id) is State.SUCCEEDED:
                size = known.sizes.get(run_id)
                # A record, which says what the output is called, takes long to read.
                if not any(_size(f"{folder}/{run_id}/{name}") == size for name in NAMES):
                    yield run_id

    def _cost(
        self, job: Job, starts: Collection[tuple[str, str]], history: estimate.History
    ) -> Estimate:
        """Return what those runs of a job take that are among `starts`: jobs and run ids."""
        name, prompts = job.spec.name, job.expansion.prompts
        runs = [each.run for each in job.expansion.runs if (name, each.run.id) in starts]
        if not runs:
            return Estimate()
        target = self.project.targets[job.target]
        frames = {
            prompt_id: color.frames
            for prompt_id, source in prompts.items()
            if (color := source.files.get("color"))
        }
        slots = target.slots * max(1, len(target.hosts))
        adapters = {engine: engines.get(engine) for engine in {run.engine for run in runs}}
        by_id = {run.id: run for run in runs}
        batches = batching.group(
            runs,
            {},
            job.target,
            lambda run: adapters[run.engine].batch_key(run, prompts[run.prompt_id].prompt),
            target.max_batch,
            slots=slots,
        )
        return estimate.estimate(
            [
                [(by_id[run_id], frames.get(by_id[run_id].prompt_id, 0)) for run_id in batch.runs]
                for batch in batches
            ],
            history,
            history.machine(job.target, target.gpu, target.gpus_per_batch if target.gpus else 0),
            slots,
            target.price_per_gpu_hour or 0.0,
        )

    # --- what is in flight ----------------------------------------------------------------

    def watch(
        self,
        run_ids: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        with_logs: bool = False,
    ) -> Followed:
        """Follow runs in flight to their end, and fetch what they make."""
        reconciler = self._reconciler(notify, connect_timeout_s, with_logs=with_logs)
        return self._follow(run_ids, reconciler, looking=False)

    def fetch(
        self,
        run_ids: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        with_logs: bool = False,
    ) -> Followed:
        """Look at runs in flight once, and fetch what is made by now.

        Videos that were made and are no longer here are fetched again, where
        the machine still has them.
        """
        reconciler = self._reconciler(notify, connect_timeout_s, with_logs=with_logs)
        return self._follow(run_ids, reconciler, looking=True)

    def _follow(self, run_ids: Sequence[str], reconciler: Reconciler, *, looking: bool) -> Followed:
        import asyncio

        from cosmos_jobs.reconcile import Until

        async def follow() -> Followed:
            try:
                if looking:
                    await reconciler.restore(self.lost_videos(run_ids))
                await reconciler.settle(run_ids, Until.LOOKED if looking else Until.SETTLED)
            finally:
                await reconciler.close()
            return self._followed(run_ids, reconciler)

        return asyncio.run(follow())

    def _followed(self, run_ids: Iterable[str], reconciler: Reconciler) -> Followed:
        known = self.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in run_ids if run_id in known.states)
        for record in records:
            self.outputs.link(record)
        return Followed(records, reconciler.troubles(), reconciler.traffic())

    def lost_videos(self, run_ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of the runs whose video was made, and is no longer here as it was."""
        return tuple(self._gone(run_ids, self.store.snapshot()))

    def cancel(
        self, run_ids: Sequence[str], *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Followed:
        """End the batches that these runs are in; return the records of all their runs.

        Raises HostError when a machine does not answer: what runs there goes on.
        """
        import asyncio

        known = self.store.snapshot()
        batches = {last.batch for each in run_ids if (last := known.runs[each].last)}
        every = [run for batch in batches for run in known.batches[batch].runs]

        async def end() -> Followed:
            reconciler = self._reconciler(lambda event: None, connect_timeout_s)
            try:
                await reconciler.cancel(run_ids)
            finally:
                await reconciler.close()
            return self._followed(every, reconciler)

        return asyncio.run(end())

    def adopt(
        self,
        target: str,
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> Followed:
        """Rebuild what the store has lost from the local outputs and the machines of a target.

        Without a target it is every one of the project.
        """
        import asyncio

        from cosmos_jobs.reconcile import Until

        targets = self._targets(target)

        async def take_over() -> Followed:
            from cosmos_jobs import adopt

            reconciler = self._reconciler(notify, connect_timeout_s)
            try:
                found = list(adopt.outputs(self.store, self.outputs))
                for each in targets:
                    queued = await reconciler.adopt(each.name)
                    await reconciler.settle(queued, Until.LOOKED)
                    found += queued
            finally:
                await reconciler.close()
            return self._followed(dict.fromkeys(found), reconciler)

        return asyncio.run(take_over())

    def log(
        self,
        run_id: str,
        tell: Callable[[bytes], None],
        *,
        follow: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """Tell the log of a run's last batch, with `follow` to its end.

        A run that is over has it beside its video. Raises UsageError when
        there is none yet.
        """
        import asyncio

        record = self.get_run(run_id)
        kept = self.outputs.folder(record.run.id) / "log.txt"
        if record.last is None:
            raise UsageError(f"{record.run.id} was never started", hint="start it: apply")
        if record.state not in IN_FLIGHT and kept.exists():
            tell(kept.read_bytes())
            return
        batch = self.store.snapshot().batches[record.last.batch]

        async def stream() -> None:
            reconciler = self._reconciler(lambda event: None, connect_timeout_s)
            try:
                await reconciler.log(batch, tell, follow=follow)
            finally:
                await reconciler.close()

        asyncio.run(stream())

    def _reconciler(
        self,
        notify: Callable[[Event], None],
        connect_timeout_s: float,
        *,
        fail_fast: bool = False,
        with_logs: bool = False,
    ) -> Reconciler:
        from cosmos_jobs.reconcile import Reconciler

        return Reconciler(
            self.project,
            self.store,
            notify,
            connect_timeout_s=connect_timeout_s,
            fail_fast=fail_fast,
            with_logs=with_logs,
        )

    def _targets(self, name: str) -> tuple[Target, ...]:
        """Return the target of a name, or all of them; UsageError when there is none."""
        return (self.project.named(name),) if name else tuple(self.project.targets.values())

    def select(self, names: Sequence[str], states: Collection[State]) -> tuple[str, ...]:
        """Return the runs in one of `states` that are named: by id, job, job file, or all.

        Raises UsageError for a name that is none of these.
        """
        known = self.store.snapshot()
        jobs = {job for record in known.runs.values() for job in record.jobs}
        files = {path: job for job, path in known.jobs.items()}
        chosen: dict[str, None] = {}
        for name in names or ("",):
            if name.startswith("rs_"):
                found: Iterable[str] = [_unique(name, known.states, "run")]
            else:
                job = files.get(self._relative(name), name) if name else ""
                if job and job not in jobs:
                    near = difflib.get_close_matches(name, [*jobs, *files], 1)
                    raise UsageError(
                        f"there is no run, job or job file `{name}`",
                        hint=f"did you mean `{near[0]}`?"
                        if near
                        else "see them: cosmos-jobs status",
                    )
                found = (
                    run_id for run_id, each in known.runs.items() if not job or job in each.jobs
                )
            chosen |= dict.fromkeys(each for each in found if known.states[each] in states)
        return tuple(chosen)

    def retrying(
        self, run_ids: Sequence[str], target: str = "", *, is_choice: bool = True
    ) -> Planned:
        """Return the plan that starts runs again, where they ran last, or on `target`.

        Job files say what they ask for now; a run that belongs to no job is as
        the store has it. Raises UsageError for one that no job file asks for
        any more, unless it is not the user's own choice, and when that was on
        several targets.
        """
        from cosmos_jobs import unwritten

        known = self.store.snapshot()
        root = self.project.root
        alone = [run_id for run_id in run_ids if not known.runs[run_id].jobs]
        paths: dict[str, None] = {}
        for run_id in run_ids:
            asking = [known.jobs.get(job, "") for job in known.runs[run_id].jobs]
            there = next((path for path in asking if path and (root / path).exists()), None)
            if there is not None:
                paths[str(root / there)] = None
            elif is_choice and run_id not in alone:
                raise UsageError(
                    f"the job file that asked for {run_id} is gone", hint="restore it, then retry"
                )
        where = target or self._last_target(run_ids, known)
        jobs, problems = (
            jobfiles.load(self.project, tuple(paths), target=where) if paths else ((), ())
        )
        if alone:
            jobs = (*jobs, unwritten.again(known, alone, root, where))
        asked = {each.run.id for job in jobs for each in job.expansion.runs}
        only = tuple(run_id for run_id in run_ids if is_choice or run_id in asked)
        if not only:
            raise UsageError(
                "no job asks for any of these runs", hint="name them: cosmos-jobs retry rs_…"
            )
        return self._planned(Selection(tuple(paths), where, only=only, force=True), jobs, problems)

    def _last_target(self, run_ids: Sequence[str], known: Snapshot) -> str:
        """Return the one target where runs were last; UsageError when there are several."""
        last = sorted({each.target for run_id in run_ids if (each := known.runs[run_id].last)})
        if len(last) > 1:
            raise UsageError(
                f"these runs were on several targets: {', '.join(last)}",
                hint="say where they are to run now: --target NAME, or name fewer",
            )
        return "".join(last)

    def _relative(self, name: str) -> str:
        path, root = Path(name).resolve(), self.project.root.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    # --- the machines ---------------------------------------------------------------------

    def doctor(
        self,
        target: str = "",
        *,
        accept_new_host_key: bool = False,
        connect_timeout_s: float | None = None,
    ) -> tuple[Examined, ...]:
        """Return what is there and what is missing on the machines of a target, or of all."""
        import asyncio

        from cosmos_jobs import doctor

        return asyncio.run(
            doctor.examine(
                self.project,
                self._targets(target),
                accept_new_host_key=accept_new_host_key,
                connect_timeout_s=connect_timeout_s or doctor.CONNECT_TIMEOUT_S,
            )
        )

    def prune_remote(
        self, target: str, *, delete: bool, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Mapping[str, Sequence[Swept]]:
        """Return, by machine, what nobody needs there any more; with `delete` it goes.

        Needed are the batches in flight of this store and those that other
        clients have marked, with their inputs.
        """
        import asyncio

        from cosmos_jobs import prune

        targets = [each for each in self._targets(target) if each.hosts]
        if not targets:
            raise UsageError(
                "no target of this project has hosts" if not target else f"{target} has no hosts",
                hint="this machine's own working files: cosmos-jobs prune",
            )
        return asyncio.run(
            prune.remote(
                self.project,
                self.store,
                targets,
                connect_timeout_s=connect_timeout_s,
                delete=delete,
            )
        )

    # --- reading --------------------------------------------------------------------------

    def status(self) -> dict[str, dict[State, int]]:
        """Return, for each job in the store, how many of its runs are in which state."""
        jobs: dict[str, dict[State, int]] = {}
        for record in self.store.snapshot().runs.values():
            for job in record.jobs:
                counts = jobs.setdefault(job, dict.fromkeys(State, 0))
                counts[record.state] += 1
        return dict(sorted(jobs.items()))

    def in_flight(self) -> tuple[Lane, ...]:
        """Return where the batches in flight are, as last seen: no machine is asked."""
        known = self.store.snapshot()
        batches: dict[str, list[Record]] = {}
        for run_id, state in known.states.items():
            if state in IN_FLIGHT and (last := known.runs[run_id].last):
                batches.setdefault(last.batch, []).append(known.runs[run_id])
        return tuple(_lane(known.batches[key], found) for key, found in batches.items())

    def list_prompts(self) -> tuple[PromptRecord, ...]:
        """Return all prompts, by name and id."""
        prompts = self.store.snapshot().prompts.values()
        return tuple(sorted(prompts, key=lambda each: (each.name, each.prompt.id)))

    def list_runs(
        self, *, job: str = "", prompt: str = "", states: Collection[State] = ()
    ) -> tuple[Record, ...]:
        """Return the runs of a job, of a prompt (its id) and in one of `states`, where given."""
        return tuple(
            record
            for record in self.store.snapshot().runs.values()
            if (not job or job in record.jobs)
            and (not prompt or record.run.prompt_id == prompt)
            and (not states or record.state in states)
        )

    def get_run(self, run_id: str) -> Record:
        """Return a run; its id may be shortened. Raises UsageError when it names none or many."""
        known = self.store.snapshot()
        return known.runs[_unique(run_id, known.runs, "run")]

    def _named_run(self, name: str) -> str:
        """Return the full id of a run; what is none stays as it is."""
        return self.get_run(name).run.id if name.startswith("rs_") else name

    def get_prompt(self, prompt_id: str) -> PromptRecord:
        """Return a prompt, as `get_run` does a run."""
        known = self.store.snapshot()
        return known.prompts[_unique(prompt_id, known.prompts, "prompt")]

    def manifest(self, record: Record) -> Mapping[str, Any]:
        """Return the provenance of a run that was made; empty for one that was not."""
        try:
            found: Mapping[str, Any] = orjson.loads(
                (self.outputs.folder(record.run.id) / MANIFEST).read_bytes()
            )
        except (OSError, orjson.JSONDecodeError):
            return {}
        return found

    def reproduce(self, run_id: str) -> str:
        """Return a shell script that makes a run again, on a machine of the target that made it.

        Raises UsageError for a run that has no video here.
        """
        from cosmos_jobs import reproduce

        record = self.get_run(run_id)
        manifest = self.manifest(record)
        prompt = self.prompt_of(record)
        if not manifest or prompt is None:
            raise UsageError(
                f"{record.run.id} is not made yet, or its manifest is gone",
                hint="make it first: cosmos-jobs apply; or fetch it: cosmos-jobs fetch",
            )
        target = self.project.named(manifest["target"])
        engine = engines.get(record.run.engine)
        return reproduce.script(engine, target, record, prompt, manifest)

    def prompt_of(self, record: Record) -> PromptRecord | None:
        """Return the prompt of a run."""
        return self.store.snapshot().prompts.get(record.run.prompt_id)

    # --- prune ----------------------------------------------------------------------------

    def orphans(self, paths: Sequence[str]) -> tuple[tuple[str, Record], ...]:
        """Return the runs that job files no longer ask for, each with the job that left it."""
        planned = self.plan(Selection(tuple(paths)))
        known = self.store.snapshot()
        return tuple(
            (change.job, known.runs[change.run_id])
            for change in planned.plan.changes
            if change.action is Action.ORPHAN
        )

    def job_runs(self, job: str) -> tuple[tuple[str, Record], ...]:
        """Return all runs of a job whose file is gone, each with the job's name.

        Raises UsageError when there is no such job, or its file is still there.
        """
        found = tuple((job, record) for record in self.list_runs(job=job))
        if not found:
            raise UsageError(f"the store has no job `{job}`", hint="see them: cosmos-jobs status")
        path = self.store.snapshot().jobs.get(job, "")
        if path and (self.project.root / path).exists():
            raise UsageError(
                f"the file of the job `{job}` is there: {path}",
                hint=f"prune what left it: cosmos-jobs prune {path}, or remove the file first",
            )
        return found

    def jobs_without_file(self) -> tuple[str, ...]:
        """Return the jobs of the store whose files are gone, but whose runs are there."""
        known = self.store.snapshot()
        alive = {job for record in known.runs.values() for job in record.jobs}
        return tuple(
            job
            for job, path in known.jobs.items()
            if job in alive and not (self.project.root / path).exists()
        )

    def prune(self, leaving: Iterable[tuple[str, Record]]) -> Pruned:
        """Take runs out of jobs, and remove those that no job asks for any more."""
        # Hosts bring asyncio, 30 ms, which a plan does without.
        from cosmos_jobs import prune

        return prune.runs(self.project, self.store, leaving)

    def prune_cache(self) -> int:
        """Delete file digests and control maps; return the bytes that were freed."""
        from cosmos_jobs import prune

        return prune.cache(self.project)

    # --- the names of jobs ----------------------------------------------------------------

    def _paths(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Return the files of jobs, relative to the project where they are in it."""
        root = self.project.root.resolve()
        paths = {job.spec.name: Path(job.spec.path).resolve() for job in jobs if job.spec.name}
        return {
            name: str(path.relative_to(root) if path.is_relative_to(root) else path)
            for name, path in paths.items()
        }

    def _taken(self, jobs: Iterable[Job], known: Snapshot) -> Iterator[Diagnostic]:
        """Report jobs whose name belongs to another file that is still there.

        Else what that file asks for would look as if it had left the job.
        """
        jobs = tuple(job for job in jobs if job.spec.name)
        paths = self._paths(jobs)
        for job in jobs:
            first = known.jobs.get(job.spec.name, paths[job.spec.name])
            if first != paths[job.spec.name] and (self.project.root / first).exists():
                message = f"the job name `{job.spec.name}` belongs to {first}"
                hint = "choose another name, or remove that file"
                at = ("name",)
                yield job.spec.source.diagnostic(at, "duplicate-job", message, hint=hint)


def _lane(batch: Batch, waiting: Sequence[Record]) -> Lane:
    last = waiting[0].last
    assert last is not None  # noqa: S101 - it is in flight
    return Lane(
        batch.id,
        batch.target,
        batch.host,
        last.gpu,
        len(batch.runs) - len(waiting),
        len(batch.runs),
        last.started,
        waiting[0].reason,
        "",
    )


def _sources(jobs: Iterable[Job], desired: Iterable[Desired]) -> dict[str, Source]:
    """Return the prompts of the desired runs."""
    prompts = {key: source for job in jobs for key, source in job.expansion.prompts.items()}
    wanted = dict.fromkeys(each.run.prompt_id for each in desired)
    return {key: prompts[key] for key in wanted}


def _selected(jobs: Sequence[Job], only: Sequence[str]) -> tuple[Desired, ...]:
    """Return the runs that are meant; UsageError for a name that matches nothing."""
    every = tuple(each for job in jobs for each in job.expansion.runs)
    if not only:
        return every
    ids = {each.run.id for each in every}
    only = [_unique(name, ids, "run") if name.startswith("rs_") else name for name in only]
    for name in only:
        if not any(_is(each, name) for each in every):
            names = {each.prompt for each in every}
            near = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                f"no prompt or run `{name}` in these job files",
                hint=f"did you mean `{near[0]}`?"
                if near
                else f"prompts: {', '.join(sorted(names))}",
            )
    return tuple(each for each in every if any(_is(each, name) for name in only))


def _canaries(planned: Planned, starts: Mapping[str, int], count: int) -> dict[str, int]:
    """Return the first `count` runs of each kind of batch that are to start."""
    seen: Counter[tuple[str, str, str]] = Counter()
    first: dict[str, int] = {}
    for job in planned.jobs:
        for each in job.expansion.runs:
            if each.run.id not in starts or each.run.id in first or each.after:
                continue
            engine, prompt = each.run.engine, job.expansion.prompts[each.run.prompt_id].prompt
            kind = job.target, engine, engines.get(engine).batch_key(each.run, prompt)
            if seen[kind] < count:
                seen[kind] += 1
                first[each.run.id] = starts[each.run.id]
    return first


def _is(each: Desired, name: str) -> bool:
    return name in (each.prompt, each.run.id)


def _engines(job: Job) -> tuple[str, ...]:
    """Return the engines of a job's runs: what upscales them may be another one."""
    return tuple(dict.fromkeys(each.run.engine for each in job.expansion.runs))


def _refusals(job: Job, target: Target, cost: Estimate) -> Iterator[str]:
    """Say which engines the target lacks, and which limits of the job file are exceeded."""
    limits, name = job.spec.limits, job.spec.name
    try:
        for engine in _engines(job):
            target.installed(engine)
    except EngineError as error:
        yield error.message
    if limits.max_runs is not None and cost.runs > limits.max_runs:
        yield f"{name} starts {cost.runs:,} runs; its limits.max_runs is {limits.max_runs:,}"
    if limits.max_gpu_hours is not None and cost.gpu_hours > limits.max_gpu_hours:
        yield (
            f"{name} takes about {_shown(cost.gpu_hours)} GPU hours;"
            f" its limits.max_gpu_hours is {limits.max_gpu_hours:g}"
        )


def _within_limits(planned: Planned, max_runs: int, max_gpu_hours: float | None) -> None:
    if planned.refusals:
        raise AnswerIsNo(
            "; ".join(planned.refusals), hint="raise the limit in the job file, or use --only"
        )
    runs = len(plan.starts(planned.plan))
    if runs > max_runs:
        raise AnswerIsNo(
            f"this would start {runs:,} runs; one apply starts at most {max_runs:,}",
            hint=f"allow it: --max-runs {runs}, or take a part of it: --only PROMPT",
        )
    hours = planned.estimate.gpu_hours
    if max_gpu_hours is not None and hours > max_gpu_hours:
        enough = math.ceil(hours * 10) / 10
        raise AnswerIsNo(
            f"this would take about {_shown(hours)} GPU hours; --max-gpu-hours is"
            f" {max_gpu_hours:g}",
            hint=f"allow it: --max-gpu-hours {enough:g}, or take a part of it: --only PROMPT",
        )


def _shown(hours: float) -> str:
    """Return hours as told: `2.8`, and few ones as exactly as makes sense, `0.023`."""
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _unchecked(
    project: Project, jobs: Iterable[Job], costs: Mapping[str, Estimate]
) -> Iterator[Diagnostic]:
    """Say of which job files the limit in GPU hours cannot be checked, as no one knows them."""
    for job in jobs:
        unknown = costs[job.spec.name].unknown
        limited = job.spec.limits.max_gpu_hours is not None and project.targets[job.target].gpus
        if unknown and limited:
            yield job.spec.source.diagnostic(
                ("limits", "max_gpu_hours"),
                "unchecked-limit",
                f"this limit is not checked for {unknown:,} of its runs: nobody knows yet how"
                " long they take",
                hint="make a few first: --canary 1",
                severity=Severity.WARNING,
            )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - 10,000 Path objects take 20 ms
    except OSError:
        return -1


def _unique(given: str, ids: Collection[str], kind: str) -> str:
    if given in ids:
        return given
    found = [each for each in ids if each.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"`{given}` could be {len(found)} {kind}s; give more of the id")
    raise UsageError(f"there is no {kind} `{given}`", hint=f"see them: cosmos-jobs list {kind}s")
