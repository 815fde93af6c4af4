"""Which combinations a job asks for: zip → product → exclude → include → sample."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import TypeAlias

from cosmos_jobs.core.diagnostics import Where
from cosmos_jobs.core.job import Include, JobSpec, PromptSpec
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.jobs.matrix import Cell, Matrix

MAX_COMBINATIONS = 1_000_000

Row: TypeAlias = tuple[Scalar, ...]
Columns: TypeAlias = dict[tuple[str, ...], list[Row]]
"""The axes of one prompt: names that advance together → their tuples of values."""


def axes_of(matrix: Matrix) -> dict[str, Columns]:
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
    matrix: Matrix, group: tuple[str, ...], every: Mapping[str, tuple[Scalar, ...]]
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


def _taken(matrix: Matrix, prompt: PromptSpec, columns: Columns) -> Columns:
    """Return the rows that a prompt takes, without the variables that it does not use."""
    unused = set(matrix.job.variables) - set(matrix.used(prompt.name))
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


def count(axes: Mapping[str, Columns]) -> int:
    """Return how many combinations the axes of all prompts have."""
    return sum(prod(len(values) for values in columns.values()) for columns in axes.values())


def too_many(axes: Mapping[str, Columns]) -> tuple[str, str]:
    """Return what to say of too many combinations, and the hint."""
    name, columns = max(axes.items(), key=lambda item: prod(map(len, item[1].values())))
    factors = " × ".join(
        f"{len(rows)} {'+'.join(group)}"
        for group, rows in columns.items()
        if group != ("prompt",) and len(rows) > 1
    )
    return (
        f"this job has {count(axes):,} combinations; at most {MAX_COMBINATIONS:,} are possible",
        f"prompt `{name}` alone has {factors}; shorten an axis or split the job",
    )


def product_of(matrix: Matrix, axes: Mapping[str, Columns]) -> Iterator[Cell]:
    """Yield all combinations of the axes but those that are excluded."""
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


def included(matrix: Matrix) -> Iterator[Cell]:
    """Yield the combinations that stand under `include`; report those that are not complete."""
    for index, include in enumerate(matrix.job.include):
        if cell := _complete(matrix, ("include", index), include):
            yield cell


def _complete(matrix: Matrix, at: Where, include: Include) -> Cell | None:
    """Return an include as a cell; what it leaves out has one value only, or the default."""
    job, videos = matrix.job, matrix.inputs.videos
    needed = {
        "video": include.video or _only(videos),
        **{
            name: include.variables.get(name, _only(job.variables[name]))
            for name in matrix.used(include.prompt)
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
        matrix.unknown_video((*at, "video"), str(include.video))
        return None
    single = {name: values[0] for name, values in job.params.items() if len(values) == 1}
    return {"prompt": include.prompt, **needed, **single, **include.params}


def _only(values: Mapping[str, object] | tuple[str, ...]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _weights_label(matrix: Matrix, include: Include) -> str | None:
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


def sampled(job: JobSpec, cells: list[Cell]) -> list[Cell]:
    """Return a random subset in the order of the file, the same for the same seed and cells."""
    if job.sample is None or job.sample.count >= len(cells):
        return cells
    chosen = random.Random(job.sample.seed).sample(range(len(cells)), job.sample.count)  # noqa: S311
    return [cells[index] for index in sorted(chosen)]
