"""The sections of a job file that refer to others by name: zip, exclude, include."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cosmos_jobs.config import schema
from cosmos_jobs.core.diagnostics import Where
from cosmos_jobs.core.job import Include
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.jobs.findings import Findings
from cosmos_jobs.jobs.sections import AXES, Parameters, Section, Weights, Written


class References:
    """Reads the sections that refer to axes by name: zip, exclude, include."""

    def __init__(
        self, findings: Findings, written: Written, weights: Weights, parameters: Parameters
    ) -> None:
        self._findings = findings
        self._written = written
        self._weights = weights
        self._parameters = parameters
        names = (*AXES, *written.variables, *written.parameters)
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
            self._findings.unknown(at, "axis", axis, self._axes, key=False)
        elif axis in seen:
            message = f"`{axis}` is zipped twice"
            self._findings.error(at, "zip-twice", message, "name it in one group, once")
        seen.add(axis)

    def _equal_lengths(self, group: Sequence[str], at: Where, lengths: Mapping[str, int]) -> None:
        known = {axis: lengths[axis] for axis in group if axis in lengths}
        if len(set(known.values())) > 1:
            parts = [f"`{axis}` has {length}" for axis, length in known.items()]
            message = "zipped axes have different lengths: " + ", ".join(parts)
            hint = "give them the same number of values, or do not zip them"
            self._findings.error(at, "zip-length", message, hint)

    def exclude(
        self, entries: Sequence[Section | None]
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
        contract = self._written.contract
        if contract is not None and axis in schema.settable(contract):
            message = f"`{axis}` is not in `params`, so all combinations have the same"
            hint = f"add `{schema.as_written(axis)}` to `params`, or remove it here"
            self._findings.error(at, "unknown-axis", message, hint, key=True)
        else:
            self._findings.unknown(at, "axis", axis, self._axes, key=True)

    def include(self, entries: Sequence[Section | None]) -> Iterator[Include]:
        """Yield the entries; which of them are complete is not judged here."""
        for i, entry in enumerate(entries):
            if entry is not None:
                yield self._include(entry, ("include", i))

    def _include(self, entry: Section, at: Where) -> Include:
        variables: dict[str, str] = {}
        params: dict[str, Scalar] = {}
        for name, given in entry.items():
            if name in self._written.variables:
                variables[name] = self._findings.text((*at, name))
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
        return self._weights.weight_set(given, at)

    def _include_parameter(
        self, name: str, given: Scalar, at: Where, params: dict[str, Scalar]
    ) -> None:
        contract = self._written.contract
        if contract is None:
            return
        if name in schema.settable(contract):
            params[name] = self._parameters.one(name, given, at)
            self._parameters.file(name, params[name], at)
        else:
            known = (*AXES, *self._written.variables, *schema.settable(contract))
            self._findings.unknown(at, "axis", name, known, key=True)

    def _value(self, axis: str, value: Any, at: Where) -> Scalar:
        """Return a value of `axis` in its normal form; report names that do not exist."""
        if axis in self._written.variables:
            return self._findings.text(at)
        kinds = {
            "prompt": ("prompt", self._written.prompts),
            "video": ("video", self._written.videos),
            "weights": ("label", self._weights.labels),
        }
        if axis in kinds:
            kind, known = kinds[axis]
            if value is not None and known is not None and value not in known:
                self._findings.unknown(at, kind, str(value), known, key=False)
            return str(value)
        return self._parameters.one(axis, value, at) if self._written.contract else None
