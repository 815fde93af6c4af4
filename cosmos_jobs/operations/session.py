"""What every operation works with: a project, its store and outputs, and ways to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_jobs.apply import remotes
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.errors import UsageError
from cosmos_jobs.state.backends.kept import OFFLINE_TIMEOUT_S, state_file
from cosmos_jobs.state.store import Store

if TYPE_CHECKING:
    from cosmos_jobs.apply.publish import Publishing

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A project that something can be done in.

    The project says how long each machine is tried. `say` gets what people
    should know of a shared state; `clock` counts seconds.
    """

    project: Project
    store: Store
    outputs: Outputs
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def trying(self, connect_timeout_s: float | None) -> Session:
        """Return the session that tries what does not answer for so long; None changes nothing."""
        if connect_timeout_s is None:
            return self
        return replace(self, project=self.project.trying(connect_timeout_s))

    def targets(self, name: str) -> tuple[Target, ...]:
        """Return the target of a name, or all of them; UsageError when there is none."""
        return (self.project.named(name),) if name else tuple(self.project.targets.values())


def begin(
    project: Project, say: Callable[[str], None], *, offline: bool = False, asking: bool = True
) -> Session:
    """Return a session; `offline` and `asking` are as of WorkflowOperations."""
    project = project.trying(OFFLINE_TIMEOUT_S) if offline else project
    client = project.client if project.state else ""
    store = Store(state_file(project, say, offline=offline, asking=asking), client)
    return Session(project=project, store=store, outputs=Outputs(project.outputs), say=say)


def publishing(session: Session, notify: Callable[[Event], None]) -> Publishing | None:
    """Return what publishes outputs and brings those of others; None where nobody does."""

    def say(line: str) -> None:
        notify(Event(Kind.NOTE, reason=line))

    shelf = remotes.shelf(session.project, say)
    if shelf is None:
        return None
    # It brings asyncio, and most projects publish nothing.
    from cosmos_jobs.apply.publish import Publishing

    return Publishing(shelf, session.store, session.outputs, session.project.cache, notify=notify)


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


def ignore(event: Event) -> None:
    """Do nothing about an event."""


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
