"""A job file's text → JobSpec, or all of its problems at once.

Three passes: YAML (`yamltext`), the shape (`schema`), the meaning (here). What an
earlier pass refused is left out for the next, so that each mistake is reported once
and every mistake at the first try. Nothing here looks at the disk.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, TypeAlias

from cosmos_jobs.config import ranges, schema, yaml
from cosmos_jobs.config.mapping import mapping, parse_mapping, read_mapping, settled
from cosmos_jobs.core import identity
from cosmos_jobs.core import placeholders as prompt_text
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import (
    Contract,
    FileValue,
    Include,
    JobSpec,
    Limits,
    PromptSpec,
    Sample,
    Upscale,
    VideoSource,
)
from cosmos_jobs.core.placeholders import fill, placeholders
from cosmos_jobs.core.run import CONTROLS, Scalar

__all__ = ["DEFAULT_WEIGHTS", "fill", "parse", "parse_mapping", "placeholders", "read_mapping"]

DEFAULT_WEIGHTS: Mapping[str, Mapping[str, float]] = {"default": dict.fromkeys(CONTROLS, 0.25)}
"""The weights of a job that gives none."""

DEFAULT_UPSCALE_WEIGHT = 0.5

AXES = ("prompt", "video", "weights")
MAX_IN_ONE_PROMPT = 10

_Mapping: TypeAlias = dict[str, Any]
_Axis: TypeAlias = list[tuple[Where, Scalar]]


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
    value, found = mapping(document, problems, "job")
    if value is None:
        return None, settled(found)
    reader = _Reader(document, value, found, engine)
    job = reader.job(target, targets)
    return job, settled(reader.found) + reader.unreported()


# --- from text to a mapping of the right shape ---------------------------------------------


# --- the meaning ----------------------------------------------------------------------------


class _Reader:
    """Reads the sections of one job file; `found` collects what is wrong on the way.

    `prompt_names`, `variable_names`, `parameter_names` and `video_names` (None when
    a glob finds the videos) are as written, those of faulty values included: what
    refers to them is no second mistake.
    """

    def __init__(
        self,
        document: yaml.Document,
        value: _Mapping,
        found: list[Diagnostic],
        default_engine: str,
    ) -> None:
        self.found = found
        self.engine: str = value.get("engine", default_engine)
        self._document = document
        self._value = value
        self._written = document.value if isinstance(document.value, dict) else {}
        self._contract = schema.contract(self.engine)
        # With a wrong engine the parameters cannot be judged.
        self._engine_known = "engine" in value or "engine" not in self._written
        self._zipped = {
            axis for group in value.get("zip", ()) for axis in group or () if isinstance(axis, str)
        }
        self.prompt_names = _keys(self._written.get("prompts"))
        self.variable_names = _keys(self._written.get("variables"))
        self.parameter_names = tuple(_parameter_names(self._written.get("params")))
        self.video_names = self._known_videos()
        self._labels: tuple[str, ...] | None = None
        self._judged: set[Where] = set()
        self._files: list[FileValue] = []
        self._worst_unreported: Severity | None = None

    def job(self, target: str, targets: Collection[str]) -> JobSpec:
        """Return the job; meaningful only when `found` has no error afterwards."""
        value = self._value
        variables = self._variables()
        prompts = tuple(self._prompts())
        self._unused_variables(prompts)
        weights = self._weights()
        params = self._params()
        references = _References(self, self._labels)
        lengths = self._lengths(variables, params)
        include = tuple(references.include(value.get("include", ())))
        sources = value.get("videos", {})
        videos = {name: _video(one) for name, one in sources.items() if name != "glob"}
        return JobSpec(
            path=self._document.path,
            name=value.get("name", ""),
            engine=self.engine,
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
            files=tuple(self._files),
            regions=self._regions(),
            upscale=self._upscale(),
        )

    # what sections share

    def add(self, problem: Diagnostic) -> None:
        """Report a problem; beyond MAX_PROBLEMS only that there are more."""
        if not self.full(problem.severity):
            self.found.append(problem)

    def full(self, severity: Severity = Severity.ERROR) -> bool:
        """Say whether nothing more is reported, and note that a problem is left out."""
        if len(self.found) < yaml.MAX_PROBLEMS:
            return False
        if self._worst_unreported is not Severity.ERROR:
            self._worst_unreported = severity
        return True

    def unreported(self) -> tuple[Diagnostic, ...]:
        """Return the diagnostic that stands for those beyond MAX_PROBLEMS, if any."""
        if self._worst_unreported is None:
            return ()
        return (yaml.too_many_problems(self._document.path, self._worst_unreported),)

    def error(
        self, at: Where, code: str, message: str, hint: str = "", *, key: bool = False
    ) -> None:
        """Report an error at the value, or with `key` the key, of `at`."""
        self.add(self._document.diagnostic(at, code, message, key=key, hint=hint))

    def warn(self, at: Where, code: str, message: str, hint: str, *, key: bool = False) -> None:
        """Report a warning at the value, or with `key` the key, of `at`."""
        severity = Severity.WARNING
        self.add(
            self._document.diagnostic(at, code, message, key=key, hint=hint, severity=severity)
        )

    def unknown(self, at: Where, kind: str, name: str, known: Collection[str], key: bool) -> None:
        """Report that there is no `kind` called `name`."""
        if self.full():
            return
        by_control = [one for one in known if one.startswith(f"{name}.")]
        hint = (
            (f"write {schema.listed(by_control, 'or')}" if by_control else "")
            or schema.suggestion(name, known)
            or (f"there is {schema.listed(known)}" if known else f"the file defines no {kind}")
        )
        message = f"unknown {kind} `{yaml.shortened(name)}`"
        self.error(at, f"unknown-{kind}", message, hint, key=key)

    def text(self, at: Where) -> str:
        """Return a value of a variable: as written, in NFC."""
        self._warn_when_cut(at)
        return prompt_text.normalised(self._document.text(at))

    def parameter(self, name: str, value: Scalar, at: Where) -> Scalar:
        """Return a parameter's value in its normal form; report it when it is not valid."""
        if name not in self._contract.schemas:
            return value
        value = schema.normalise(value, self._contract.schemas[name])
        if isinstance(value, str) and schema.is_free_text(self._contract.schemas[name]):
            self._warn_when_cut(at)
        if at not in self._judged:
            problem = self._inexact(name, value, at) or schema.parameter_problem(
                value, name, self._contract, at, self._document
            )
            if problem:
                # All values of a range stand at one place: the first bad one is enough.
                self._judged.add(at)
                self.add(problem)
        return value

    def file(self, name: str, value: Scalar, at: Where) -> None:
        """Keep a value of a parameter that is a file, to be looked at later."""
        kind = self._contract.schemas[name].get("x-file")
        if kind and isinstance(value, str) and at not in self._judged:
            self._files.append(FileValue(name, kind, value, at))

    def weight_set(self, given: object, at: Where) -> Mapping[str, float]:
        """Return the weights of a set in the order of CONTROLS, snapped, without zeros."""
        pairs = list(zip(CONTROLS, given, strict=False)) if isinstance(given, list) else None
        named = dict(pairs) if pairs is not None else dict(given) if isinstance(given, dict) else {}
        steps = {name: i if pairs is not None else name for i, name in enumerate(CONTROLS)}
        known = {name: value for name in CONTROLS if (value := named.get(name)) is not None}
        snapped = {name: self._snapped(known[name], (*at, steps[name])) for name in known}
        complete = len(known) == len(named) == len(self._written_at(at))
        if complete and not any(snapped.values()):
            hint = "give at least one control a weight above 0"
            self.error(at, "all-zero-weights", "all weights of this set are 0", hint)
        return {name: value for name, value in snapped.items() if value}

    @property
    def contract(self) -> Contract | None:
        """The contract of the file's engine; None when the file names no real engine."""
        return self._contract if self._engine_known else None

    # sections

    def _known_videos(self) -> Collection[str] | None:
        videos = self._written.get("videos")
        if not isinstance(videos, dict) or "glob" in videos:
            return None
        return tuple(videos)

    def _target(self, default: str, targets: Collection[str]) -> str:
        target: str = self._value.get("target", default)
        if "target" in self._value and target not in targets:
            hint = schema.suggestion(target, targets) or (
                f"cosmos-jobs.yaml has {schema.listed(targets)}"
            )
            self.error(("target",), "unknown-target", f"unknown target `{target}`", hint)
        return target

    def _prompts(self) -> Iterator[PromptSpec]:
        for name, given in self._value.get("prompts", {}).items():
            at: Where = ("prompts", name)
            if isinstance(given, str):
                yield PromptSpec(name, text=self._prompt_text(given, at))
            else:
                yield self._prompt(name, given, at)

    def _prompt(self, name: str, given: _Mapping, at: Where) -> PromptSpec:
        text = given.get("text")
        negative = given.get("negative", "")
        videos = given.get("videos")
        self._warn_when_cut((*at, "negative"))
        return PromptSpec(
            name,
            text=None if text is None else self._prompt_text(text, (*at, "text")),
            file=given.get("file"),
            negative=prompt_text.normalised(negative),
            videos=None if videos is None else self._prompt_videos(videos, (*at, "videos")),
            enhance=_enhancer(given.get("enhance", False)),
        )

    def _prompt_text(self, written: str, at: Where) -> str:
        text = prompt_text.normalised(written)
        if not text:
            self.error(at, "empty-prompt", "the prompt is empty", "say what the video shows")
        self._warn_when_cut(at)
        for part, nth in islice(prompt_text.malformed(text), MAX_IN_ONE_PROMPT):
            self._malformed(at, part, nth)
        unknown = (name for name in placeholders(text) if name not in self.variable_names)
        for name in islice(unknown, MAX_IN_ONE_PROMPT):
            self._unknown_placeholder(at, name)
        return text

    def _malformed(self, at: Where, part: str, nth: int) -> None:
        short = yaml.shortened(part)
        if len(part) > 1:
            message = f"`{short}` is not the name of a variable"
        else:
            message = f"a single `{part}` in the prompt"
        hint = "write {name} for a variable; {{ and }} for braces that are meant"
        one = self._document.within(at, part, nth, "bad-placeholder", message, hint=hint)
        self.add(one)

    def _unknown_placeholder(self, at: Where, name: str) -> None:
        if self.full():
            return
        message = f"unknown variable `{name}` in the prompt"
        hint = schema.suggestion(name, self.variable_names) or (
            f"add `{name}: [...]` to `variables`, or write {{{{{name}}}}} for literal braces"
        )
        part = f"{{{name}}}"
        one = self._document.within(at, part, 0, "unknown-variable", message, hint=hint)
        self.add(one)

    def _prompt_videos(self, names: list[str], at: Where) -> tuple[str, ...]:
        for i, name in enumerate(names):
            if name is not None and self.video_names is not None and name not in self.video_names:
                self.unknown((*at, i), "video", name, self.video_names, key=False)
        return tuple(self._distinct([((*at, i), name) for i, name in enumerate(names)]))

    def _variables(self) -> dict[str, tuple[str, ...]]:
        result = {}
        for name, given in self._value.get("variables", {}).items():
            at: Where = ("variables", name)
            places = [(*at, i) for i in range(len(given))] if isinstance(given, list) else [at]
            axis = [(place, self.text(place)) for place in places]
            result[name] = tuple(self._distinct(axis, zipped=name in self._zipped))
            self._name_clash(name, at)
        return result

    def _name_clash(self, name: str, at: Where) -> None:
        parameters = schema.keys(self.contract) if self.contract else ()
        if name in AXES or name in parameters:
            kind = "an axis" if name in AXES else f"a parameter of engine {self.engine}"
            message = f"the variable `{name}` is named like {kind}"
            self.error(at, "name-clash", message, "give the variable another name", key=True)

    def _unused_variables(self, prompts: Sequence[PromptSpec]) -> None:
        readable = prompts and len(prompts) == len(self.prompt_names)
        if not readable or any(prompt.file is not None for prompt in prompts):
            return
        used = {name for prompt in prompts for name in placeholders(prompt.text or "")}
        if not used <= set(self.variable_names):
            return  # a misspelt name in a prompt is one mistake, not two
        for name in self.variable_names:
            if name not in used:
                hint = f"write {{{name}}} in a prompt, or remove the variable"
                message = f"no prompt uses the variable `{name}`"
                self.warn(("variables", name), "unused-variable", message, hint, key=True)

    def _weights(self) -> Mapping[str, Mapping[str, float]]:
        if "weights" not in self._written:
            self._labels = tuple(DEFAULT_WEIGHTS)
            return DEFAULT_WEIGHTS
        sets: _Mapping = self._value.get("weights", {})
        result = {
            label: self.weight_set(given, ("weights", label))
            for label, given in sets.items()
            if label != "grid"
        }
        written = _keys(self._written["weights"])
        if "grid" not in written:
            self._labels = written
        elif self._grid(sets.get("grid", {}), result):
            self._labels = tuple(
                dict.fromkeys(label for label in (*written, *result) if label != "grid")
            )
        return result

    def _grid(self, given: _Mapping, result: dict[str, Mapping[str, float]]) -> bool:
        """Add the product of a grid to `result`, the first control slowest; False on an error."""
        at: Where = ("weights", "grid")
        axes = {control: self._grid_axis(one, (*at, control)) for control, one in given.items()}
        size = math.prod(len(axis) for axis in axes.values())
        if size > ranges.MAX_VALUES:
            arithmetic = " × ".join(str(len(axis)) for axis in axes.values())
            message = (
                f"the grid has {arithmetic} = {size:,} sets; {ranges.MAX_VALUES:,} is the most"
            )
            self.error(at, "grid-too-large", message, "use larger steps", key=True)
        elif size and all(0 in axis for axis in axes.values()):
            hint = "start one of the controls above 0"
            self.error(at, "all-zero-weights", "one set of the grid has only zeros", hint, key=True)
        elif size and len(given) == len(self._written_at(at)):
            self._add_grid(axes, result, at)
            return True
        return False

    def _add_grid(
        self,
        axes: Mapping[str, Sequence[float]],
        result: dict[str, Mapping[str, float]],
        at: Where,
    ) -> None:
        for named in _product(axes):
            label = "_".join(f"{control}{value:g}" for control, value in named.items())
            if label in result:
                message = f"the grid makes `{label}`, which is also the label of a set"
                self.error(at, "duplicate-label", message, "rename the set", key=True)
            result[label] = {name: named[name] for name in CONTROLS if named.get(name)}

    def _grid_axis(self, given: object, at: Where) -> tuple[float, ...]:
        axis = [
            (place, self._snapped(value, place) if isinstance(value, int | float) else None)
            for place, value in self._axis(given, at)
        ]
        return tuple(value for value in self._distinct(axis) if value is not None)

    def _snapped(self, value: float, at: Where) -> float:
        snapped = ranges.snapped(value)
        if snapped != value:
            message = f"the weight {value:g} is rounded to {snapped:g}"
            self.warn(at, "weight-rounded", message, "weights have steps of 0.01")
        return snapped

    def _params(self) -> dict[str, tuple[Scalar, ...]]:
        if not self._engine_known:
            return {}
        return {
            name: tuple(self._parameter_axis(name, given, at))
            for name, given, at in self._known_params()
        }

    def _known_params(self) -> Iterator[tuple[str, Any, Where]]:
        """Yield each parameter that the engine has, what is given for it, and where."""
        for key, given in self._value.get("params", {}).items():
            at: Where = ("params", key)
            unknown = schema.unknown_parameter(key, self._contract, at, self._document)
            if unknown:
                self.add(unknown)
            elif key in schema.keys_by_control():
                yield from self._known_controls(key, given, at)
            else:
                yield key, given, at

    def _known_controls(
        self, key: str, given: _Mapping, at: Where
    ) -> Iterator[tuple[str, Any, Where]]:
        for control, one in given.items():
            where = (*at, control)
            unknown = schema.unknown_control(key, control, self._contract, where, self._document)
            if unknown:
                self.add(unknown)
            else:
                yield f"{key}.{control}", one, where

    def _parameter_axis(self, name: str, given: Any, at: Where) -> list[Scalar]:
        axis = [
            (place, self.parameter(name, value, place)) for place, value in self._axis(given, at)
        ]
        for place, value in axis:
            self.file(name, value, place)
        return self._distinct(axis, zipped=name in self._zipped)

    def _inexact(self, name: str, value: Scalar, at: Where) -> Diagnostic | None:
        """Return a problem for a decimal that JSON writers print in different ways."""
        if not isinstance(value, float) or value == 0:
            return None
        if yaml.MIN_FLOAT <= abs(value) < yaml.MAX_FLOAT:
            return None
        message = f"`{name}` takes the value {value:g}, which is too small or too large"
        return self._document.diagnostic(at, "number-range", message, hint="change the range")

    def _axis(self, given: Any, at: Where) -> _Axis:
        """Return the values of a scalar, a list or a range, each with its place."""
        if isinstance(given, list):
            return [((*at, i), value) for i, value in enumerate(given)]
        if not isinstance(given, dict):
            return [(at, given)]
        if not {"start", "stop", "step"} <= given.keys():
            return []
        bounds = float(given["start"]), float(given["stop"]), float(given["step"])
        count = ranges.count(*bounds)
        if count == 0:
            message = f"the range is empty: it goes up, and {bounds[1]:g} is below {bounds[0]:g}"
            self.error(at, "empty-range", message, "swap `start` and `stop`")
        elif count > ranges.MAX_VALUES:
            message = f"the range has {count:,} values; {ranges.MAX_VALUES:,} is the most"
            self.error(at, "range-too-long", message, "use a larger `step`")
        else:
            return [(at, value) for value in ranges.values(*bounds)]
        return []

    def _distinct(self, axis: Iterable[tuple[Where, Any]], *, zipped: bool = False) -> list[Any]:
        """Return the values, each once, with a warning; axes of a zip may repeat values."""
        values = []
        seen: set[tuple[type, Any]] = set()
        for at, value in axis:
            kind = (type(value), value)
            if not zipped and kind in seen:
                message = f"`{yaml.shortened(str(value))}` is given twice"
                self.warn(at, "duplicate-value", message, "remove one of the two")
            else:
                values.append(value)
            seen.add(kind)
        return values

    def _warn_when_cut(self, at: Where) -> None:
        if comment := self._document.cut_at(at):
            short = yaml.shortened(comment)
            message = f"the text ends before `{short}`, which YAML reads as a comment"
            hint = 'quote the text ("…"), or put two blanks before a comment that is meant'
            self.warn(at, "prompt-cut", message, hint)

    def _regions(self) -> tuple[_Mapping, ...]:
        given = self._value.get("regions", ())
        if given and self.contract and "regions" not in self.contract.schemas:
            owners = [one for one in schema.engines() if "regions" in schema.contract(one).schemas]
            message = f"engine {self.engine} has no `regions`"
            hint = f"engine {schema.listed(owners, 'or')} has"
            self.error(("regions",), "unknown-section", message, hint, key=True)
        return tuple(
            self._region(one, ("regions", i)) for i, one in enumerate(given) if one is not None
        )

    def _region(self, given: _Mapping, at: Where) -> _Mapping:
        region: _Mapping = {
            name: self._fixed_text(given[name], (*at, name))
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
            self.error(at, "empty-box", "there is nothing inside this box", hint)
        return box

    def _upscale(self) -> Upscale | None:
        given = self._value.get("upscale", False)
        if given is False:
            return None
        values: _Mapping = given if isinstance(given, dict) else {}
        weight = values.get("weight", DEFAULT_UPSCALE_WEIGHT)
        prompt = values.get("prompt")
        return Upscale(
            self._snapped(weight, ("upscale", "weight")),
            "" if prompt is None else self._fixed_text(prompt, ("upscale", "prompt")),
        )

    def _fixed_text(self, written: str, at: Where) -> str:
        """Return a text that is the same for all runs, normalised; it cannot use variables."""
        text = prompt_text.normalised(written)
        if not text:
            self.error(at, "empty-prompt", "the text is empty", "say what is to be seen")
        self._warn_when_cut(at)
        for name in placeholders(text):
            if name in self.variable_names:
                message = f"the variable `{{{name}}}` is not filled in here"
                hint = "write the text out: it is the same for all runs of the job"
                self.error(at, "variable-here", message, hint)
        return text

    def _lengths(
        self,
        variables: Mapping[str, Sequence[str]],
        params: Mapping[str, Sequence[Scalar]],
    ) -> Mapping[str, int]:
        """Return how many values each axis has, where the text alone says so."""
        lengths = {name: len(axis) for name, axis in (*variables.items(), *params.items()) if axis}
        lengths["prompt"] = len(self.prompt_names)
        if self.video_names is not None:
            lengths["video"] = len(self.video_names)
        if self._labels is not None:
            lengths["weights"] = len(self._labels)
        return lengths

    def _written_at(self, at: Where) -> Any:
        """Return what the file says at `at`, also where its shape is wrong."""
        value: Any = self._document.value
        for step in at:
            value = value[step]
        return value


class _References:
    """Reads the sections that refer to axes by name: zip, exclude, include."""

    def __init__(self, reader: _Reader, labels: Collection[str] | None) -> None:
        self._reader = reader
        self._labels = labels
        names = (*AXES, *reader.variable_names, *reader.parameter_names)
        self._axes = tuple(dict.fromkeys(names))

    def zip(
        self, groups: Sequence[list[str] | None], lengths: Mapping[str, int]
    ) -> tuple[tuple[str, ...], ...]:
        """Return the groups; their axes exist, stand in one group and have one length."""
        seen: set[str] = set()
        for i, group in enumerate(groups):
            for j, axis in enumerate(group or ()):
                self._zip_axis(axis, ("zip", i, j), seen)
            self._equal_lengths(group or (), ("zip", i), lengths)
        return tuple(tuple(group) for group in groups if group)

    def _zip_axis(self, axis: str | None, at: Where, seen: set[str]) -> None:
        if axis is None:
            return
        if axis not in self._axes:
            self._reader.unknown(at, "axis", axis, self._axes, key=False)
        elif axis in seen:
            message = f"`{axis}` is zipped twice"
            self._reader.error(at, "zip-twice", message, "name it in one group, once")
        seen.add(axis)

    def _equal_lengths(self, group: Sequence[str], at: Where, lengths: Mapping[str, int]) -> None:
        known = {axis: lengths[axis] for axis in group if axis in lengths}
        if len(set(known.values())) > 1:
            parts = [f"`{axis}` has {length}" for axis, length in known.items()]
            message = "zipped axes have different lengths: " + ", ".join(parts)
            hint = "give them the same number of values, or do not zip them"
            self._reader.error(at, "zip-length", message, hint)

    def exclude(
        self, entries: Sequence[_Mapping | None]
    ) -> Iterator[Mapping[str, tuple[Scalar, ...]]]:
        """Yield the entries, each value in the normal form of its axis."""
        for i, entry in enumerate(entries):
            matches = {
                axis: tuple(self._matches(axis, given, ("exclude", i, axis)))
                for axis, given in (entry or {}).items()
            }
            yield matches

    def _matches(self, axis: str, given: object, at: Where) -> Iterator[Scalar]:
        if axis not in self._axes:
            self._unknown_exclude(axis, at)
            return
        places = (
            [((*at, i), one) for i, one in enumerate(given)]
            if isinstance(given, list)
            else [(at, given)]
        )
        for place, value in places:
            yield self._value(axis, value, place)

    def _unknown_exclude(self, axis: str, at: Where) -> None:
        contract = self._reader.contract
        if contract is not None and axis in schema.settable(contract):
            message = f"`{axis}` is not in `params`, so all combinations have the same"
            hint = f"add `{schema.as_written(axis)}` to `params`, or remove it here"
            self._reader.error(at, "unknown-axis", message, hint, key=True)
        else:
            self._reader.unknown(at, "axis", axis, self._axes, key=True)

    def include(self, entries: Sequence[_Mapping | None]) -> Iterator[Include]:
        """Yield the entries; which of them are complete is not judged here."""
        for i, entry in enumerate(entries):
            if entry is not None:
                yield self._include(entry, ("include", i))

    def _include(self, entry: _Mapping, at: Where) -> Include:
        variables: dict[str, str] = {}
        params: dict[str, Scalar] = {}
        for name, given in entry.items():
            if name in self._reader.variable_names:
                variables[name] = self._reader.text((*at, name))
            elif name not in AXES:
                self._include_parameter(name, given, (*at, name), params)
        prompt, video, weights = (entry.get(name) for name in AXES)
        return Include(
            prompt=str(self._value("prompt", prompt, (*at, "prompt"))),
            video=None if video is None else str(self._value("video", video, (*at, "video"))),
            weights=self._include_weights(weights, (*at, "weights")),
            variables=variables,
            params=params,
        )

    def _include_weights(self, given: object, at: Where) -> str | Mapping[str, float] | None:
        if given is None:
            return None
        if isinstance(given, str):
            return str(self._value("weights", given, at))
        return self._reader.weight_set(given, at)

    def _include_parameter(
        self, name: str, given: Scalar, at: Where, params: dict[str, Scalar]
    ) -> None:
        contract = self._reader.contract
        if contract is None:
            return
        if name in schema.settable(contract):
            params[name] = self._reader.parameter(name, given, at)
            self._reader.file(name, params[name], at)
        else:
            known = (*AXES, *self._reader.variable_names, *schema.settable(contract))
            self._reader.unknown(at, "axis", name, known, key=True)

    def _value(self, axis: str, value: Any, at: Where) -> Scalar:
        """Return a value of `axis` in its normal form; report names that do not exist."""
        reader = self._reader
        if axis in reader.variable_names:
            return reader.text(at)
        kinds = {
            "prompt": ("prompt", reader.prompt_names),
            "video": ("video", reader.video_names),
            "weights": ("label", self._labels),
        }
        if axis in kinds:
            kind, known = kinds[axis]
            if value is not None and known is not None and value not in known:
                reader.unknown(at, kind, str(value), known, key=False)
            return str(value)
        return reader.parameter(axis, value, at) if reader.contract else None


# --- small sections -------------------------------------------------------------------------


def _video(given: str | Mapping[str, str]) -> VideoSource:
    return VideoSource(folder=given) if isinstance(given, str) else VideoSource(files=dict(given))


def _enhancer(given: bool | _Mapping) -> str | None:
    """Return which enhancer is meant: none (None), the project's own (""), or one by name."""
    if isinstance(given, dict):
        return str(given.get("model", ""))
    return "" if given else None


def _sample(given: Mapping[str, float] | None) -> Sample | None:
    if given is None or "count" not in given:
        return None
    return Sample(int(given["count"]), int(given.get("seed", 0)))


def _limits(given: Mapping[str, float]) -> Limits:
    runs = given.get("max_runs")
    return Limits(None if runs is None else int(runs), given.get("max_gpu_hours"))


def _keys(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, dict) else ()


def _parameter_names(params: object) -> Iterator[str]:
    """Yield the axes that `params` may be: `seed`, or `masks.edge` for what each control has."""
    for key in _keys(params):
        given = params[key] if isinstance(params, dict) else None
        if key in schema.keys_by_control() and isinstance(given, dict):
            yield from (f"{key}.{control}" for control in given)
        else:
            yield key


def _product(axes: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
