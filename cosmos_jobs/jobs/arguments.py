"""Weights and parameters asked for one by one: judged as if they stood in a job file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from cosmos_jobs.config import schema
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Contract, JobSpec
from cosmos_jobs.core.run import CONTROLS
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import parse

LABEL = "weights"

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# What JSON leaves as it is, and YAML does not take.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


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


def read(
    engine: str,
    weights: Mapping[str, float] | Sequence[float] | None,
    params: Mapping[str, object],
) -> tuple[JobSpec, tuple[Diagnostic, ...]]:
    """Return a job, without videos and prompts, of one set of weights and a value a parameter.

    Also the warnings. Parameters of a control are named `masks.edge`, or given
    as in a job file: `masks` with a mapping. Raises UsageError with all that
    is wrong with them; files are not looked at.
    """
    asked: dict[str, Any] = {"params": _nested(params)}
    if weights is not None:
        asked["weights"] = {LABEL: weight_set(weights)}
    if engine not in schema.engines():
        hint = schema.suggestion(engine, schema.engines())
        raise UsageError(
            f"there is no engine `{engine}`",
            hint=hint or f"engines are {schema.listed(schema.engines())}",
        )
    document = {
        "version": 1,
        "name": "x",
        "engine": engine,
        "videos": {"x": "x"},
        "prompts": {"x": "x"},
        **asked,
    }
    job, found = parse.read(_text(document), "", engine=engine, target="", targets=())
    refuse(found)
    assert job is not None  # noqa: S101 - else there was an error
    return replace(job, name="", videos={}, prompts=()), plain(found)


def refuse(found: Sequence[Diagnostic]) -> None:
    """Raise UsageError with the errors among the problems, if there are any."""
    errors = [each for each in found if each.severity is Severity.ERROR]
    if errors:
        said = (f"{each.message} ({each.note})" if each.note else each.message for each in errors)
        hints = dict.fromkeys(each.hint for each in errors if each.hint)
        raise UsageError("; ".join(said), hint="; ".join(hints))


def plain(found: Sequence[Diagnostic], path: str = "command line") -> tuple[Diagnostic, ...]:
    """Return the problems without their places in a text that nobody has written."""
    return tuple(replace(each, path=path, span=None, source="") for each in found)


def _nested(params: Mapping[str, object]) -> dict[str, object]:
    """Return parameters as a job file has them: what each control has is a mapping."""
    nested: dict[str, Any] = {}
    for name, given in params.items():
        key, dot, control = name.partition(".")
        if dot and key in schema.keys_by_control():
            nested.setdefault(key, {})[control] = _scalar(name, given)
        elif isinstance(given, Mapping) and name in schema.keys_by_control():
            each = {str(one): _scalar(f"{name}.{one}", value) for one, value in given.items()}
            nested.setdefault(name, {}).update(each)
        else:
            nested[name] = _scalar(name, given)
    return nested


def _scalar(name: str, given: object) -> object:
    if isinstance(given, PurePath):
        given = str(given)
    if isinstance(given, str | int | float | None):
        # JSON has no such numbers, and is not asked.
        return str(given) if isinstance(given, float) and not math.isfinite(given) else given
    several = isinstance(given, list | tuple | set | Mapping)
    raise UsageError(
        f"`{name}` takes one value, not {given!r}",
        hint="several values make several runs: write a job file, or call again"
        if several
        else "give a text, a number, true or false",
    )


def _text(document: Mapping[str, object]) -> bytes:
    written = json.dumps(document, ensure_ascii=False)
    try:
        return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", written).encode()
    except UnicodeEncodeError as error:
        raise UsageError("a parameter is not UTF-8 text") from error
