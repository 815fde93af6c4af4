"""A job file's text → JobSpec, or all of its problems at once.

Three passes: YAML (`yaml`), the shape (`violations`), the meaning (here). What an
earlier pass refused is left out for the next, so that each mistake is reported once
and every mistake at the first try. Nothing here looks at the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cosmos_jobs.config import mapping, schema, yaml
from cosmos_jobs.config.document import Document
from cosmos_jobs.core import identity
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import JobSpec, Limits, Sample, Upscale, VideoSource
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.jobs import sections, upscale
from cosmos_jobs.jobs.findings import Findings
from cosmos_jobs.jobs.references import References
from cosmos_jobs.jobs.sections import Parameters, Section, Texts, Weights


def parse(
    data: bytes,
    path: str,
    *,
    engine: str,
    target: str,
    targets: Collection[str],
) -> tuple[JobSpec | None, tuple[Diagnostic, ...]]:
    """Return the job in `data`, and every problem of the file, sorted by position.

    The job is None exactly when one of the problems is an error. `engine` and
    `target` stand in for what the file leaves out, `targets` are the known names.
    Never raises on account of `data`.
    """
    job, diagnostics = read(data, path, engine=engine, target=target, targets=targets)
    failed = any(one.severity is Severity.ERROR for one in diagnostics)
    return (None if failed else job), diagnostics


def read(
    data: bytes,
    path: str,
    *,
    engine: str,
    target: str,
    targets: Collection[str],
) -> tuple[JobSpec | None, tuple[Diagnostic, ...]]:
    """Return what could be read of the job in `data`, and every problem of the file.

    Like `parse`, but in spite of errors there is a job with the parts that
    hold, so that the files it names can be looked at too.
    """
    document, problems = yaml.read(data, path)
    value, found = mapping.shaped(document, problems, schema.load("job"))
    if value is None:
        return None, mapping.settled(found)
    reader = _Reader(document, value, found, engine)
    job = reader.job(target, targets)
    return job, mapping.settled(reader.findings.found) + reader.findings.unreported()


class _Reader:
    """Reads one job file, section by section; its findings are what is wrong on the way."""

    def __init__(
        self, document: Document, value: Section, found: list[Diagnostic], default_engine: str
    ) -> None:
        self.findings = Findings(document, found)
        self._document = document
        self._value = value
        self._written = sections.written(document, value, default_engine)
        self._texts = Texts(self.findings, self._written)
        self._weights = Weights(self.findings, self._written)
        self._parameters = Parameters(self.findings, document, self._written)

    def job(self, target: str, targets: Collection[str]) -> JobSpec:
        """Return the job; meaningful only when the findings have no error afterwards."""
        value = self._value
        variables = self._texts.variables(value.get("variables", {}))
        prompts = tuple(self._texts.prompts(value.get("prompts", {})))
        self._texts.unused_variables(prompts)
        weights = self._weights.sets(value.get("weights", {}))
        params = self._parameters.axes(value.get("params", {}))
        references = References(self.findings, self._written, self._weights, self._parameters)
        lengths = self._lengths(variables, params)
        include = tuple(references.include(value.get("include", ())))
        sources = value.get("videos", {})
        videos = {name: _video(one) for name, one in sources.items() if name != "glob"}
        return JobSpec(
            path=self._document.path,
            name=value.get("name", ""),
            engine=self._written.engine,
            target=self._target(target, targets),
            videos=videos,
            video_glob=sources.get("glob"),
            prompts=prompts,
            variables=variables,
            weights=weights,
            params=params,
            zip=references.zip(value.get("zip", ()), lengths),
            exclude=tuple(references.exclude(value.get("exclude", ()))),
            include=include,
            sample=_sample(value.get("sample")),
            limits=_limits(value.get("limits", {})),
            description=value.get("description", ""),
            source=self._document,
            files=tuple(self._parameters.files),
            regions=self._regions(),
            upscale=self._upscale(),
        )

    def _target(self, default: str, targets: Collection[str]) -> str:
        target: str = self._value.get("target", default)
        if "target" in self._value and target not in targets:
            hint = schema.suggestion(target, targets) or (
                f"cosmos-jobs.yaml has {schema.listed(targets)}"
            )
            self.findings.error(("target",), "unknown-target", f"unknown target `{target}`", hint)
        return target

    def _regions(self) -> tuple[Section, ...]:
        given = self._value.get("regions", ())
        if given and self._written.contract and "regions" not in self._written.contract.schemas:
            owners = [one for one in schema.engines() if "regions" in schema.contract(one).schemas]
            message = f"engine {self._written.engine} has no `regions`"
            hint = f"engine {schema.listed(owners, 'or')} has"
            self.findings.error(("regions",), "unknown-section", message, hint, key=True)
        return tuple(
            self._region(one, ("regions", i)) for i, one in enumerate(given) if one is not None
        )

    def _region(self, given: Section, at: Where) -> Section:
        region: Section = {
            name: self._texts.fixed(given[name], (*at, name))
            for name in ("prompt", "mask_prompt")
            if name in given
        }
        if "box" in given:
            region["box"] = self._box(given["box"], (*at, "box"))
        return region

    def _box(self, given: Sequence[float | None], at: Where) -> tuple[float, ...]:
        box = tuple(identity.number(edge) for edge in given if edge is not None)
        if len(box) == 4 and not (box[0] < box[2] and box[1] < box[3]):
            hint = "a box is [left, top, right, bottom], from the picture's upper left corner"
            self.findings.error(at, "empty-box", "there is nothing inside this box", hint)
        return box

    def _upscale(self) -> Upscale | None:
        given = self._value.get("upscale", False)
        if given is False:
            return None
        values: Section = given if isinstance(given, dict) else {}
        weight = values.get("weight", upscale.WEIGHT)
        prompt = values.get("prompt")
        return Upscale(
            self._weights.snapped(weight, ("upscale", "weight")),
            "" if prompt is None else self._texts.fixed(prompt, ("upscale", "prompt")),
        )

    def _lengths(
        self,
        variables: Mapping[str, Sequence[str]],
        params: Mapping[str, Sequence[Scalar]],
    ) -> Mapping[str, int]:
        """Return how many values each axis has, where the text alone says so."""
        lengths = {name: len(axis) for name, axis in (*variables.items(), *params.items()) if axis}
        lengths["prompt"] = len(self._written.prompts)
        if self._written.videos is not None:
            lengths["video"] = len(self._written.videos)
        if self._weights.labels is not None:
            lengths["weights"] = len(self._weights.labels)
        return lengths


def _video(given: str | Mapping[str, str]) -> VideoSource:
    return VideoSource(folder=given) if isinstance(given, str) else VideoSource(files=dict(given))


def _sample(given: Mapping[str, float] | None) -> Sample | None:
    if given is None or "count" not in given:
        return None
    return Sample(int(given["count"]), int(given.get("seed", 0)))


def _limits(given: Mapping[str, float]) -> Limits:
    runs = given.get("max_runs")
    return Limits(None if runs is None else int(runs), given.get("max_gpu_hours"))
