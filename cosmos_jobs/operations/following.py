"""Operations on work in flight: follow it, fetch it, stop it, take it over, read its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cosmos_jobs.apply import adopt as adopt_module
from cosmos_jobs.apply.agenda import Until
from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.apply.reconciler import Reconciler
from cosmos_jobs.core.events import Event
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import IN_FLIGHT
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations.applying import Rounds, complete, part, reconciler
from cosmos_jobs.operations.listing import get_run, relative
from cosmos_jobs.operations.planning import plan
from cosmos_jobs.operations.session import Session, ignore, unique
from cosmos_jobs.plan.diff import taken
from cosmos_jobs.plan.model import Followed


def watch(
    session: Session,
    run_ids: Sequence[str],
    notify: Callable[[Event], None],
    *,
    connect_timeout_s: float | None = None,
    with_logs: bool = False,
    timeout_s: float | None = None,
) -> Followed:
    """Follow runs in flight to their end, and fetch what they make.

    After `timeout_s` it returns what is known by then, and all work goes on.
    """
    session = session.trying(connect_timeout_s)
    loop = reconciler(session, notify, ApplyOptions(with_logs=with_logs))

    async def follow() -> None:
        began = session.clock()
        await loop.settle(run_ids, Until.SETTLED, timeout_s)
        if loop.publishing:
            left = timeout_s and max(0.0, timeout_s - (session.clock() - began))
            await loop.publishing.uploaded(left)

    complete(loop, follow())
    return _followed(session, run_ids, loop)


def fetch(
    session: Session,
    run_ids: Sequence[str],
    notify: Callable[[Event], None],
    *,
    connect_timeout_s: float | None = None,
    with_logs: bool = False,
) -> Followed:
    """Look at runs in flight once, and fetch what is made by now.

    Videos that were made and are not here are fetched from where outputs
    are published, else where the machine still has them. What is not
    published yet is so then.
    """
    session = session.trying(connect_timeout_s)
    loop = reconciler(session, notify, ApplyOptions(with_logs=with_logs))

    async def look() -> None:
        await loop.bring_back(run_ids)
        await loop.settle(run_ids, Until.LOOKED)
        if loop.publishing:
            await loop.publishing.publish_missing(run_ids)

    complete(loop, look())
    return _followed(session, run_ids, loop)


def take_published(
    session: Session,
    paths: Sequence[str],
    notify: Callable[[Event], None],
    *,
    connect_timeout_s: float | None = None,
) -> int:
    """Take what others have published of job files that are not known here; start nothing.

    Returns how many runs came; raises as `plan` does.
    """
    if not paths or not session.project.published:
        return 0
    known = set(session.store.snapshot().jobs.values())
    unknown = tuple(each for each in paths if relative(session, each) not in known)
    if not unknown:
        return 0
    session = session.trying(connect_timeout_s)
    planned = plan(session, Selection(unknown))
    rounds = Rounds(session, reconciler(session, notify), Until.LOOKED)

    async def take() -> int:
        brought = await rounds.bring(planned, taken(planned.plan))
        if brought.came:
            here = part(planned, lambda run_id: run_id in brought.came)
            await rounds.make(here)
            rounds.outcome(here, brought.came, frozenset())
        return len(brought.came)

    return complete(rounds.reconciler, take())


def cancel(
    session: Session, run_ids: Sequence[str], *, connect_timeout_s: float | None = None
) -> Followed:
    """End the batches that these runs are in; return the records of all their runs.

    Ids may be shortened; UsageError for one that names none or many. Raises
    HostError when a machine does not answer: what runs there goes on.
    """
    session = session.trying(connect_timeout_s)
    loop = reconciler(session, ignore)
    known = session.store.snapshot()
    run_ids = [unique(each, known.states, "run") for each in run_ids]
    batches = {last.batch for each in run_ids if (last := known.runs[each].last)}
    every = [run for batch in batches for run in known.batches[batch].runs]

    complete(loop, loop.cancel(run_ids))
    return _followed(session, every, loop)


def adopt(
    session: Session,
    target: str,
    notify: Callable[[Event], None],
    *,
    connect_timeout_s: float | None = None,
) -> Followed:
    """Rebuild what the store has lost from the local outputs and the machines of a target.

    Without a target it is every one of the project.
    """
    session = session.trying(connect_timeout_s)
    targets = session.targets(target)
    loop = reconciler(session, notify)

    async def take_over() -> list[str]:
        found = list(adopt_module.outputs(session.store, session.outputs))
        for each in targets:
            queued = await loop.adopt(each.name)
            await loop.settle(queued, Until.LOOKED)
            found += queued
        return found

    return _followed(session, dict.fromkeys(complete(loop, take_over())), loop)


def log(
    session: Session,
    run_id: str,
    tell: Callable[[bytes], None],
    *,
    follow: bool = False,
    connect_timeout_s: float | None = None,
) -> None:
    """Tell the log of a run's last batch, with `follow` to its end.

    A run that is over has it beside its video. Raises UsageError when
    there is none yet.
    """
    record = get_run(session, run_id)
    kept = session.outputs.folder(record.run.id) / "log.txt"
    if record.last is None:
        raise UsageError(f"{record.run.id} was never started", hint="start it: apply")
    if record.state not in IN_FLIGHT and kept.exists():
        tell(kept.read_bytes())
        return
    batch = session.store.snapshot().batches.get(record.last.batch)
    if batch is None:
        raise UsageError(
            f"the log of {record.run.id} is where it was made: by {record.last.target}"
            f" on {record.last.host or 'its own machine'}"
        )

    loop = reconciler(session.trying(connect_timeout_s), ignore)

    complete(loop, loop.log(batch, tell, follow=follow))


def stream_logs(
    session: Session,
    run_id: str,
    tell: Callable[[str], object] = print,
    *,
    follow: bool = True,
    connect_timeout_s: float | None = None,
) -> None:
    """Tell the log of a run's last batch line by line, with `follow` to its end.

    Bytes that are no UTF-8 are shown as U+FFFD. Raises UsageError when the
    run was never started.
    """
    rest = b""

    def split(part: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            tell(line.decode(errors="replace").rstrip("\r"))

    log(session, run_id, split, follow=follow, connect_timeout_s=connect_timeout_s)
    if rest:
        tell(rest.decode(errors="replace"))


def _followed(session: Session, run_ids: Iterable[str], loop: Reconciler) -> Followed:
    known = session.store.snapshot()
    records = tuple(known.runs[run_id] for run_id in run_ids if run_id in known.states)
    for record in records:
        session.outputs.link(record)
    return Followed(records, loop.troubles(), loop.traffic())
