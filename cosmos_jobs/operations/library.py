"""What can be done with all that was made: rate it, check it, carry it elsewhere, delete it.

None of it needs a machine, a network or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs import engines
from cosmos_jobs.apply.reproduce import script
from cosmos_jobs.core.record import Record
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import AnswerIsNo, UsageError
from cosmos_jobs.jobs import export as exports
from cosmos_jobs.jobs import export_text
from cosmos_jobs.jobs.export import Exported
from cosmos_jobs.operations.listing import get_run, manifest, prompt_of
from cosmos_jobs.operations.session import Session, unique
from cosmos_jobs.report import ratings
from cosmos_jobs.state import importing
from cosmos_jobs.state import verify as verify_module
from cosmos_jobs.state.delete import Doomed, doomed, resolved
from cosmos_jobs.state.delete import delete as delete_all
from cosmos_jobs.state.importing import Imported
from cosmos_jobs.state.store import Transaction
from cosmos_jobs.state.verify import Verified


def rate(session: Session, run_id: str, stars: int | None, note: str | None = None) -> Record:
    """Give a run 1–5 stars, or with None take them away; return it.

    A `note` replaces the one that it has; None leaves it. Both stay when
    the run is made again. Raises UsageError for a run that has no video
    yet, ValueError for other numbers and for notes that are too long.
    """
    if stars is not None and stars not in ratings.STARS:
        raise ValueError(f"a rating is 1 to 5 stars, not {stars}")
    if note is not None and len(note) > ratings.MAX_NOTE:
        raise ValueError(f"a note has at most {ratings.MAX_NOTE:,} characters")

    def give(change: Transaction) -> Record:
        full = unique(run_id, change.table("runs"), "run")
        record = change.run(full)
        assert record is not None  # noqa: S101 - it is in the table
        if record.output is None and (stars is not None or note):
            raise UsageError(
                f"{full} has no video to rate: it is {record.state}",
                hint="make it first: cosmos-jobs apply",
            )
        rated = replace(record, rating=stars, note=record.note if note is None else note.strip())
        if rated != record:
            change.put_runs([rated])
        return rated

    return session.store.change(give)


def import_ratings(session: Session, path: str | Path) -> tuple[int, tuple[str, ...]]:
    """Take over the ratings that a report's page exported, in one write.

    Returns how many runs were rated, and the ids of those that are not here
    or have no video. Raises InvalidFiles for a file that is none.
    """
    given = ratings.parse(Path(path).read_bytes(), str(path))

    def take(change: Transaction) -> tuple[int, tuple[str, ...]]:
        rated, skipped = [], []
        for each in given:
            record = change.run(each.run)
            if record is None or record.output is None:
                skipped.append(each.run)
            else:
                rated.append(replace(record, rating=each.stars, note=each.note))
        change.put_runs(rated)
        return len(rated), tuple(skipped)

    return session.store.change(take)


def verify(
    session: Session, *, repair: bool = False, progress: Callable[[int, int], None] | None = None
) -> Verified:
    """Hash all outputs and inputs; return what is not as the store says.

    With `repair` missing links are made again, and runs whose video is
    missing or damaged become `lost`: the next apply makes them. No file
    is moved, replaced or deleted. `progress` is told the bytes hashed and
    the bytes in all.
    """
    silent = progress or (lambda done, total: None)
    return verify_module.project(session.project, session.store, silent, repair=repair)


def reproduce(session: Session, run_id: str) -> str:
    """Return a shell script that makes a run again, on a machine of the target that made it.

    Raises UsageError for a run that has no video here.
    """
    record = get_run(session, run_id)
    made = manifest(session, record)
    prompt = prompt_of(session, record)
    if not made or prompt is None:
        raise UsageError(
            f"{record.run.id} is not made yet, or its manifest is gone",
            hint="make it first: cosmos-jobs apply; or fetch it: cosmos-jobs fetch",
        )
    target = session.project.named(made["target"])
    engine = engines.get(record.run.engine)
    return script(engine, target, record, prompt, manifest=made)


def export(
    session: Session,
    ids: Sequence[str] = (),
    *,
    job: str = "",
    name: str = "",
    stars: int = 0,
    best: bool = False,
) -> tuple[Exported, ...]:
    """Return job files that ask for the runs of prompts, runs (by id) and of a job.

    Nothing is written. There is one file for each engine, and for what is
    upscaled one of its own; each was read back: its runs have their ids.
    With `stars` only those runs count that have at least so many, with
    `best` those that have the most. Without a `name` the job is called
    `<job>-export`, or `-best`, or by its first prompt. Raises UsageError
    for unknown ids and for prompts without runs, AnswerIsNo where nothing
    is rated so, and naming the runs that no file can ask for, and why.
    """
    known = session.store.snapshot()
    runs = _chosen(_exported(session, ids, job), known, stars, best=best)
    first = known.prompts.get(known.runs[runs[0]].run.prompt_id)
    kind = "best" if best or stars else "export"
    wish = name or export_text.job_name(f"{job or (first.name if first else 'runs')}-{kind}")
    if name and export_text.job_name(name) != name:
        raise UsageError(
            f"`{name}` cannot be the name of a job",
            hint=f"small letters, digits and dashes: {export_text.job_name(name)}",
        )
    return exports.made(session.project, known, runs, wish)


def _exported(session: Session, ids: Sequence[str], job: str) -> tuple[str, ...]:
    """Return the runs that are meant, each once."""
    known = session.store.snapshot()
    for each in ids:
        if not each.startswith(("ps_", "rs_")):
            raise UsageError(f"`{each}` is no id", hint="a job is named with --job")
    prompts = [each for each in ids if each.startswith("ps_")]
    named = resolved(prompts, known.prompts, "prompt")
    runs = dict.fromkeys(
        resolved([each for each in ids if each not in prompts], known.states, "run")
    )
    if job or named:
        wanted, found = set(named), set()
        for run_id, record in known.runs.items():
            if record.run.prompt_id in wanted or (job and job in record.jobs):
                runs[run_id] = None
                found.add(record.run.prompt_id)
                found.update(record.jobs)
        if job and job not in found:
            hint = "see them: cosmos-jobs status"
            raise UsageError(f"the store has no job `{job}`", hint=hint)
        if bare := [each for each in named if each not in found]:
            raise UsageError(
                f"no run of {', '.join(bare)} is in the store",
                hint=f"make one: cosmos-jobs inference {bare[0]}",
            )
    return tuple(runs)


def import_store(session: Session, path: str | Path) -> Imported:
    """Take over the prompts and runs of another store that are not in this one.

    `path` is another project's folder or its state file. Ids, histories and
    ratings stay as they are; videos beside that store are linked or copied,
    if they are what it says. Runs in flight there are not taken. Raises
    UsageError where there is no store, StoreError for one that cannot be read.
    """
    return importing.store(session.project, session.store, Path(path))


def deleting(session: Session, kind: str, ids: Sequence[str], *, force: bool = False) -> Doomed:
    """Return what deleting prompts or runs (`kind`: "prompt", "run") would remove.

    Ids may be shortened. Raises UsageError naming all that are none,
    AnswerIsNo for runs in flight, and for prompts with runs unless `force`.
    """
    return doomed(session.project, session.store.snapshot(), ids, kind, force=force)


def delete(session: Session, going: Doomed, *, keep_outputs: bool = False) -> tuple[int, int]:
    """Delete what `deleting` returned; return how many runs went, and the bytes freed.

    A run that was started meanwhile stays. With `keep_outputs` the videos
    and the links to them stay.
    """
    return delete_all(session.project, session.store, going, keep_outputs=keep_outputs)


def _chosen(runs: Sequence[str], known: Snapshot, stars: int, *, best: bool) -> tuple[str, ...]:
    """Return those of the runs with enough stars, or with the most; AnswerIsNo for none."""
    if not (stars or best):
        return tuple(runs)
    given = {run_id: known.runs[run_id].rating or 0 for run_id in runs}
    least = max(stars, max(given.values(), default=0) if best else 1, 1)
    chosen = tuple(run_id for run_id, each in given.items() if each >= least)
    if not chosen:
        raise AnswerIsNo(
            f"none of these runs has {least} star{'s' if least > 1 else ''}",
            hint="give some: cosmos-jobs rate rs_… 5, or rate --import FILE of a report's page",
        )
    return chosen
