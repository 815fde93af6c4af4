"""A job and its input files become prompts and runs: zip → product → exclude → include → sample."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TypeAlias

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, naming
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import (
    Contract,
    Desired,
    Detail,
    Detailer,
    Expansion,
    Include,
    JobInputs,
    JobSpec,
    PromptSpec,
    Source,
    Upscale,
)
from cosmos_jobs.core.placeholders import fill, malformed, placeholders
from cosmos_jobs.core.run import IMAGE_SUFFIXES, RUN, InputFile, Run, Scalar
from cosmos_jobs.jobs import upscale as upscaling

MAX_COMBINATIONS = 1_000_000
AWAITED = "enhance"
"""The input of a prompt that names the text which is awaited."""

NO_DETAIL = Detail()

Cell: TypeAlias = Mapping[str, Scalar]
"""One combination: axis name → value; `video` and `weights` hold names, as in `exclude`."""


@dataclass(slots=True)
class _Matrix:
    """One job while it is being expanded; what is found wrong gathers in `problems`."""

    job: JobSpec
    inputs: JobInputs
    contract: Contract
    texts: Mapping[str, str]
    weights: dict[str, Mapping[str, float]]
    detail: Detail
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    compared: set[tuple[Scalar, ...]] = field(default_factory=set)
    problems: list[Diagnostic] = field(default_factory=list)

    def problem(self, at: Where, code: str, message: str, hint: str = "") -> None:
        self.problems.append(self.job.source.diagnostic(at, code, message, hint=hint))

    def warn(self, at: Where, code: str, message: str, hint: str = "") -> None:
        self.problems.append(
            self.job.source.diagnostic(at, code, message, hint=hint, severity=Severity.WARNING)
        )


def expand(
    job: JobSpec, inputs: JobInputs, contract: Contract, detail: Detail = NO_DETAIL
) -> tuple[Expansion | None, tuple[Diagnostic, ...]]:
    """Return every prompt and run that `job` asks for, and what is wrong or odd about it.

    The expansion is None when there is an error. Combinations are counted
    before any is made; above MAX_COMBINATIONS none is. Prompts that `detail`
    has an enhancer for get the text that it made, or await it.
    """
    matrix = _Matrix(job, inputs, contract, _texts(job, inputs), dict(job.weights), detail)
    _check_names(matrix)
    if matrix.problems:
        return None, tuple(matrix.problems)
    axes = _axes(matrix)
    count = sum(prod(len(values) for values in columns.values()) for columns in axes.values())
    if count > MAX_COMBINATIONS:
        matrix.problem((), "too-many-runs", *_too_many(axes, count))
        return None, tuple(matrix.problems)
    cells = list(_excluded(matrix, axes))
    included = [cell for cell in _included(matrix) if cell is not None]
    cells += included
    if not cells and not matrix.problems:
        matrix.problem(("exclude",), "no-runs", "no combination is left: the job makes nothing")
    expansion = _runs(matrix, _sampled(job, cells), _label_axes(matrix, axes, included))
    if any(found.severity is Severity.ERROR for found in matrix.problems):
        return None, tuple(matrix.problems)
    return expansion, tuple(matrix.problems)


def _texts(job: JobSpec, inputs: JobInputs) -> dict[str, str]:
    return {
        prompt.name: inputs.texts[prompt.file] if prompt.file else prompt.text or ""
        for prompt in job.prompts
    }


def _check_names(matrix: _Matrix) -> None:
    """Check what only the files told: the videos of a glob, the variables of a prompt file."""
    job, videos = matrix.job, matrix.inputs.videos
    for prompt in job.prompts:
        at = ("prompts", prompt.name)
        for index, name in enumerate(prompt.videos or ()):
            if name not in videos:
                _unknown_video(matrix, (*at, "videos", index), name)
        if prompt.file:
            _check_placeholders(matrix, prompt.name, prompt.file)
    for index, excluded in enumerate(job.exclude):
        for video in excluded.get("video", ()):
            if video not in videos:
                _unknown_video(matrix, ("exclude", index, "video"), str(video))
    _check_images(matrix)


def _unknown_video(matrix: _Matrix, at: Where, name: str) -> None:
    known = f"the videos are {', '.join(matrix.inputs.videos)}"
    matrix.problem(at, "unknown-video", f"unknown video `{name}`", known)


def _check_placeholders(matrix: _Matrix, prompt: str, file: str) -> None:
    at = ("prompts", prompt, "file")
    if wrong := next(malformed(matrix.texts[prompt]), None):
        hint = "write {name} for a variable; {{ and }} for braces that are meant"
        matrix.problem(at, "bad-placeholder", f"`{file}` has a stray `{wrong[0]}`", hint)
    for name in _used(matrix, prompt):
        if name not in matrix.job.variables:
            message = f"`{file}` uses the variable `{{{name}}}`, which is not defined"
            hint = f"add `{name}: [...]` to `variables`"
            matrix.problem(at, "unknown-variable", message, hint)


def _used(matrix: _Matrix, prompt: str) -> tuple[str, ...]:
    return placeholders(matrix.texts[prompt])


def _check_images(matrix: _Matrix) -> None:
    """Check that the engine takes the images among the videos, and that nothing upscales them."""
    job, engine = matrix.job, matrix.contract.engine
    images = [name for name, files in matrix.inputs.videos.items() if _has_image(files)]
    if images and job.upscale:
        message = f"the video `{images[0]}` is an image, and images are not upscaled"
        matrix.problem(("upscale",), "image-upscale", message, "remove `upscale`")
    if matrix.contract.images:
        return
    takers = [name for name in schema.engines() if schema.contract(name).images]
    hint = f"images are for {schema.listed(takers)}; others need a video"
    found = [name for name in images if name not in job.videos]
    for name in (*(name for name in images if name in job.videos), *found[:1]):
        more = f", and {len(found) - 1} more of the glob" if name in found[:1] and found[1:] else ""
        message = f"engine {engine} takes no images, and the video `{name}` is one{more}"
        where: Where = ("videos", "glob" if name in found else name)
        matrix.problem(where, "image-input", message, hint)


def _has_image(files: Mapping[str, InputFile]) -> bool:
    return any(file.path.suffix.lower() in IMAGE_SUFFIXES for file in files.values())


# --- zip and product ----------------------------------------------------------------------

Row: TypeAlias = tuple[Scalar, ...]
Columns: TypeAlias = dict[tuple[str, ...], list[Row]]
"""The axes of one prompt: names that advance together → their tuples of values."""


def _axes(matrix: _Matrix) -> dict[str, Columns]:
    """Return the axes of each prompt; what the prompts have in common is made once."""
    job = matrix.job
    every: dict[str, tuple[Scalar, ...]] = {
        "prompt": tuple(each.name for each in job.prompts),
        "video": tuple(matrix.inputs.videos),
        **job.variables,
        "weights": tuple(job.weights),
        **job.params,
    }
    zipped = {name: group for group in job.zip for name in group}
    groups = dict.fromkeys(zipped.get(name, (name,)) for name in every)
    columns = {group: _together(matrix, group, every) for group in groups}
    group = zipped.get("prompt", ("prompt",))
    own: dict[Scalar, list[Row]] = {}
    for row in columns[group]:
        own.setdefault(row[group.index("prompt")], []).append(row)
    return {
        prompt.name: _taken(matrix, prompt, {**columns, group: own.get(prompt.name, [])})
        for prompt in job.prompts
    }


def _together(
    matrix: _Matrix, group: tuple[str, ...], every: Mapping[str, tuple[Scalar, ...]]
) -> list[Row]:
    lengths = {name: len(every[name]) for name in group}
    if len(set(lengths.values())) > 1:
        # The text alone told all lengths but that of a glob's videos.
        said = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        where = ("zip", matrix.job.zip.index(group))
        message = f"zipped axes have different lengths: {said}"
        hint = "give them the same number of values, or do not zip them"
        matrix.problem(where, "zip-length", message, hint)
        return []
    return list(zip(*(every[name] for name in group), strict=True))


def _taken(matrix: _Matrix, prompt: PromptSpec, columns: Columns) -> Columns:
    """Return the rows that a prompt takes, without the variables that it does not use."""
    unused = set(matrix.job.variables) - set(_used(matrix, prompt.name))
    taken: Columns = {}
    for group, rows in columns.items():
        kept = [index for index, name in enumerate(group) if name not in unused]
        if not kept:
            continue
        if "video" in group and prompt.videos is not None:
            at = group.index("video")
            rows = [row for row in rows if row[at] in prompt.videos]
        if len(kept) < len(group):
            parts = [tuple(row[index] for index in kept) for row in rows]
            rows = list({tuple(map(_key, part)): part for part in parts}.values())
        taken[tuple(group[index] for index in kept)] = rows
    return taken


def _too_many(axes: Mapping[str, Columns], count: int) -> tuple[str, str]:
    name, columns = max(axes.items(), key=lambda item: prod(map(len, item[1].values())))
    factors = " × ".join(
        f"{len(rows)} {'+'.join(group)}"
        for group, rows in columns.items()
        if group != ("prompt",) and len(rows) > 1
    )
    return (
        f"this job has {count:,} combinations; at most {MAX_COMBINATIONS:,} are possible",
        f"prompt `{name}` alone has {factors}; shorten an axis or split the job",
    )


# --- exclude, include, sample -------------------------------------------------------------


def _excluded(matrix: _Matrix, axes: Mapping[str, Columns]) -> Iterator[Cell]:
    exclude = [
        {name: frozenset(map(_key, values)) for name, values in entry.items()}
        for entry in matrix.job.exclude
    ]
    hits = [0] * len(exclude)
    for cell in _product(axes):
        matched = [index for index, entry in enumerate(exclude) if _matches(cell, entry)]
        for index in matched:
            hits[index] += 1
        if not matched:
            yield cell
    for index, hit in enumerate(hits):
        if not hit:
            matrix.warn(("exclude", index), "exclude-nothing", "this excludes nothing")


def _product(axes: Mapping[str, Columns]) -> Iterator[Cell]:
    for columns in axes.values():
        names = [name for group in columns for name in group]
        for rows in product(*columns.values()):
            yield dict(zip(names, (value for row in rows for value in row), strict=True))


def _matches(cell: Cell, entry: Mapping[str, frozenset[tuple[type, Scalar]]]) -> bool:
    return all(name in cell and _key(cell[name]) in values for name, values in entry.items())


def _key(value: Scalar) -> tuple[type, Scalar]:
    """Return `value` so that True and 1 differ, but 1 and 1.0 do not."""
    return (bool if isinstance(value, bool) else object, value)


def _included(matrix: _Matrix) -> Iterator[Cell | None]:
    for index, include in enumerate(matrix.job.include):
        yield _complete(matrix, ("include", index), include)


def _complete(matrix: _Matrix, at: Where, include: Include) -> Cell | None:
    """Return an include as a cell; what it leaves out has one value only, or the default."""
    job, videos = matrix.job, matrix.inputs.videos
    needed = {
        "video": include.video or _only(videos),
        **{
            name: include.variables.get(name, _only(job.variables[name]))
            for name in _used(matrix, include.prompt)
        },
        "weights": _weights_label(matrix, include),
    }
    missing = [f"`{name}`" for name, value in needed.items() if value is None]
    if missing:
        message = f"an included combination must be complete: add {', '.join(missing)}"
        hint = "only what has a single value in this file may be left out"
        matrix.problem(at, "incomplete-include", message, hint)
        return None
    if needed["video"] not in videos:
        _unknown_video(matrix, (*at, "video"), str(include.video))
        return None
    single = {name: values[0] for name, values in job.params.items() if len(values) == 1}
    return {"prompt": include.prompt, **needed, **single, **include.params}


def _only(values: Mapping[str, object] | tuple[str, ...]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _weights_label(matrix: _Matrix, include: Include) -> str | None:
    """Return the label of an include's weights; weights given by value get one of their own."""
    match include.weights:
        case None:
            return _only(matrix.job.weights)
        case str(label):
            return label
        case values:
            label = "_".join(f"{name}{value:g}" for name, value in values.items())
            while matrix.weights.get(label, values) != values:
                label += "_"
            matrix.weights[label] = values
            return label


