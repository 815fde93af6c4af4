"""A file's text → plain values of the shape that a schema says, and what has another shape.

Two passes: YAML (`yaml`) and the shape (`violations`). What the first refused is left
out for the second, so that each mistake is reported once and every mistake at the
first try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from cosmos_jobs.config import schema, violations, yaml
from cosmos_jobs.config.document import MAX_PROBLEMS, Document, too_many_problems
from cosmos_jobs.config.violations import Fault
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Severity, Where

_Values: TypeAlias = dict[str, Any]


def read(
    data: bytes, path: str, schema_name: str
) -> tuple[dict[str, Any] | None, Locator, tuple[Diagnostic, ...]]:
    """Return what of a file satisfies the schema `schema_name`, and its problems.

    Keys with faulty values are left out, such items of lists are None: so the
    meaning of the rest can be judged too.
    """
    document, problems = yaml.read(data, path)
    value, found = shaped(document, problems, schema.load(schema_name))
    return value, document, settled(found)


def shaped(
    document: Document, problems: Sequence[Diagnostic], rules: Mapping[str, Any]
) -> tuple[_Values | None, list[Diagnostic]]:
    """Return what of the document has the shape of `rules`, a schema, and its problems so far."""
    value = document.value
    if not isinstance(value, dict):
        return None, list(problems) or [_not_a_mapping(document, value)]
    if wrong_version := _wrong_version(document, value):
        return None, [wrong_version]
    faults = violations.faults(value, rules, document)
    found = list(problems)
    if len(faults) + len(found) >= MAX_PROBLEMS:
        found += [one.diagnostic for one in faults]
        return None, [*found, too_many_problems(document.path)]
    # The engine's own schema knows better which parameters there are.
    found += [one.diagnostic for one in faults if not _is_unknown_parameter(one)]
    spoilt = [one.at for one in faults if one.at is not None and not _is_unknown_parameter(one)]
    kept = _without(value, spoilt)
    return (kept if isinstance(kept, dict) else {}), found


def _not_a_mapping(document: Document, value: object) -> Diagnostic:
    if value is None:
        hint = "start with `version: 1`"
        return document.diagnostic((), "empty-file", "the file is empty", hint=hint)
    message = "the file must be a mapping of keys to values"
    return document.diagnostic((), "not-a-mapping", message, hint="start with `version: 1`")


def _wrong_version(document: Locator, value: _Values) -> Diagnostic | None:
    version = value.get("version")
    if isinstance(version, bool) or not isinstance(version, int | float) or version == 1:
        return None
    message = f"this file is version {version}; this cosmos-jobs reads version 1"
    hint = "upgrade cosmos-jobs" if version > 1 else "write `version: 1`"
    return document.diagnostic(("version",), "unsupported-version", message, hint=hint)


def _is_unknown_parameter(fault: Fault) -> bool:
    match fault.at if fault.diagnostic.code == "unknown-key" else None:
        case ("params", _):
            return True
        case ("params", key, _):
            return key in schema.keys_by_control()
        case _:
            return False


def _without(value: Any, paths: Iterable[Where]) -> Any:
    """Return `value` without what stands at `paths`; items of lists become None."""
    branches: dict[str | int, list[Where]] = {}
    for path in paths:
        if not path:
            continue
        branches.setdefault(path[0], []).append(path[1:])
    if not branches:
        return value
    kept: Any = dict(value) if isinstance(value, dict) else list(value)
    for step, rest in branches.items():
        if () not in rest:
            kept[step] = _without(kept[step], rest)
        elif isinstance(kept, dict):
            kept.pop(step)
        else:
            kept[step] = None
    return kept


def settled(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the diagnostics by position; of those at one place only the first pass's."""
    settled: list[Diagnostic] = []
    places: dict[object, str] = {}
    warned: set[object] = set()
    for one in found:
        if one.severity is Severity.WARNING:
            repeated = (one.span, one.code) in warned
            warned.add((one.span, one.code))
        else:
            repeated = places.setdefault(one.span, one.code) != one.code
        if one.span is None or not repeated:
            settled.append(one)
    return tuple(sorted(dict.fromkeys(settled), key=violations.position))
