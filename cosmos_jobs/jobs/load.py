"""Job files from disk: found, parsed, their input videos looked at, expanded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs import enhancers
from cosmos_jobs.artifacts.digests import Digests
from cosmos_jobs.config import project as projects
from cosmos_jobs.config import schema, violations
from cosmos_jobs.config.project import Project
from cosmos_jobs.config.yaml import MAX_BYTES
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.errand import Errand
from cosmos_jobs.core.job import Detail, Detailer, Enhanced, Expansion, Job, JobInputs, JobSpec
from cosmos_jobs.errors import EngineError, UsageError
from cosmos_jobs.jobs import expand, git, inputs, parse
from cosmos_jobs.jobs.git import Changes
from cosmos_jobs.jobs.notes import noted
from cosmos_jobs.jobs.previewed import previewed

SUFFIXES = (".yaml", ".yml")
NOTHING: Mapping[str, Enhanced] = {}


def load(
    project: Project,
    paths: Sequence[str],
    *,
    target: str = "",
    preview: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    enhanced: Mapping[str, Enhanced] = NOTHING,
    since: str | None = None,
) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
    """Return the jobs of those files that hold, and every problem of all files.

    A folder stands for the job files in it. `progress` is told a file's path,
    the bytes hashed and the bytes in all. Runs of prompts that are to be enhanced
    await their text unless it is among those `enhanced`; no enhancer is called.
    With `since`, files are left out that do not differ from that git ref, and
    name nothing that does. Raises UsageError for a path that does not exist, for
    an unknown `target` or ref.
    """
    if target:
        project.named(target)
    digests = Digests(project.cache / "digests.json", progress=progress)
    jobs: list[Job] = []
    told: list[Diagnostic] = []
    names: dict[str, str] = {}
    differ = None if since is None else git.since(project.root, since)
    for path in find(paths, project.root):
        parsed, found = _parse(project, path)
        problems = [*_same_name(parsed, names)] if parsed else []
        if differ is not None and not _differs(differ, project.root, path, parsed):
            told += problems
            continue
        problems += found
        if parsed is not None:
            files, found = inputs.resolve(parsed, project.root, digests)
            problems += found
            if not any(each.severity is Severity.ERROR for each in problems):
                by, found = _detailers(project, parsed)
                problems += found
                detail = Detail(by, enhanced)
                job, found = _expand(parsed, files, detail, target=target, preview=preview)
                problems += found
                jobs += [job] if job else []
        told += sorted(problems, key=violations.position)
    digests.save()
    return tuple(jobs), tuple(told)


def _differs(differ: Changes, root: Path, path: Path, job: JobSpec | None) -> bool:
    """Return whether a job file, or something that decides what it makes, is among `differ`."""
    if any(map(differ.of, (path, root / projects.FILE))):
        return True
    if job is None:
        return False
    files = [file for video in job.videos.values() for file in video.files.values()]
    files += [prompt.file for prompt in job.prompts if prompt.file is not None]
    files += [each.path for each in job.files]
    folders = [video.folder for video in job.videos.values() if video.folder is not None]
    if job.video_glob is not None:
        # A folder that matched may be gone: all below what stands before the first wildcard.
        folders.append(re.split(r"[^/]*[*?[]", job.video_glob, maxsplit=1)[0])
    return any(differ.of(root / each) for each in files) or any(
        differ.within(root / each) for each in folders
    )


def find(paths: Sequence[str], root: Path) -> tuple[Path, ...]:
    """Return the job files that `paths` name, each once, those of a folder by name."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _files(located(path, root)):
            found.setdefault(file.resolve(), file)
    if paths and not found:
        raise UsageError(f"there are no job files (*.yaml) in {', '.join(paths)}")
    return tuple(found.values())


def located(path: str, root: Path) -> Path:
    """Return where a path is: from the working directory, else from the project's `root`."""
    here = Path(path)
    return here if here.exists() or not (root / path).exists() else root / path


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if _is_job_file(each.relative_to(path)))
    if path.exists():
        return [path]
    near = difflib.get_close_matches(str(path), _neighbours(path), 1)
    raise UsageError(
        f"there is no job file {path}", hint=f"did you mean {near[0]}?" if near else ""
    )


def _is_job_file(path: Path) -> bool:
    return path.suffix in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _neighbours(path: Path) -> Iterator[str]:
    if path.parent.is_dir():
        yield from (str(each) for each in path.parent.iterdir() if each.suffix in SUFFIXES)


def _parse(project: Project, path: Path) -> tuple[JobSpec | None, tuple[Diagnostic, ...]]:
    try:
        with path.open("rb") as file:
            # One byte more than a job file may have says enough.
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot read the file: {error.strerror}"
        return None, (Diagnostic("unreadable", message, str(path)),)
    return parse.read(
        data,
        str(path),
        engine=project.engine,
        target=project.target,
        targets=project.targets,
    )


def _same_name(job: JobSpec, names: dict[str, str]) -> Iterator[Diagnostic]:
    first = names.setdefault(job.name, job.path)
    if first != job.path:
        message = f"the job name `{job.name}` is taken by {first}"
        yield job.source.diagnostic(("name",), "duplicate-job", message, hint="choose another name")


def _detailers(
    project: Project, parsed: JobSpec
) -> tuple[dict[str, Detailer], tuple[Diagnostic, ...]]:
    """Return the enhancers of a job's prompts, and which of them cannot be had."""
    found: dict[str, Detailer] = {}
    problems = []
    for prompt in parsed.prompts:
        if prompt.enhance is None:
            continue
        try:
            made = enhancers.enhancer_of(project, prompt.enhance, _nobody)
        except EngineError as error:
            at = ("prompts", prompt.name, "enhance")
            problems.append(
                parsed.source.diagnostic(at, "no-enhancer", error.message, hint=error.hint)
            )
            continue
        kind = project.enhancing(prompt.enhance).kind
        found[prompt.name] = Detailer(made.name, kind, made.settings)
    return found, tuple(problems)


def _nobody(errand: Errand) -> str:
    """Stand for a messenger where nothing is sent."""
    raise EngineError("an enhancer was called where none may be")


def _expand(
    parsed: JobSpec, files: JobInputs, detail: Detail, *, target: str, preview: bool
) -> tuple[Job | None, tuple[Diagnostic, ...]]:
    expansion, found = expand.expand(parsed, files, schema.contract(parsed.engine), detail)
    if expansion is None:
        return None, found
    found += tuple(noted(parsed, expansion))
    if any(each.severity is Severity.ERROR for each in found):
        return None, found
    if preview and parsed.engine != "preview":
        before, now = schema.contract(parsed.engine), schema.contract("preview")
        parsed = replace(parsed, name=f"{parsed.name}.preview", engine=now.engine)
        expansion = previewed(expansion, before, now, parsed.name)
    where = "local" if preview else target or parsed.target
    return job_of(parsed, where, expansion), found


def job_of(spec: JobSpec, target: str, expansion: Expansion) -> Job:
    """Return the job of a file, on a target that may be another than the file's."""
    return Job(
        name=spec.name,
        target=target,
        engines=(spec.engine,),
        expansion=expansion,
        limits=spec.limits,
        spec=spec,
    )
