"""What keeps a plan from being carried out: an engine that is not there, or a limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from cosmos_jobs.apply.options import ApplyOptions
from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Job
from cosmos_jobs.errors import AnswerIsNo, EngineError
from cosmos_jobs.plan.diff import starts
from cosmos_jobs.plan.model import Action, Estimate, Planned


def check(project: Project, planned: Planned, options: ApplyOptions) -> None:
    """Raise what keeps a plan from being carried out: no engine, or a limit."""
    for job in planned.jobs:
        for engine in _engines(job):
            project.targets[job.target].installed(engine)
    _within_limits(planned, options)


def refusals(job: Job, target: Target, cost: Estimate) -> Iterator[str]:
    """Say which engines the target lacks, and which limits of the job file are exceeded."""
    limits, name = job.limits, job.name
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


def unchecked(
    project: Project, jobs: Iterable[Job], costs: Mapping[str, Estimate]
) -> Iterator[Diagnostic]:
    """Say of which job files the limit in GPU hours cannot be checked, as no one knows them."""
    for job in jobs:
        unknown = costs[job.name].unknown
        limited = job.limits.max_gpu_hours is not None and project.targets[job.target].gpus
        if unknown and limited and job.spec:
            yield job.spec.source.diagnostic(
                ("limits", "max_gpu_hours"),
                "unchecked-limit",
                f"this limit is not checked for {unknown:,} of its runs: nobody knows yet how"
                " long they take",
                hint="make a few first: --canary 1",
                severity=Severity.WARNING,
            )


def _engines(job: Job) -> tuple[str, ...]:
    """Return the engines of a job's runs: what upscales them may be another one."""
    return tuple(dict.fromkeys(each.run.engine for each in job.expansion.runs))


def _within_limits(planned: Planned, options: ApplyOptions) -> None:
    if planned.refusals:
        raise AnswerIsNo(
            "; ".join(planned.refusals), hint="raise the limit in the job file, or use --only"
        )
    # What is known after enhance is new, but for rare cases.
    runs = len(starts(planned.plan)) + sum(
        each.action is Action.ENHANCE for each in planned.plan.changes
    )
    if runs > options.max_runs:
        raise AnswerIsNo(
            f"this would start {runs:,} runs; one apply starts at most {options.max_runs:,}",
            hint=f"allow it: --max-runs {runs}, or take a part of it: --only PROMPT",
        )
    hours, max_gpu_hours = planned.estimate.gpu_hours, options.max_gpu_hours
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