def _sampled(job: JobSpec, cells: list[Cell]) -> list[Cell]:
    """Return a random subset in the order of the file, the same for the same seed and cells."""
    if job.sample is None or job.sample.count >= len(cells):
        return cells
    chosen = random.Random(job.sample.seed).sample(range(len(cells)), job.sample.count)  # noqa: S311
    return [cells[index] for index in sorted(chosen)]


# --- prompts, runs and labels -------------------------------------------------------------


def _runs(matrix: _Matrix, cells: list[Cell], shown: tuple[str, ...]) -> Expansion:
    job = matrix.job
    prompts = {prompt.name: prompt for prompt in job.prompts}
    params = list(matrix.contract.schemas)
    named = {(each.parameter, each.path): each.at for each in reversed(job.files)}
    filed = tuple(dict.fromkeys(parameter for parameter, _ in named))
    fixed = {"regions": identity.canonical(job.regions).decode()} if job.regions else {}
    used = {name: _used(matrix, name) for name in prompts}
    sources: dict[str, Source] = {}
    runs: dict[str, Desired] = {}
    labels: dict[str, set[str]] = {name: set() for name in prompts}
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
            _compare_frames(matrix, named[param, str(cell[param])], param, file, source, run)
        if run.id in runs:
            doubles += 1
            continue
        label = _label(cell, shown, labels[name], run, files)
        awaits = source.prompt.inputs.get(AWAITED, "")
        runs[run.id] = Desired(run, job.name, name, label, files, awaits=awaits)
    if doubles:
        what = "combination makes" if doubles == 1 else "combinations make"
        matrix.warn((), "same-run", f"{doubles} {what} the same run as another; each is made once")
    made = Expansion(sources, tuple(runs.values()))
    return _with_upscaled(matrix, made, job.upscale, labels) if job.upscale else made


