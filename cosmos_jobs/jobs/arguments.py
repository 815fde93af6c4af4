"""Weights and parameters of a command or a call: judged by the rules of job files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any

from cosmos_jobs.config import mapping, scalars, schema
from cosmos_jobs.config.document import Values
from cosmos_jobs.config.scalars import Mistake
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Contract, FileValue
from cosmos_jobs.core.run import CONTROLS, Scalar
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import sections
from cosmos_jobs.jobs.findings import Findings
from cosmos_jobs.jobs.sections import DEFAULT_WEIGHTS, Parameters, Weights

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def value(written: str, name: str, contract: Contract) -> object:
    """Return a parameter's value from a command line, by the type that the engine wants.

    What cannot be read as that type stays text, and is refused as such later.
    """
    types = contract.schemas.get(name, {}).get("type", "string")
    if written == "null" and "null" in types:
        return None
    if "boolean" in types and written.lower() in ("true", "false"):
        return written.lower() == "true"
    if ("integer" in types or "number" in types) and _NUMBER.fullmatch(written):
        number = float(written)
        return int(written) if re.fullmatch(r"[-+]?\d+", written) else number
    return written


def weight_set(given: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    """Return weights by control: from a mapping, or from four of vis, edge, depth and seg.

    Raises UsageError unless each is 0 to 1 and one of them above 0.
    """
    if not isinstance(given, Mapping):
        if isinstance(given, str) or len(given) != len(CONTROLS):
            raise UsageError(
                f"weights are {len(CONTROLS)} numbers, not {len(given)}",
                hint=f"give one for each of {', '.join(CONTROLS)}",
            )
        given = dict(zip(CONTROLS, given, strict=True))
    for control, weight in given.items():
        if control not in CONTROLS:
            hint = schema.suggestion(str(control), CONTROLS)
            hint = hint or f"controls are {schema.listed(CONTROLS)}"
            raise UsageError(f"there is no control `{control}`", hint=hint)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight <= 1:
            raise UsageError(
                f"the weight of {control} must be a number from 0 to 1, not {weight}",
                hint="weights of several controls need not add up to 1",
            )
    if not any(given.values()):
        hint = "give at least one control a weight above 0"
        raise UsageError("all weights are 0", hint=hint)
    return {control: float(given[control]) for control in CONTROLS if control in given}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One set of weights, and a value of each parameter that is given.

    Those of a control are named `masks.edge`. `files` are the values that are
    files, not yet looked at; `warnings` are what is odd about all of them.
    """

    engine: str
    weights: Mapping[str, float]
    params: Mapping[str, Scalar]
    files: tuple[FileValue, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()


def read(
    engine: str,
    weights: Mapping[str, float] | Sequence[float] | None,
    params: Mapping[str, object],
) -> Arguments:
    """Return what is given as one run's; weights that are left out are a job file's.

    Parameters of a control are named `masks.edge`, or given as in a job file:
    `masks` with a mapping. Raises UsageError with all that is wrong with them.
    """
    pairs = [(name, _scalar(name, value)) for name, value in _pairs(params)]
    given = None if weights is None else weight_set(weights)
    if engine not in schema.engines():
        hint = schema.suggestion(engine, schema.engines())
        raise UsageError(
            f"there is no engine `{engine}`",
            hint=hint or f"engines are {schema.listed(schema.engines())}",
        )
    # One by one, so that what is wrong is told in the order in which it was given.
    read = [_parameter(engine, name, value) for name, value in pairs]
    chosen, odd = (DEFAULT_WEIGHTS["default"], ()) if given is None else _weights(engine, given)
    found = tuple(dict.fromkeys((*(one for each in read for one in each.warnings), *odd)))
    refuse(found)
    return Arguments(
        engine=engine,
        weights=chosen,
        params={name: value for each in read for name, value in each.params.items()},
        files=tuple({one.parameter: one for each in read for one in each.files}.values()),
        warnings=found,
    )


def _pairs(params: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the parameters by name: what each control has is one of its own."""
    for name, given in params.items():
        if isinstance(given, Mapping) and given and name in schema.keys_by_control():
            yield from ((f"{name}.{control}", value) for control, value in given.items())
        else:
            yield name, given


def _parameter(engine: str, name: str, given: Scalar) -> Arguments:
    """Return one parameter by the rules of job files; `warnings` has all that is wrong with it."""
    key, dot, control = name.partition(".")
    nested = dot and key in schema.keys_by_control()
    document = Values({"params": {key: {control: given}} if nested else {name: given}})
    shape, problems = mapping.shaped(document, (), _rules())
    mistake = _mistake(given)
    findings = Findings(document, [] if mistake else problems)
    reader = Parameters(findings, document, sections.written(document, {}, engine))
    section = (shape or {}).get("params", {})
    axes: Mapping[str, tuple[Scalar, ...]] = {}
    if mistake is None:
        axes = reader.axes(section)
    else:
        # Whether there is such a parameter is said all the same.
        tuple(reader.known(section))
        findings.error((), mistake.code, mistake.message, mistake.hint)
    return Arguments(
        engine=engine,
        weights={},
        params={name: values[0] for name, values in axes.items()},
        files=tuple(reader.files),
        warnings=tuple(findings.found),
    )


def _weights(
    engine: str, given: Mapping[str, float]
) -> tuple[Mapping[str, float], tuple[Diagnostic, ...]]:
    """Return a set of weights by the rules of job files, and what is wrong with it."""
    at = ("weights", "given")
    document = Values({"weights": {"given": dict(given)}})
    findings = Findings(document, [])
    kept = dict(given)
    for control, weight in given.items():
        if mistake := _mistake(weight):
            del kept[control]
            findings.error((*at, control), mistake.code, mistake.message, mistake.hint)
    made = Weights(findings, sections.written(document, {}, engine)).weight_set(kept, at)
    return made, tuple(findings.found)


def _mistake(given: Scalar) -> Mistake | None:
    """Return why a number is none of those that files may have; None for all else."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        try:
            scalars.number(repr(given))
        except Mistake as mistake:
            return mistake
    return None


@cache
def _rules() -> Mapping[str, Any]:
    """Return the schema of job files for a part of one."""
    return {**schema.load("job"), "required": []}


def refuse(found: Sequence[Diagnostic]) -> None:
    """Raise UsageError with the errors among the problems, if there are any."""
    errors = [each for each in found if each.severity is Severity.ERROR]
    if errors:
        said = (f"{each.message} ({each.note})" if each.note else each.message for each in errors)
        hints = dict.fromkeys(each.hint for each in errors if each.hint)
        raise UsageError("; ".join(said), hint="; ".join(hints))


def _scalar(name: str, given: object) -> Scalar:
    if isinstance(given, PurePath):
        given = str(given)
    if any("\ud800" <= one <= "\udfff" for one in f"{name}{given}" if isinstance(given, str)):
        raise UsageError("a parameter is not UTF-8 text")
    if isinstance(given, str | int | float | None):
        # No parameter has such numbers: it is refused as a text.
        return str(given) if isinstance(given, float) and not math.isfinite(given) else given
    several = isinstance(given, list | tuple | set | Mapping)
    raise UsageError(
        f"`{name}` takes one value, not {given!r}",
        hint="several values make several runs: write a job file, or call again"
        if several
        else "give a text, a number, true or false",
    )
