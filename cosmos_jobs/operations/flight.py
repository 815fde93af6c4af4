"""Operations on work in flight: follow it, stop it, try again, take it over."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs.artifacts.outputs import LOG
from cosmos_jobs.config import project as projects
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import IN_FLIGHT, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import load
from cosmos_jobs.operations.applying import Applying, part
from cosmos_jobs.operations.base import unique, wait
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import Followed, Planned

if TYPE_CHECKING:
    from cosmos_jobs.apply.reconciler import Reconciler


class Flight(Applying):
    """What can be done with work in flight."""

    def watch(
        self,
        run_ids: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        with_logs: bool = False,
        timeout_s: float | None = None,
    ) -> Followed:
        """Follow runs in flight to their end, and fetch what they make.

        After `timeout_s` it returns what is known by then, and all work goes on.
        """
        reconciler = self._reconciler(notify, connect_timeout_s, with_logs=with_logs)
        return self._follow(run_ids, reconciler, looking=False, timeout_s=timeout_s)

    def fetch(
        self,
        run_ids: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        with_logs: bool = False,
    ) -> Followed:
        """Look at runs in flight once, and fetch what is made by now.

        Videos that were made and are not here are fetched from where outputs
        are published, else where the machine still has them. What is not
        published yet is so then.
        """
        reconciler = self._reconciler(notify, connect_timeout_s, with_logs=with_logs)
        return self._follow(run_ids, reconciler, looking=True)

    def take_published(
        self,
        paths: Sequence[str],
        notify: Callable[[Event], None],
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> int:
        """Take what others have published of job files that are not known here; start nothing.

        Returns how many runs came; raises as `plan` does.
        """
        if not paths or not self.project.published:
            return 0
        known = set(self.store.snapshot().jobs.values())
        unknown = tuple(each for each in paths if self._relative(each) not in known)
        if not unknown:
            return 0
        from cosmos_jobs.apply.agenda import Until

        planned = self.plan(Selection(unknown))
        reconciler = self._reconciler(notify, connect_timeout_s)

        async def take() -> int:
            try:
                brought = await self._bring(reconciler, planned, diff.taken(planned.plan))
                if brought.came:
                    here = part(planned, lambda run_id: run_id in brought.came)
                    await self._carry_out(reconciler, here, 0, Until.LOOKED)
                    self._outcome(here, brought.came, frozenset(), reconciler, frozenset())
                return len(brought.came)
            finally:
                await reconciler.close()

        return wait(take())

    def _follow(
        self,
        run_ids: Sequence[str],
        reconciler: Reconciler,
        *,
        looking: bool,
        timeout_s: float | None = None,
    ) -> Followed:
        from cosmos_jobs.apply.agenda import Until

        until = Until.LOOKED if looking else Until.SETTLED

        async def follow() -> Followed:
            try:
                began = time.monotonic()
                if looking:
                    await reconciler.bring_back(run_ids)
                await reconciler.settle(run_ids, until, timeout_s)
                if reconciler.publishing and looking:
                    await reconciler.publishing.publish_missing(run_ids)
                elif reconciler.publishing:
                    left = timeout_s and max(0.0, timeout_s - (time.monotonic() - began))
                    await reconciler.publishing.uploaded(left)
            finally:
                await reconciler.close()
            return self._followed(run_ids, reconciler)

        return wait(follow())

    def cancel(
        self, run_ids: Sequence[str], *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Followed:
        """End the batches that these runs are in; return the records of all their runs.

        Ids may be shortened; UsageError for one that names none or many. Raises
        HostError when a machine does not answer: what runs there goes on.
        """
        known = self.store.snapshot()
        run_ids = [unique(each, known.states, "run") for each in run_ids]
        batches = {last.batch for each in run_ids if (last := known.runs[each].last)}
        every = [run for batch in batches for run in known.batches[batch].runs]

        async def end() -> Followed:
            reconciler = self._reconciler(lambda event: None, connect_timeout_s)
            try:
                await reconciler.cancel(run_ids)
            finally:
                await reconciler.close()
            return self._followed(every, reconciler)

        return wait(end())

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
        from cosmos_jobs.apply.agenda import Until

        targets = self._targets(target)

        async def take_over() -> Followed:
            from cosmos_jobs.apply import adopt

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

        return wait(take_over())

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
        record = self.get_run(run_id)
        kept = self.outputs.folder(record.run.id) / LOG
        if record.last is None:
            raise UsageError(f"{record.run.id} was never started", hint="start it: apply")
        if record.state not in IN_FLIGHT and kept.exists():
            tell(kept.read_bytes())
            return
        batch = self.store.snapshot().batches.get(record.last.batch)
        if batch is None:
            raise UsageError(
                f"the log of {record.run.id} is where it was made: by {record.last.target}"
                f" on {record.last.host or 'its own machine'}"
            )

        async def stream() -> None:
            reconciler = self._reconciler(lambda event: None, connect_timeout_s)
            try:
                await reconciler.log(batch, tell, follow=follow)
            finally:
                await reconciler.close()

        wait(stream())

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
                found: Iterable[str] = [unique(name, known.states, "run")]
            else:
                job = files.get(self._relative(name), name) if name else ""
                if job and job not in jobs:
                    if Path(name).is_file():
                        hint = f"make them: cosmos-jobs apply {name}"
                        raise UsageError(f"none of the runs of {name} is known here", hint=hint)
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

        Job files say what they ask for now; a run that no file ever asked for
        is as the store has it. Raises UsageError for one that no job file asks for
        any more, unless it is not the user's own choice, and when that was on
        several targets.
        """
        from cosmos_jobs.jobs import adhoc

        known = self.store.snapshot()
        root = self.project.root
        alone: list[str] = []
        paths: dict[str, None] = {}
        for run_id in run_ids:
            asking = known.runs[run_id].jobs.keys()
            files = (known.jobs.get(job, "") for job in asking)
            there = next((path for path in files if path and (root / path).exists()), None)
            if there is not None:
                paths[str(root / there)] = None
            elif not asking or not all(known.jobs.get(job) for job in asking):
                # Nobody's, or asked for without a file.
                alone.append(run_id)
            elif is_choice:
                raise UsageError(
                    f"the job file that asked for {run_id} is gone", hint="restore it, then retry"
                )
        where = target or self._last_target(run_ids, known)
        jobs, problems = (
            load.load(self.project, tuple(paths), target=where, enhanced=known.enhanced)
            if paths
            else ((), ())
        )
        if alone:
            jobs = (*jobs, adhoc.again(known, alone, root, where))
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
        return projects.shown(Path(name).resolve(), self.project.root.resolve())
