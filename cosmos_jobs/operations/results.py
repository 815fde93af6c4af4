"""Operations to look at what was made: measure it, show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.model import Job, Record, Snapshot, State
from cosmos_jobs.operations.flight import Flight

if TYPE_CHECKING:
    from cosmos_jobs.metrics import Measured


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
        from cosmos_jobs.evaluate import Evaluation

        known = self.store.snapshot()
        chosen = self.select(names, frozenset(State))
        records = tuple(known.runs[each] for each in chosen if known.runs[each].output)
        silent = progress or (lambda done, total: None)
        return records, Evaluation(self.project, known).measure(records, silent)

    def measured(self, records: Sequence[Record]) -> dict[str, Measured]:
        """Return what was measured of runs before, by run id: no video is read."""
        from cosmos_jobs.evaluate import Evaluation

        return Evaluation(self.project, self.store.snapshot()).recall(records)

    def ranked(self, records: Sequence[Record], by: str) -> tuple[Record, ...]:
        """Return runs by their `rating` or a metric, the best first, those without it last."""
        from cosmos_jobs import evaluate

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

        known = self.store.snapshot()
        job, asked = self._reported(name, known)
        records = {each: one for each, one in known.runs.items() if job in one.jobs}
        order = dict.fromkeys(each.run.id for each in asked.expansion.runs) if asked else {}
        for each in asked.expansion.runs if asked else ():
            if not each.awaits:
                records.setdefault(each.run.id, Record(each.run, {job: each.place}))
        ordered = [
            records[each] for each in [*order, *records.keys() - order.keys()] if each in records
        ]
        place = Path(folder) if folder else self.project.root / "reports" / job
        described = report.Job(
            job,
            known.jobs.get(job, ""),
            asked.spec.description if asked else "",
            asked.spec.weights if asked else {},
        )
        made = report.Report(self.project, known, place, embed=embed)
        return made.write(described, ordered, self.measured(ordered))

    def _reported(self, name: str, known: Snapshot) -> tuple[str, Job | None]:
        """Return the name of a job and what its file asks for, if there is one that holds."""
        path = known.jobs.get(name) or name
        file = self.project.root / path if name in known.jobs else Path(path)
        if file.is_file():
            try:
                (job, *_), _ = self.validate([str(file)])
            except InvalidFiles:
                if name not in known.jobs:
                    raise
            else:
                return job.spec.name, job
        if any(name in each.jobs for each in known.runs.values()):
            return name, None
        raise UsageError(
            f"there is no job or job file `{name}`", hint="see them: cosmos-jobs status"
        )
