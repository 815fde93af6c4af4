"""Job files from disk: found, parsed, their input videos looked at, expanded."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs import inputs, matrix, schema, spec
from cosmos_jobs.digests import Digests
from cosmos_jobs.errors import UsageError
from cosmos_jobs.model import Diagnostic, Job, JobInputs, JobSpec, Severity
from cosmos_jobs.project import Project
from cosmos_jobs.yamltext import MAX_BYTES

SUFFIXES = (".yaml", ".yml")


def load(
    project: Project,
    paths: Sequence[str],
    *,
    target: str = "",
    preview: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[tuple[Job, ...], tuple[Diagnostic, ...]]:
    """Return the jobs of those files that hold, and every problem of all files.

    A folder stands for the job files in it. `progress` is told a file's path,
    the bytes hashed and the bytes in all. Raises UsageError for a path that
    does not exist and for an unknown `target`.
    """
    if target:
        project.named(target)
    digests = Digests(project.cache / "digests.json", progress=progress)
    jobs: list[Job] = []
    told: list[Diagnostic] = []
    names: dict[str, str] = {}
    for path in find(paths, project.root):
        parsed, found = _parse(project, path)
        problems = list(found)
        if parsed is not None:
            problems += _same_name(parsed, names)
            files, found = inputs.resolve(parsed, project.root, digests)
            problems += found
            if not any(each.severity is Severity.ERROR for each in problems):
                job, found = _expand(parsed, files, target=target, preview=preview)
                problems += found
                jobs += [job] if job else []
        told += sorted(problems, key=schema.position)
    digests.save()
    return tuple(jobs), tuple(told)


def find(paths: Sequence[str], root: Path) -> tuple[Path, ...]:
    """Return the job files that `paths` name, each once, those of a folder by name."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _files(located(path, root)):
            found.setdefault(file.resolve(), file)
    if not found:
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
    return spec.read(
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


def _expand(
    parsed: JobSpec, files: JobInputs, *, target: str, preview: bool
) -> tuple[Job | None, tuple[Diagnostic, ...]]:
    expansion, found = matrix.expand(parsed, files, schema.contract(parsed.engine))
    if expansion is None:
        return None, found
    if preview and parsed.engine != "preview":
        before, now = schema.contract(parsed.engine), schema.contract("preview")
        parsed = replace(parsed, name=f"{parsed.name}.preview", engine=now.engine)
        expansion = matrix.previewed(expansion, before, now, parsed.name)
    where = "local" if preview else target or parsed.target
    return Job(parsed, where, expansion), found
