"""A job and its input files become prompts and runs: zip → product → exclude → include → sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cosmos_jobs.core import identity
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import (
    Contract,
    Desired,
    Detail,
    Detailer,
    Expansion,
    JobInputs,
    JobSpec,
    PromptSpec,
    Source,
)
from cosmos_jobs.core.placeholders import fill
from cosmos_jobs.core.run import InputFile, Run
from cosmos_jobs.jobs import combinations, labels, upscale
from cosmos_jobs.jobs import matrix as matrices
from cosmos_jobs.jobs.combinations import MAX_COMBINATIONS
from cosmos_jobs.jobs.matrix import Cell, Matrix

AWAITED = "enhance"
"""The input of a prompt that names the text which is awaited."""

NO_DETAIL = Detail()


def expand(
    job: JobSpec, inputs: JobInputs, contract: Contract, detail: Detail = NO_DETAIL
) -> tuple[Expansion | None, tuple[Diagnostic, ...]]:
    """Return every prompt and run that `job` asks for, and what is wrong or odd about it.

    The expansion is None when there is an error. Combinations are counted
    before any is made; above MAX_COMBINATIONS none is. Prompts that `detail`
    has an enhancer for get the text that it made, or await it.
    """
    matrix = matrices.of(job, inputs, contract, detail)
    if matrix.problems:
        return None, tuple(matrix.problems)
    axes = combinations.axes_of(matrix)
    if combinations.count(axes) > MAX_COMBINATIONS:
        matrix.problem((), "too-many-runs", *combinations.too_many(axes))
        return None, tuple(matrix.problems)
    cells = list(combinations.product_of(matrix, axes))
    included = list(combinations.included(matrix))
    cells += included
    if not cells and not matrix.problems:
        matrix.problem(("exclude",), "no-runs", "no combination is left: the job makes nothing")
    shown = labels.shown_axes(matrix, axes, included)
    expansion = _runs(matrix, combinations.sampled(job, cells), shown)
    if any(found.severity is Severity.ERROR for found in matrix.problems):
        return None, tuple(matrix.problems)
    return expansion, tuple(matrix.problems)


def _runs(matrix: Matrix, cells: Sequence[Cell], shown: tuple[str, ...]) -> Expansion:
    job = matrix.job
    prompts = {prompt.name: prompt for prompt in job.prompts}
    params = list(matrix.contract.schemas)
    named = {(each.parameter, each.path): each.at for each in reversed(job.files)}
    filed = tuple(dict.fromkeys(parameter for parameter, _ in named))
    fixed = {"regions": identity.canonical(job.regions).decode()} if job.regions else {}
    used = {name: matrix.used(name) for name in prompts}
    sources: dict[str, Source] = {}
    runs: dict[str, Desired] = {}
    taken: dict[str, set[str]] = {name: set() for name in prompts}
    doubles = 0
    for cell in cells:
        name = str(cell["prompt"])
        source = _source(matrix, prompts[name], cell, used[name])
        sources.setdefault(source.prompt.id, source)
        given = {param: cell[param] for param in params if param in cell}
        files = _files(matrix, cell, filed) if filed else {}
        if fixed or files:
            given |= fixed | {param: file.sha256 for param, file in files.items()}
        weights = matrix.weights[str(cell["weights"])]
        run = identity.run(source.prompt.id, matrix.contract, weights, given)
        for param, file in files.items():
            at = named[param, str(cell[param])]
            _compare_frames(matrix, at, param, file, source=source, run=run)
        if run.id in runs:
            doubles += 1
            continue
        label = labels.label(cell, shown, run, files, taken=taken[name])
        awaits = source.prompt.inputs.get(AWAITED, "")
        runs[run.id] = Desired(run, job.name, name, label, files=files, awaits=awaits)
    if doubles:
        what = "combination makes" if doubles == 1 else "combinations make"
        matrix.warn((), "same-run", f"{doubles} {what} the same run as another; each is made once")
    made = Expansion(sources, tuple(runs.values()))
    return upscale.behind(matrix, made, job.upscale, taken) if job.upscale else made


def _files(matrix: Matrix, cell: Cell, params: tuple[str, ...]) -> dict[str, InputFile]:
    """Return the files that are values of a combination's parameters."""
    given = {name: cell[name] for name in params if cell.get(name) is not None}
    return {name: matrix.inputs.files[str(path)] for name, path in given.items()}


def _compare_frames(
    matrix: Matrix, at: Where, name: str, file: InputFile, *, source: Source, run: Run
) -> None:
    """Warn, once, of a mask that has other frames than the part of the video that is used."""
    color, most = source.files["color"], run.params.get("max_frames")
    key = (name, file.sha256, source.video, most)
    if matrix.contract.schemas[name]["x-file"] != "video" or key in matrix.compared:
        return
    matrix.compared.add(key)
    if _used_frames(file, run) != _used_frames(color, run):
        message = (
            f"`{file.path.name}` has {_frames(file.frames)},"
            f" but the video `{source.video}` has {_frames(color.frames)}"
        )
        matrix.warn(at, "mask-frames", message, "a mask shows the same frames as its video")


def _used_frames(file: InputFile, run: Run) -> int:
    most = run.params.get("max_frames")
    return file.frames if most is None else min(file.frames, int(most))


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count:,} frames"


def _source(matrix: Matrix, prompt: PromptSpec, cell: Cell, used: tuple[str, ...]) -> Source:
    video = str(cell["video"])
    values = {name: str(cell[name]) for name in used}
    key = (prompt.name, "\0".join((video, *values.values())))
    if key not in matrix.sources:
        files = matrix.inputs.videos[video]
        digests = {role: file.sha256 for role, file in files.items()}
        words = fill(matrix.texts[prompt.name], values)
        made = identity.prompt(words, prompt.negative, digests)
        if not made.text:
            message = "the prompt is empty once its variables are filled in"
            matrix.problem(("prompts", prompt.name), "empty-prompt", message)
        source = Source(made, prompt.name, video, files)
        by = matrix.detail.by.get(prompt.name)
        matrix.sources[key] = _detailed(source, by, matrix.detail) if by else source
    return matrix.sources[key]


def _detailed(source: Source, by: Detailer, detail: Detail) -> Source:
    """Return a prompt with the text that an enhancer made of it, or as one that awaits it."""
    before = source.prompt
    awaited = identity.enhanced(before.text, before.inputs, by)
    found = detail.texts.get(awaited)
    if found is None:
        inputs = {**before.inputs, AWAITED: awaited}
        return replace(source, prompt=identity.prompt(before.text, before.negative, inputs))
    prompt = identity.prompt(found.text, before.negative, before.inputs)
    if prompt.id == before.id:
        return source
    return replace(source, prompt=prompt, parent=before.id, enhancer=found.enhancer)