def _files(matrix: _Matrix, cell: Cell, params: tuple[str, ...]) -> dict[str, InputFile]:
    """Return the files that are values of a combination's parameters."""
    given = {name: cell[name] for name in params if cell.get(name) is not None}
    return {name: matrix.inputs.files[str(path)] for name, path in given.items()}


def _compare_frames(
    matrix: _Matrix, at: Where, name: str, file: InputFile, source: Source, run: Run
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


def _source(matrix: _Matrix, prompt: PromptSpec, cell: Cell, used: tuple[str, ...]) -> Source:
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


def _label_axes(
    matrix: _Matrix, axes: Mapping[str, Columns], included: Iterable[Cell]
) -> tuple[str, ...]:
    """Return the axes that a label shows: the weights, and all that vary within a prompt."""
    job, contract = matrix.job, matrix.contract
    values: dict[tuple[Scalar, str], set[Scalar]] = {}
    for prompt, columns in axes.items():
        for group, rows in columns.items():
            for index, name in enumerate(group):
                values[prompt, name] = {row[index] for row in rows}
    for cell in included:
        for name, value in cell.items():
            default = {contract.defaults[name]} if name in contract.defaults else set()
            values.setdefault((cell["prompt"], name), default).add(value)
    varying = {name for (_, name), found in values.items() if len(found) > 1}
    order = dict.fromkeys(("video", *job.variables, "weights", *job.params, *contract.schemas))
    return tuple(name for name in order if name in varying or name == "weights")


def _label(
    cell: Cell,
    shown: tuple[str, ...],
    taken: set[str],
    run: Run,
    files: Mapping[str, InputFile],
) -> str:
    """Return a file name for a combination, unique in its prompt: `pier-dusk-balanced-seed1`."""
    parts = []
    for name in shown:
        if name in cell:
            value = naming.part(files[name].path.stem if name in files else str(cell[name]))
            parts.append(f"{name}{value}" if name in run.params else value)
    # A file name has at most 255 bytes on every file system.
    label = "-".join(parts).encode()[:180].decode(errors="ignore")
    # No hidden file, and none that a command takes for an option.
    return _untaken(label.lstrip(".-") or "_", taken, run)


def _untaken(label: str, taken: set[str], run: Run) -> str:
    # Some file systems do not tell upper from lower case.
    if label.casefold() in taken:
        label = f"{label}-{run.id[3:]}"
    taken.add(label.casefold())
    return label


# --- 4K --------------------------------------------------------------------------------------


def _with_upscaled(
    matrix: _Matrix, made: Expansion, upscale: Upscale, labels: Mapping[str, set[str]]
) -> Expansion:
    """Return the runs, each with one behind it that upscales its output."""
    real = matrix.contract.engine != "preview"
    sources = dict(made.prompts)
    runs: list[Desired] = []
    for each in made.runs:
        source = made.prompts[each.run.prompt_id]
        output = upscaling.output(source.files["color"], each.run)
        if output.frames == 1:
            message = f"`{each.place}` makes an image, and images are not upscaled"
            matrix.problem(("upscale",), "image-upscale", message, "remove `upscale`")
            break
        words, inputs = upscale.prompt or source.prompt.text, {RUN: each.run.id}
        prompt, run = upscaling.upscaled(words, inputs, upscale.weight, output.fps, real=real)
        label = _untaken(f"{each.label}-4k", labels[each.prompt], run)
        sources[prompt.id] = Source(prompt, each.prompt, source.video, {"color": output})
        larger = Desired(run, each.job, each.prompt, label, after=each.run.id, awaits=each.awaits)
        runs += [each, larger]
    return Expansion(sources, tuple(runs))


# --- any job through the preview engine ---------------------------------------------------


def previewed(expansion: Expansion, original: Contract, contract: Contract, job: str) -> Expansion:
    """Return the same combinations as runs of the preview engine, under another job name.

    Parameters that preview lacks, or whose value it does not know, become the
    `note` of its caption, unless they have their default in the `original` engine.
    """
    runs: dict[str, Desired] = {}
    sources: dict[str, Source] = {}
    now: dict[str, str] = {}
    for each in expansion.runs:
        own = original if each.run.engine == original.engine else schema.contract(each.run.engine)
        shared = {
            name: value
            for name, value in each.run.params.items()
            if name in contract.schemas and _known(value, contract.schemas[name])
        }
        others = {
            name: _in_words(name, value, each.files)
            for name, value in each.run.params.items()
            if name not in shared and value != own.defaults.get(name)
        }
        note = ", ".join(f"{name} {value}" for name, value in others.items())
        params = {**shared, "note": f"{each.run.engine}: {note}" if note else each.run.engine}
        if _known(each.run.engine, contract.schemas["model"]):
            params["model"] = each.run.engine
        source = _following(expansion.prompts[each.run.prompt_id], now.get(each.after))
        run = identity.run(source.prompt.id, contract, each.run.weights, params)
        now[each.run.id] = run.id
        sources.setdefault(source.prompt.id, source)
        after = now.get(each.after, "")
        runs.setdefault(run.id, replace(each, run=run, job=job, files={}, after=after))
    return Expansion(sources, tuple(runs.values()))


def _following(source: Source, run: str | None) -> Source:
    """Return the source with the output of `run` as its input, where there is one."""
    if run is None:
        return source
    words, negative = source.prompt.text, source.prompt.negative
    return replace(source, prompt=identity.prompt(words, negative, {RUN: run}))


def _in_words(name: str, value: Scalar, files: Mapping[str, InputFile]) -> Scalar:
    """Return the value of a parameter as a reader knows it: a file by its name, no digest."""
    if name in files:
        return files[name].path.name
    if name == "regions":
        return str(value).count('"prompt"')
    return value


def _known(value: Scalar, known: Mapping[str, object]) -> bool:
    allowed = known.get("enum")
    return not isinstance(allowed, list) or value in allowed
