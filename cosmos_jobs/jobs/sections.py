"""The sections of a job file that say what varies: prompts, variables, weights, parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, TypeAlias

from cosmos_jobs.config import ranges, schema, violations
from cosmos_jobs.config.document import Document, shortened
from cosmos_jobs.config.scalars import MAX_FLOAT, MIN_FLOAT
from cosmos_jobs.core.diagnostics import Diagnostic, Where
from cosmos_jobs.core.job import Contract, FileValue, PromptSpec
from cosmos_jobs.core.placeholders import malformed, normalised, placeholders
from cosmos_jobs.core.run import CONTROLS, Scalar
from cosmos_jobs.jobs.findings import Findings

DEFAULT_WEIGHTS: Mapping[str, Mapping[str, float]] = {"default": dict.fromkeys(CONTROLS, 0.25)}
"""The weights of a job that gives none."""

AXES = ("prompt", "video", "weights")
MAX_IN_ONE_PROMPT = 10

Section: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a job file names, as written: also what has faulty values.

    What refers to that is no second mistake. `videos` is None when a glob finds
    them, `weights` when there is no such section, `contract` when the file names
    no real engine. `zipped` are the axes that `zip` names.
    """

    engine: str
    contract: Contract | None
    prompts: tuple[str, ...]
    variables: tuple[str, ...]
    parameters: tuple[str, ...]
    videos: tuple[str, ...] | None
    weights: tuple[str, ...] | None
    zipped: frozenset[str]


def written(document: Document, value: Section, default_engine: str) -> Written:
    """Return what a document names; `value` is what of it has the right shape."""
    text = document.value if isinstance(document.value, dict) else {}
    engine: str = value.get("engine", default_engine)
    # With a wrong engine the parameters cannot be judged.
    known = "engine" in value or "engine" not in text
    groups = value.get("zip", ())
    return Written(
        engine=engine,
        contract=schema.contract(engine) if known else None,
        prompts=_keys(text.get("prompts")),
        variables=_keys(text.get("variables")),
        parameters=tuple(_parameter_names(text.get("params"))),
        videos=_video_names(text.get("videos")),
        weights=_keys(text["weights"]) if "weights" in text else None,
        zipped=frozenset(axis for group in groups for axis in group or () if isinstance(axis, str)),
    )


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


def _video_names(videos: object) -> tuple[str, ...] | None:
    return tuple(videos) if isinstance(videos, dict) and "glob" not in videos else None


