"""Delete prompts and runs that somebody names, with all that they left here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import Project
from cosmos_jobs.core.record import IN_FLIGHT, PromptRecord, Record
from cosmos_jobs.core.run import RUN
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import AnswerIsNo, UsageError
from cosmos_jobs.state.store import Store, Transaction

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is to be deleted: prompts, runs, and how many bytes their folders hold.

    `asking` counts, by job file that is still there, the runs that it may ask
    for again; `behind` are runs that stay, but were made of these. With
    `force` runs go that are in flight on targets that are gone.
    """

    prompts: tuple[PromptRecord, ...]
    runs: tuple[Record, ...]
    size: int
    asking: dict[str, int]
    behind: tuple[str, ...]
    force: bool = False


def doomed(
    project: Project, known: Snapshot, ids: Sequence[str], kind: str, *, force: bool
) -> Doomed:
    """Return what goes with prompts or runs (`kind`), named by ids that may be shortened.

    Raises UsageError naming every id that is none, AnswerIsNo for runs in flight,
    and without `force` for prompts that have runs. With `force` runs may go that
    are in flight on a target which has left cosmos-jobs.yaml: nobody can look there.
    """
    named = resolved(ids, known.prompts if kind == "prompt" else known.states, kind)
    prompts: tuple[PromptRecord, ...] = ()
    if kind == "run":
        runs = tuple(known.runs[each] for each in named)
    else:
        prompts = tuple(known.prompts[each] for each in named)
        wanted = set(named)
        runs = tuple(each for each in known.runs.values() if each.run.prompt_id in wanted)
        if runs and not force:
            raise AnswerIsNo(
                f"{_counted(runs)} of {'this prompt' if len(named) == 1 else 'these prompts'}"
                " would go, too",
                hint="add --force to delete them with it",
            )
    if busy := [each for each in runs if _is_busy(each, project, force=True)]:
        raise AnswerIsNo(
            f"in flight: {_shown(busy)}; nothing was deleted",
            hint=f"stop them first: cosmos-jobs cancel {busy[0].run.id}",
        )
    if not force and (left := [each for each in runs if _is_busy(each, project, force=False)]):
        raise AnswerIsNo(
            "in flight on a target that is not in cosmos-jobs.yaml any more:"
            f" {_shown(left)}; nothing was deleted",
            hint="add --force to delete them without a look there",
        )
    outputs = Outputs(project.outputs)
    going = {each.run.id for each in runs}
    behind = tuple(
        run.run.id
        for run in known.runs.values()
        if run.run.id not in going
        and (prompt := known.prompts.get(run.run.prompt_id))
        and prompt.prompt.inputs.get(RUN) in going
    )
    size = sum(outputs.size(each) for each in going)
    return Doomed(prompts, runs, size, _asking(project, known, runs), behind, force)


def resolved(ids: Iterable[str], known: Collection[str], kind: str) -> tuple[str, ...]:
    """Return full ids, each once; UsageError that names every one that is none or could be many."""
    found: dict[str, None] = {}
    wrong = []
    for given in ids:
        full = [given] if given in known else [each for each in known if each.startswith(given)]
        if len(full) == 1:
            found[full[0]] = None
        else:
            wrong.append(f"`{given}`" if not full else f"`{given}` (could be {len(full):,})")
    if wrong:
        shown = ", ".join(wrong[:SHOWN])
        more = f" and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise UsageError(
            f"there is no {kind} {shown}{more}; nothing was done",
            hint=f"see them: cosmos-jobs list {kind}s",
        )
    return tuple(found)


def delete(project: Project, store: Store, going: Doomed, *, keep_outputs: bool) -> tuple[int, int]:
    """Delete; return how many runs went, and the bytes that were freed.

    What came in flight meanwhile stays, with its prompt. With `keep_outputs`
    the folders in outputs/runs/ and the links to them stay.
    """
    outputs = Outputs(project.outputs)

    def remove(change: Transaction) -> list[Record]:
        gone = []
        for each in going.runs:
            now = change.run(each.run.id)
            if now is not None and not _is_busy(now, project, force=going.force):
                gone.append(now)
        change.remove("runs", [each.run.id for each in gone])
        # In the same transaction: nobody can have begun a run of a prompt that goes.
        left = change.prompts_with_runs()
        prompts = [each.prompt.id for each in going.prompts]
        change.remove("prompts", [each for each in prompts if each not in left])
        return gone

    gone = store.change(remove)
    if keep_outputs:
        return len(gone), 0
    freed = sum(outputs.size(each.run.id) for each in gone)
    for record in gone:
        # Links first: they are known by what they link to.
        outputs.unlink(record, outputs.places(record))
        outputs.remove(record)
    return len(gone), freed


def _is_busy(record: Record, project: Project, *, force: bool) -> bool:
    """Return whether a run is in flight; with `force`, on a target that somebody can look after."""
    if record.state not in IN_FLIGHT:
        return False
    last = record.last
    return not force or (last is not None and last.target in project.targets)


def _shown(runs: Sequence[Record]) -> str:
    more = f" and {len(runs) - SHOWN:,} more" if len(runs) > SHOWN else ""
    return ", ".join(each.run.id for each in runs[:SHOWN]) + more


def _asking(project: Project, known: Snapshot, runs: Iterable[Record]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in runs:
        for job in record.jobs:
            path = known.jobs.get(job, "")
            if path and (project.root / path).exists():
                counts[path] = counts.get(path, 0) + 1
    return counts


def _counted(runs: Sequence[Record]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs):,} runs"
