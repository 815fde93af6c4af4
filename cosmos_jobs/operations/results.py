"""Operations to look at what was made: measure it, show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs.core.job import Job
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.operations.base import wait
from cosmos_jobs.operations.flight import Flight

if TYPE_CHECKING:
    from cosmos_jobs.checks.registry import Measured


class Results(Flight):
    """What can be done to choose among videos."""

    def evaluate(
        self, names: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
    ) -> tuple[tuple[Record, ...], dict[str, Measured]]:
        """Measure the videos of runs, jobs or job files, or all; return these runs, and by run id.

        Runs without a video are left out. What was measured before is not
        measured again. `progress` is told the runs done and the runs in all.
        Raises UsageError for a name that is none.
        """
        from cosmos_jobs.checks.evaluate import Evaluation

        known = self.store.snapshot()
        chosen = self.select(names, frozenset(State))
        records = tuple(known.runs[each] for each in chosen if known.runs[each].output)
        silent = progress or (lambda done, total: None)
        return records, Evaluation(self.project, known).measure(records, silent)

    def measured(self, records: Sequence[Record]) -> dict[str, Measured]:
        """Return what was measured of runs before, by run id: no video is read."""
        from cosmos_jobs.checks.evaluate import Evaluation

        return Evaluation(self.project, self.store.snapshot()).recall(records)

    def ranked(self, records: Sequence[Record], by: str) -> tuple[Record, ...]:
        """Return runs by their `rating` or a metric, the best first, those without it last."""
        from cosmos_jobs.checks import evaluate

        if by == "rating":
            return tuple(sorted(records, key=lambda each: -(each.rating or 0)))
        return evaluate.ranked(records, self.measured(records), by)

    def report(self, name: str, folder: str | Path = "", *, embed: bool = False) -> Path:
        """Write the page of a job, named or by its file; return where it is.

        It goes into `folder`, else into `reports/<job>/` of the project. With
        `embed` it is one file, with small previews in it. Runs that the job
        file asks for and that were never started are shown as pending. Raises
        UsageError for a job that is not known, and for a folder that holds
        something else.
        """
        from cosmos_jobs import report
        from cosmos_jobs.engines.control_maps import Controls

        maps = Controls(self.project.cache / "controls")
        known = self.store.snapshot()
        asked = self._asked_by(name, known)
        job = asked.spec.name if asked else name
        records = _of_job(job, asked, known)
        prompts = _prompts(records, asked, known)
        place = Path(folder) if folder else self.project.root / "reports" / job
        described = report.Job(
            job,
            known.jobs.get(job) or (asked.spec.path if asked else ""),
            asked.spec.description if asked else "",
            asked.spec.weights if asked else {},
        )
        made = report.Report(
            self.project,
            replace(known, prompts=prompts),
            place,
            lambda wanted: wait(maps.make(wanted)),
            embed=embed,
        )
        return made.write(described, records, self.measured(records))

    def _asked_by(self, name: str, known: Snapshot) -> Job | None:
        """Return what a job asks for, None where its file is gone or wrong by now.

        Raises UsageError for a name that is none, InvalidFiles for a file that was named.
        """
        is_job = any(name in each.jobs for each in known.runs.values())
        file = self.project.root / known.jobs.get(name, "") if is_job else Path(name)
        if not is_job and not file.is_file():
            hint = "see them: cosmos-jobs status"
            raise UsageError(f"there is no job or job file `{name}`", hint=hint)
        if not file.is_file():
            return None
        jobs, problems = self.validate([str(file)])
        if not jobs and not is_job:
            raise InvalidFiles(f"{name} is invalid", problems)
        return jobs[0] if jobs else None


def _of_job(job: str, asked: Job | None, known: Snapshot) -> tuple[Record, ...]:
    """Return the runs of a job, in the order of its file; what was never started is pending."""
    records = {}
    for each in asked.expansion.runs if asked else ():
        run_id = each.run.id
        if run_id in known.states:
            records[run_id] = known.runs[run_id]
        elif not each.awaits:
            records[run_id] = Record(each.run, {job: each.place})
    for run_id, record in known.runs.items():
        if job in record.jobs:
            records.setdefault(run_id, record)
    return tuple(records.values())


def _prompts(
    records: Iterable[Record], asked: Job | None, known: Snapshot
) -> dict[str, PromptRecord]:
    """Return the prompts of runs, also those that only the job file knows."""
    sources = asked.expansion.prompts if asked else {}
    prompts = {}
    for prompt_id in dict.fromkeys(each.run.prompt_id for each in records):
        if prompt_id in known.prompts:
            prompts[prompt_id] = known.prompts[prompt_id]
        elif source := sources.get(prompt_id):
            prompts[prompt_id] = PromptRecord(source.prompt, source.name, source.video, {}, 0)
    return prompts
