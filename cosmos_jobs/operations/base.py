"""What all operations have in common: a project, its store and outputs, names of runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cosmos_jobs.apply import remotes
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config import project
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.errors import UsageError
from cosmos_jobs.plan.model import Followed
from cosmos_jobs.state.backends.kept import OFFLINE_TIMEOUT_S, state_file
from cosmos_jobs.state.store import Store

if TYPE_CHECKING:
    from cosmos_jobs.apply.publish import Publishing
    from cosmos_jobs.apply.reconciler import Reconciler

T = TypeVar("T")


class Base:
    """A project that something can be done in."""

    def __init__(
        self,
        settings: Project,
        say: Callable[[str], None] = lambda line: None,
        *,
        offline: bool = False,
        asking: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """Take a project; `say` gets what people should know of a shared state.

        With `offline` its last copy is read when it is out of reach, without
        `asking` in any case; else that is tried for `connect_timeout_s`.
        """
        self.project = settings
        client = settings.client if settings.state else ""
        file = state_file(
            settings,
            say,
            offline=offline,
            asking=asking,
            connect_timeout_s=connect_timeout_s,
        )
        self.store = Store(file, client)
        self.outputs = Outputs(settings.outputs)
        self._say = say
        self._patience_s = OFFLINE_TIMEOUT_S if offline else connect_timeout_s

    @classmethod
    def open(cls, folder: str | Path = ".") -> Self:
        """Return the operations of the project that `folder` is in, else of `folder` itself.

        Raises UsageError when it is no folder, InvalidFiles for its cosmos-jobs.yaml.
        """
        return cls(project.load(project.find(Path(folder))))

    def close(self) -> None:
        """Let go of a shared state; it can be used again."""
        self.store.file.close()

    def _reconciler(
        self,
        notify: Callable[[Event], None],
        connect_timeout_s: float,
        *,
        fail_fast: bool = False,
        with_logs: bool = False,
        is_published: bool = True,
    ) -> Reconciler:
        from cosmos_jobs.apply.reconciler import Reconciler

        return Reconciler(
            self.project,
            self.store,
            notify,
            connect_timeout_s=connect_timeout_s,
            fail_fast=fail_fast,
            with_logs=with_logs,
            publishing=self._publishing(notify) if is_published else None,
        )

    def _publishing(self, notify: Callable[[Event], None]) -> Publishing | None:
        """Return what publishes outputs and brings those of others; None where nobody does."""

        def say(line: str) -> None:
            notify(Event(Kind.NOTE, reason=line))

        shelf = remotes.shelf(self.project, say, self._patience_s)
        if shelf is None:
            return None
        from cosmos_jobs.apply.publish import Publishing

        return Publishing(shelf, self.store, self.outputs, self.project.cache, notify)

    def _targets(self, name: str) -> tuple[Target, ...]:
        """Return the target of a name, or all of them; UsageError when there is none."""
        return (self.project.named(name),) if name else tuple(self.project.targets.values())

    def get_run(self, run_id: str) -> Record:
        """Return a run; its id may be shortened. Raises UsageError when it names none or many."""
        known = self.store.snapshot()
        return known.runs[unique(run_id, known.runs, "run")]

    def _named_run(self, name: str) -> str:
        """Return the full id of a run; what is none stays as it is."""
        return self.get_run(name).run.id if name.startswith("rs_") else name

    def get_prompt(self, prompt_id: str) -> PromptRecord:
        """Return a prompt, as `get_run` does a run."""
        known = self.store.snapshot()
        return known.prompts[unique(prompt_id, known.prompts, "prompt")]

    def prompt_of(self, record: Record) -> PromptRecord | None:
        """Return the prompt of a run."""
        return self.store.snapshot().prompts.get(record.run.prompt_id)

    def _followed(self, run_ids: Iterable[str], reconciler: Reconciler) -> Followed:
        known = self.store.snapshot()
        records = tuple(known.runs[run_id] for run_id in run_ids if run_id in known.states)
        for record in records:
            self.outputs.link(record)
        return Followed(records, reconciler.troubles(), reconciler.traffic())

    def lost_videos(self, run_ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of the runs whose video was made, and is no longer here as it was."""
        return self.outputs.lost(run_ids, self.store.snapshot())


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Do asynchronous work to its end, also where an event loop runs already, as in a notebook."""
    # asyncio takes 50 ms to import, and reading needs none of it.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def unique(given: str, ids: Collection[str], kind: str) -> str:
    """Return the full id; UsageError when it names none or many."""
    if given in ids:
        return given
    found = [each for each in ids if each.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"`{given}` could be {len(found)} {kind}s; give more of the id")
    raise UsageError(f"there is no {kind} `{given}`", hint=f"see them: cosmos-jobs list {kind}s")
