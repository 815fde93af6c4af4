"""Job files of what is in the store, read back before anybody gets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cosmos_jobs.artifacts.digests import Digests
from cosmos_jobs.config import schema
from cosmos_jobs.config.project import Project
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.record import Record, State
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import AnswerIsNo
from cosmos_jobs.jobs import expand, export_text, inputs, parse
from cosmos_jobs.jobs.export_text import Part
from cosmos_jobs.jobs.notes import noted

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Exported:
    """A job file: its job's name, its text, and the runs that it asks for."""

    name: str
    engine: str
    text: str
    runs: tuple[str, ...]


def made(
    project: Project, known: Snapshot, run_ids: Sequence[str], name: str
) -> tuple[Exported, ...]:
    """Return the job files that ask for the runs: one for each engine and way to upscale.

    Each was parsed and expanded as `apply` does. Raises AnswerIsNo, naming the
    runs and why, when some would not come out with their ids.
    """
    found, refused = export_text.parts(run_ids, known)
    if refused:
        raise AnswerIsNo("no job file can ask for these runs:\n" + _listed(refused))
    digests = Digests(project.cache / "digests.json")
    names = _names(found, name)
    exported = []
    for part, each in zip(found, names, strict=True):
        text = export_text.text(
            part,
            known.prompts,
            each,
            target=_target(project, part),
            comments=_comments(part, known),
        )
        if missing := _read_back(project, known, part, text, digests=digests):
            raise AnswerIsNo(
                "the job file would not ask for these runs:\n" + _listed(missing),
                hint="bring the files back as they were, or leave these runs out;"
                " see what changed: cosmos-jobs verify",
            )
        exported.append(Exported(each, part.engine, text, part.ids))
    digests.save()
    return tuple(exported)


def _names(found: Sequence[Part], name: str) -> list[str]:
    if len(found) == 1:
        return [name]
    names: list[str] = []
    for part in found:
        kind = f"{name}-{part.engine}{'-4k' if part.upscale else ''}".replace(".", "-")
        number = sum(each == kind or each.startswith(f"{kind}-n") for each in names)
        names.append(f"{kind}-n{number + 1}" if number else kind)
    return names


def _target(project: Project, part: Part) -> str:
    """Return the target that all runs were on last, unless it is the project's own."""
    last = {each.last.target for each in part.runs if each.last}
    target = last.pop() if len(last) == 1 else ""
    return target if target in project.targets and target != project.target else ""


def _comments(part: Part, known: Snapshot) -> list[str]:
    states = [known.states[run_id] for run_id in part.ids]
    done = sum(state is State.SUCCEEDED for state in states)
    runs = "1 run" if len(states) == 1 else f"{len(states):,} runs"
    return [
        f"Written by `cosmos-jobs export`: {runs}, {done:,} of them made.",
        "Apply finds them by their ids, so that nothing is made twice.",
    ]


def _read_back(
    project: Project, known: Snapshot, part: Part, text: str, *, digests: Digests
) -> Mapping[str, str]:
    """Return the runs that the text does not ask for, or asks for too much, and why."""
    job, problems = parse.parse(
        text.encode(), "export", engine=part.engine, target=project.target, targets=project.targets
    )
    if job is None:
        return dict.fromkeys(part.ids, _said(problems))
    found, problems = inputs.resolve(job, project.root, digests)
    expansion = None
    if not (why := _said(problems)):
        expansion, problems = expand.expand(job, found, schema.contract(job.engine))
        why = _said(problems)
    if expansion is not None and not why:
        why = _said(noted(job, expansion))
    asked = {each.run.id for each in expansion.runs} if expansion and not why else set()
    lost = [each for each in part.ids if each not in asked]
    reasons = {each: why or _changed(project, known, each, digests) for each in lost}
    return reasons | {each: "it is in no store" for each in asked.difference(part.ids) if not lost}


def _said(problems: Iterable[Diagnostic]) -> str:
    errors = [each.message for each in problems if each.severity is Severity.ERROR]
    more = f", and {len(errors) - 1} more" if errors[1:] else ""
    return f"{errors[0]}{more}" if errors else ""


def _changed(project: Project, known: Snapshot, run_id: str, digests: Digests) -> str:
    """Say which files of a run are not what they were."""
    record = known.runs[run_id]
    changed = []
    for what, path, sha256 in named(record, known):
        now = digests.file(project.root / path)
        if getattr(now, "sha256", "") != sha256:
            changed.append(f"{what} {path}")
    return f"not as it was: {', '.join(changed)}" if changed else "its id does not come out again"


def named(record: Record, known: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Yield the files that a run was made of: what each is, its path, and its sha256."""
    prompt = known.prompts[record.run.prompt_id]
    for role, path in prompt.files.items():
        yield f"{role} video", path, prompt.prompt.inputs.get(role, "")
    for name, path in record.files.items():
        yield name, path, str(record.run.params.get(name))


def _listed(reasons: Mapping[str, str]) -> str:
    lines = [f"  {run_id}: {why}" for run_id, why in list(reasons.items())[:SHOWN]]
    more = [f"  … and {len(reasons) - SHOWN:,} more"] if len(reasons) > SHOWN else []
    return "\n".join([*lines, *more])