class Texts:
    """Reads prompts and variables, and every other text that a model gets."""

    def __init__(self, findings: Findings, written: Written) -> None:
        self._findings = findings
        self._written = written

    def prompts(self, section: Mapping[str, Any]) -> Iterator[PromptSpec]:
        """Yield the prompts."""
        for name, given in section.items():
            at: Where = ("prompts", name)
            if isinstance(given, str):
                yield PromptSpec(name, text=self._prompt_text(given, at))
            else:
                yield self._prompt(name, given, at)

    def _prompt(self, name: str, given: Section, at: Where) -> PromptSpec:
        text = given.get("text")
        negative = given.get("negative", "")
        videos = given.get("videos")
        self._findings.warn_when_cut((*at, "negative"))
        return PromptSpec(
            name,
            text=None if text is None else self._prompt_text(text, (*at, "text")),
            file=given.get("file"),
            negative=normalised(negative),
            videos=None if videos is None else self._prompt_videos(videos, (*at, "videos")),
            enhance=_enhancer(given.get("enhance", False)),
        )

    def _prompt_text(self, written: str, at: Where) -> str:
        text = normalised(written)
        if not text:
            self._findings.error(
                at, "empty-prompt", "the prompt is empty", "say what the video shows"
            )
        self._findings.warn_when_cut(at)
        for part, nth in islice(malformed(text), MAX_IN_ONE_PROMPT):
            self._malformed(at, part, nth)
        unknown = (name for name in placeholders(text) if name not in self._written.variables)
        for name in islice(unknown, MAX_IN_ONE_PROMPT):
            self._unknown_placeholder(at, name)
        return text

    def _malformed(self, at: Where, part: str, nth: int) -> None:
        short = shortened(part)
        if len(part) > 1:
            message = f"`{short}` is not the name of a variable"
        else:
            message = f"a single `{part}` in the prompt"
        hint = "write {name} for a variable; {{ and }} for braces that are meant"
        self._findings.within(at, part, "bad-placeholder", message, nth=nth, hint=hint)

    def _unknown_placeholder(self, at: Where, name: str) -> None:
        if self._findings.full():
            return
        message = f"unknown variable `{name}` in the prompt"
        hint = schema.suggestion(name, self._written.variables) or (
            f"add `{name}: [...]` to `variables`, or write {{{{{name}}}}} for literal braces"
        )
        self._findings.within(at, f"{{{name}}}", "unknown-variable", message, hint=hint)

    def _prompt_videos(self, names: list[str], at: Where) -> tuple[str, ...]:
        for i, name in enumerate(names):
            if (
                name is not None
                and self._written.videos is not None
                and name not in self._written.videos
            ):
                self._findings.unknown((*at, i), "video", name, self._written.videos, key=False)
        return tuple(self._findings.distinct([((*at, i), name) for i, name in enumerate(names)]))

    def variables(self, section: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Return the values of each variable."""
        result = {}
        for name, given in section.items():
            at: Where = ("variables", name)
            places = [(*at, i) for i in range(len(given))] if isinstance(given, list) else [at]
            axis = [(place, self._findings.text(place)) for place in places]
            result[name] = tuple(self._findings.distinct(axis, zipped=name in self._written.zipped))
            self._name_clash(name, at)
        return result

    def _name_clash(self, name: str, at: Where) -> None:
        parameters = schema.keys(self._written.contract) if self._written.contract else ()
        if name in AXES or name in parameters:
            kind = "an axis" if name in AXES else f"a parameter of engine {self._written.engine}"
            message = f"the variable `{name}` is named like {kind}"
            self._findings.error(
                at, "name-clash", message, "give the variable another name", key=True
            )

    def unused_variables(self, prompts: Sequence[PromptSpec]) -> None:
        """Warn of variables that no prompt uses, where all prompts can be read."""
        readable = prompts and len(prompts) == len(self._written.prompts)
        if not readable or any(prompt.file is not None for prompt in prompts):
            return
        used = {name for prompt in prompts for name in placeholders(prompt.text or "")}
        if not used <= set(self._written.variables):
            return  # a misspelt name in a prompt is one mistake, not two
        for name in self._written.variables:
            if name not in used:
                hint = f"write {{{name}}} in a prompt, or remove the variable"
                message = f"no prompt uses the variable `{name}`"
                self._findings.warn(("variables", name), "unused-variable", message, hint, key=True)

    def fixed(self, written: str, at: Where) -> str:
        """Return a text that is the same for all runs, normalised; it cannot use variables."""
        text = normalised(written)
        if not text:
            self._findings.error(at, "empty-prompt", "the text is empty", "say what is to be seen")
        self._findings.warn_when_cut(at)
        for name in placeholders(text):
            if name in self._written.variables:
                message = f"the variable `{{{name}}}` is not filled in here"
                hint = "write the text out: it is the same for all runs of the job"
                self._findings.error(at, "variable-here", message, hint)
        return text


class Weights:
    """Reads the sets of weights; `labels` are their names, None where a faulty grid hides some."""

    def __init__(self, findings: Findings, written: Written) -> None:
        self.labels: tuple[str, ...] | None = None
        self._findings = findings
        self._written = written

    def sets(self, sets: Section) -> Mapping[str, Mapping[str, float]]:
        """Return the weights of each set by its label, those of a grid behind the others."""
        written = self._written.weights
        if written is None:
            self.labels = tuple(DEFAULT_WEIGHTS)
            return DEFAULT_WEIGHTS
        result = {
            label: self.weight_set(given, ("weights", label))
            for label, given in sets.items()
            if label != "grid"
        }
        if "grid" not in written:
            self.labels = written
        elif self._grid(sets.get("grid", {}), result):
            self.labels = tuple(
                dict.fromkeys(label for label in (*written, *result) if label != "grid")
            )
        return result

    def weight_set(self, given: object, at: Where) -> Mapping[str, float]:
        """Return the weights of a set in the order of CONTROLS, snapped, without zeros."""
        pairs = list(zip(CONTROLS, given, strict=False)) if isinstance(given, list) else None
        named = dict(pairs) if pairs is not None else dict(given) if isinstance(given, dict) else {}
        steps = {name: i if pairs is not None else name for i, name in enumerate(CONTROLS)}
        known = {name: value for name in CONTROLS if (value := named.get(name)) is not None}
        snapped = {name: self.snapped(known[name], (*at, steps[name])) for name in known}
        complete = len(known) == len(named) == len(self._findings.written_at(at))
        if complete and not any(snapped.values()):
            hint = "give at least one control a weight above 0"
            self._findings.error(at, "all-zero-weights", "all weights of this set are 0", hint)
        return {name: value for name, value in snapped.items() if value}

    def _grid(self, given: Section, result: dict[str, Mapping[str, float]]) -> bool:
        """Add the product of a grid to `result`, the first control slowest; False on an error."""
        at: Where = ("weights", "grid")
        axes = {control: self._grid_axis(one, (*at, control)) for control, one in given.items()}
        size = math.prod(len(axis) for axis in axes.values())
        if size > ranges.MAX_VALUES:
            arithmetic = " × ".join(str(len(axis)) for axis in axes.values())
            message = (
                f"the grid has {arithmetic} = {size:,} sets; {ranges.MAX_VALUES:,} is the most"
            )
            self._findings.error(at, "grid-too-large", message, "use larger steps", key=True)
        elif size and all(0 in axis for axis in axes.values()):
            hint = "start one of the controls above 0"
            self._findings.error(
                at, "all-zero-weights", "one set of the grid has only zeros", hint, key=True
            )
        elif size and len(given) == len(self._findings.written_at(at)):
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
                self._findings.error(at, "duplicate-label", message, "rename the set", key=True)
            result[label] = {name: named[name] for name in CONTROLS if named.get(name)}

    def _grid_axis(self, given: object, at: Where) -> tuple[float, ...]:
        axis = [
            (place, self.snapped(value, place) if isinstance(value, int | float) else None)
            for place, value in self._findings.axis(given, at)
        ]
        return tuple(value for value in self._findings.distinct(axis) if value is not None)

    def snapped(self, value: float, at: Where) -> float:
        """Return a weight in steps of 0.01; warn where that is another."""
        snapped = ranges.snapped(value)
        if snapped != value:
            message = f"the weight {value:g} is rounded to {snapped:g}"
            self._findings.warn(at, "weight-rounded", message, "weights have steps of 0.01")
        return snapped


class Parameters:
    """Reads the values of parameters; `files` are those that are files, to be looked at later."""

    def __init__(self, findings: Findings, document: Document, written: Written) -> None:
        self.files: list[FileValue] = []
        self._findings = findings
        self._document = document
        self._written = written
        self._contract = written.contract or schema.contract(written.engine)
        self._judged: set[Where] = set()

    def axes(self, section: Mapping[str, Any]) -> dict[str, tuple[Scalar, ...]]:
        """Return the values of each parameter; none where the engine is not known."""
        if not self._written.contract:
            return {}
        return {name: tuple(self._axis(name, given, at)) for name, given, at in self.known(section)}

    def known(self, section: Mapping[str, Any]) -> Iterator[tuple[str, Any, Where]]:
        """Yield each parameter that the engine has, what is given for it, and where."""
        for key, given in section.items():
            at: Where = ("params", key)
            unknown = schema.unknown_parameter(key, self._contract, at, self._document)
            if unknown:
                self._findings.add(unknown)
            elif key in schema.keys_by_control():
                yield from self._known_controls(key, given, at)
            else:
                yield key, given, at

    def _known_controls(
        self, key: str, given: Section, at: Where
    ) -> Iterator[tuple[str, Any, Where]]:
        for control, one in given.items():
            where = (*at, control)
            unknown = schema.unknown_control(
                key, control, self._contract, at=where, locator=self._document
            )
            if unknown:
                self._findings.add(unknown)
            else:
                yield f"{key}.{control}", one, where

    def _axis(self, name: str, given: Any, at: Where) -> list[Scalar]:
        axis = [
            (place, self.one(name, value, place)) for place, value in self._findings.axis(given, at)
        ]
        for place, value in axis:
            self.file(name, value, place)
        return self._findings.distinct(axis, zipped=name in self._written.zipped)

    def one(self, name: str, value: Scalar, at: Where) -> Scalar:
        """Return a parameter's value in its normal form; report it when it is not valid."""
        if name not in self._contract.schemas:
            return value
        value = schema.normalise(value, self._contract.schemas[name])
        if isinstance(value, str) and schema.is_free_text(self._contract.schemas[name]):
            self._findings.warn_when_cut(at)
        if at not in self._judged:
            problem = self._inexact(name, value, at) or violations.parameter_problem(
                value, name, self._contract, at=at, locator=self._document
            )
            if problem:
                # All values of a range stand at one place: the first bad one is enough.
                self._judged.add(at)
                self._findings.add(problem)
        return value

    def file(self, name: str, value: Scalar, at: Where) -> None:
        """Keep a value of a parameter that is a file, to be looked at later."""
        kind = self._contract.schemas[name].get("x-file")
        if kind and isinstance(value, str) and at not in self._judged:
            self.files.append(FileValue(name, kind, value, at))

    def _inexact(self, name: str, value: Scalar, at: Where) -> Diagnostic | None:
        """Return a problem for a decimal that JSON writers print in different ways."""
        if not isinstance(value, float) or value == 0:
            return None
        if MIN_FLOAT <= abs(value) < MAX_FLOAT:
            return None
        message = f"`{name}` takes the value {value:g}, which is too small or too large"
        return self._document.diagnostic(at, "number-range", message, hint="change the range")


def _enhancer(given: bool | Section) -> str | None:
    """Return which enhancer is meant: none (None), the project's own (""), or one by name."""
    if isinstance(given, dict):
        return str(given.get("model", ""))
    return "" if given else None


def _product(axes: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
