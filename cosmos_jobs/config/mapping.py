"""A YAML text and a JSON Schema to plain values of the right shape, and their problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cosmos_jobs.config import schema, yaml
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Severity, Where


def parse_mapping(
    data: bytes, path: str, schema_name: str
) -> tuple[dict[str, Any] | None, Locator, tuple[Diagnostic, ...]]:
    """Return the plain values of a file that must satisfy the schema `schema_name`.

    The values are None exactly when there is an error.
    """
    value, document, found = read_mapping(data, path, schema_name)
    return (None if found else value), document, found


def read_mapping(
    data: bytes, path: str, schema_name: str
) -> tuple[dict[str, Any] | None, Locator, tuple[Diagnostic, ...]]:
    """Return what of a file satisfies the schema `schema_name`, and its problems.

    Keys with faulty values are left out, such items of lists are None: so the
    meaning of the rest can be judged too.
    """
    document, problems = yaml.read(data, path)
    value, found = mapping(document, problems, schema_name)
    return value, document, settled(found)


def mapping(
    document: yaml.Document, problems: Sequence[Diagnostic], schema_name: str
) -> tuple[dict[str, Any] | None, list[Diagnostic]]:
    """Return what of the document has the right shape, and its problems so far."""
    value = document.value
    if not isinstance(value, dict):
        return None, list(problems) or [_not_a_mapping(document, value)]
    if wrong_version := _wrong_version(document, value):
        return None, [wrong_version]
    faults = schema.faults(value, schema.load(schema_name), document)
    found = list(problems)
    if len(faults) + len(found) >= yaml.MAX_PROBLEMS:
        found += [one.diagnostic for one in faults]
        return None, [*found, yaml.too_many_problems(document.path)]
    # The engine's own schema knows better which parameters there are.
    found += [one.diagnostic for one in faults if not _is_unknown_parameter(one)]
    spoilt = [one.at for one in faults if one.at is not None and not _is_unknown_parameter(one)]
    kept = _without(value, spoilt)
    return (kept if isinstance(kept, dict) else {}), found


def _not_a_mapping(document: yaml.Document, value: object) -> Diagnostic:
    if value is None:
        hint = "start with `version: 1`"
        return document.diagnostic((), "empty-file", "the file is empty", hint=hint)
    message = "the file must be a mapping of keys to values"
    return document.diagnostic((), "not-a-mapping", message, hint="start with `version: 1`")


def _wrong_version(document: Locator, value: dict[str, Any]) -> Diagnostic | None:
    version = value.get("version")
    if isinstance(version, bool) or not isinstance(version, int | float) or version == 1:
        return None
    message = f"this file is version {version}; this cosmos-jobs reads version 1"
    hint = "upgrade cosmos-jobs" if version > 1 else "write `version: 1`"
    return document.diagnostic(("version",), "unsupported-version", message, hint=hint)


def _is_unknown_parameter(fault: schema.Fault) -> bool:
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
    return tuple(sorted(dict.fromkeys(settled), key=schema.position))
