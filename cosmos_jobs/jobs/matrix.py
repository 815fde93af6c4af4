"""A job while it is expanded: what it says, what its files hold, and what is wrong with both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cosmos_jobs.config import schema
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import Contract, Detail, JobInputs, JobSpec, Source
from cosmos_jobs.core.placeholders import malformed, placeholders
from cosmos_jobs.core.run import IMAGE_SUFFIXES, InputFile, Scalar

Cell: TypeAlias = Mapping[str, Scalar]
"""One combination: axis name → value; `video` and `weights` hold names, as in `exclude`."""


@dataclass(slots=True, kw_only=True)
class Matrix:
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
        """Report an error at a place of the job file."""
        self.problems.append(self.job.source.diagnostic(at, code, message, hint=hint))

    def warn(self, at: Where, code: str, message: str, hint: str = "") -> None:
        """Report a warning at a place of the job file."""
        self.problems.append(
            self.job.source.diagnostic(at, code, message, hint=hint, severity=Severity.WARNING)
        )

    def unknown_video(self, at: Where, name: str) -> None:
        """Report that there is no video of this name."""
        known = f"the videos are {', '.join(self.inputs.videos)}"
        self.problem(at, "unknown-video", f"unknown video `{name}`", known)

    def used(self, prompt: str) -> tuple[str, ...]:
        """Return the variables that a prompt uses."""
        return placeholders(self.texts[prompt])


def of(job: JobSpec, inputs: JobInputs, contract: Contract, detail: Detail) -> Matrix:
    """Return a job as it is expanded, its names checked against what only its files told."""
    texts = {
        prompt.name: inputs.texts[prompt.file] if prompt.file else prompt.text or ""
        for prompt in job.prompts
    }
    matrix = Matrix(
        job=job,
        inputs=inputs,
        contract=contract,
        texts=texts,
        weights=dict(job.weights),
        detail=detail,
    )
    _check_names(matrix)
    return matrix


def _check_names(matrix: Matrix) -> None:
    """Check what only the files told: the videos of a glob, the variables of a prompt file."""
    job, videos = matrix.job, matrix.inputs.videos
    for prompt in job.prompts:
        at = ("prompts", prompt.name)
        for index, name in enumerate(prompt.videos or ()):
            if name not in videos:
                matrix.unknown_video((*at, "videos", index), name)
        if prompt.file:
            _check_placeholders(matrix, prompt.name, prompt.file)
    for index, excluded in enumerate(job.exclude):
        for video in excluded.get("video", ()):
            if video not in videos:
                matrix.unknown_video(("exclude", index, "video"), str(video))
    _check_images(matrix)


def _check_placeholders(matrix: Matrix, prompt: str, file: str) -> None:
    at = ("prompts", prompt, "file")
    if wrong := next(malformed(matrix.texts[prompt]), None):
        hint = "write {name} for a variable; {{ and }} for braces that are meant"
        matrix.problem(at, "bad-placeholder", f"`{file}` has a stray `{wrong[0]}`", hint)
    for name in matrix.used(prompt):
        if name not in matrix.job.variables:
            message = f"`{file}` uses the variable `{{{name}}}`, which is not defined"
            hint = f"add `{name}: [...]` to `variables`"
            matrix.problem(at, "unknown-variable", message, hint)


def _check_images(matrix: Matrix) -> None:
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
