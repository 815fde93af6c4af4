"""What of a value a JSON Schema refuses, in words.

A valid file is recognised by a short walk of our own: importing jsonschema costs 70 ms
and compiling the schema for fastjsonschema 90 ms, more than reading a usual job file.
Only what that walk refuses goes to jsonschema, which then names every error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from cosmos_jobs.config.document import MAX_PROBLEMS, shortened
from cosmos_jobs.config.schema import listed, suggestion
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Where
from cosmos_jobs.core.job import Contract
from cosmos_jobs.core.run import Scalar

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_TYPE_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_NOT_BOOLEAN = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One violation, and the path of the value that must go for the rest to have its shape.

    None where nothing must go: a key is missing, a name has other characters.
    """

    at: Where | None
    diagnostic: Diagnostic


def problems(value: object, schema: Mapping[str, Any], locator: Locator) -> list[Diagnostic]:
    """Return every violation of `schema`, each cause once, sorted by position."""
    return [fault.diagnostic for fault in faults(value, schema, locator)]


def faults(value: object, schema: Mapping[str, Any], locator: Locator) -> list[Fault]:
    """Return the violations of `schema`, each with the path that it spoils, by position.

    All of them, or MAX_PROBLEMS.
    """
    if fits(value, schema, schema):
        return []
    from jsonschema import Draft7Validator

    errors = list(islice(Draft7Validator(schema).iter_errors(value), MAX_PROBLEMS))
    spoilt = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    relevant = (
        error
        for error in errors
        if error.validator == "type" or tuple(error.absolute_path) not in spoilt
    )
    every = (fault for error in relevant for fault in _faults(error, locator))
    found = {fault.diagnostic: fault for fault in islice(every, MAX_PROBLEMS)}
    return sorted(found.values(), key=lambda fault: position(fault.diagnostic))


def position(diagnostic: Diagnostic) -> tuple[int, int]:
    """Return the sort key of a diagnostic: its place in the file."""
    span = diagnostic.span
    return (0, 0) if span is None else (span.line, span.column)


def fits(value: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Say whether `value` is valid under `schema`, by the keywords that our schemas use."""
    if "$ref" in schema:
        return fits(value, root["definitions"][schema["$ref"].rpartition("/")[2]], root)
    if _failure(value, schema) is not None:
        return False
    if isinstance(value, dict) and not _mapping_fits(value, schema, root):
        return False
    if isinstance(value, list) and (items := schema.get("items")) is not None:
        return all(fits(item, items, root) for item in value)
    return _parts_fit(value, schema, root)


def _mapping_fits(
    value: Mapping[str, object], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> bool:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    names = schema.get("propertyNames")
    if names is not None and not all(_failure(name, names) is None for name in value):
        return False
    for name, item in value.items():
        one = properties.get(name, others)
        if one is False or (one is not True and not fits(item, one, root)):
            return False
    return True


def _parts_fit(value: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if not all(fits(value, part, root) for part in schema.get("allOf", ())):
        return False
    if "not" in schema and fits(value, schema["not"], root):
        return False
    if "if" not in schema:
        return True
    branch = "then" if fits(value, schema["if"], root) else "else"
    return fits(value, schema.get(branch, {}), root)


def _failure(value: object, schema: Mapping[str, Any]) -> str | None:
    """Return the first keyword of `schema`, of those about the value itself, that it violates."""
    types = schema.get("type")
    if types is not None and not _has_type(value, types):
        return "type"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return "enum"
    if "const" in schema and not _same(value, schema["const"]):
        return "const"
    if isinstance(value, str):
        return _text_failure(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_failure(value, schema)
    if isinstance(value, list | dict):
        return _container_failure(value, schema)
    return None


def _text_failure(value: str, schema: Mapping[str, Any]) -> str | None:
    if len(value) < schema.get("minLength", 0):
        return "minLength"
    if len(value) > schema.get("maxLength", len(value)):
        return "maxLength"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return "pattern"
    return None


def _number_failure(value: float, schema: Mapping[str, Any]) -> str | None:
    if value < schema.get("minimum", value):
        return "minimum"
    if value > schema.get("maximum", value):
        return "maximum"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return "exclusiveMinimum"
    return None


def _container_failure(value: list[Any] | dict[str, Any], schema: Mapping[str, Any]) -> str | None:
    least, most = ("minItems", "maxItems") if isinstance(value, list) else ("minProperties", "")
    if len(value) < schema.get(least, 0):
        return least
    if len(value) > schema.get(most, len(value)):
        return most
    if isinstance(value, dict) and not all(name in value for name in schema.get("required", ())):
        return "required"
    return None


def _has_type(value: object, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and "integer" in names and value.is_integer():
        return True
    return any(isinstance(value, _TYPES[name]) for name in names)


def _same(value: object, other: object) -> bool:
    """Compare as JSON does: true is not 1, and 1.0 is."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


# --- in words -----------------------------------------------------------------------------


def parameter_problem(
    value: Scalar, name: str, contract: Contract, *, at: Where, locator: Locator
) -> Diagnostic | None:
    """Return the diagnostic when `value`, normalised, is not valid for the parameter `name`."""
    schema = contract.schemas[name]
    keyword = _failure(value, schema)
    if keyword is None:
        return None
    code, message, hint = _described(keyword, schema, value, f"`{name}`")
    return locator.diagnostic(at, code, message, hint=hint)


def _faults(error: ValidationError, locator: Locator) -> Iterator[Fault]:
    at = tuple(error.absolute_path)
    instance: Any = error.instance
    schema = cast("Mapping[str, Any]", error.schema)
    if "propertyNames" in error.absolute_schema_path:
        yield _bad_name(str(instance), at, schema, locator)
    elif error.validator == "additionalProperties":
        yield from _unknown_keys(instance, at, schema, locator)
    elif error.validator == "required":
        yield from _missing_keys(instance, at, schema, locator)
    else:
        keyword = str(error.validator)
        code, message, hint = _described(keyword, schema, instance, _name(at))
        yield Fault(at, locator.diagnostic(at, code, message, hint=hint))


def _bad_name(name: str, at: Where, schema: Mapping[str, Any], locator: Locator) -> Fault:
    message = f"`{shortened(name)}` cannot be a name here"
    where = (*at, name)
    hint = schema.get("x-hint", "")
    return Fault(None, locator.diagnostic(where, "bad-name", message, key=True, hint=hint))


def _unknown_keys(
    instance: Mapping[str, object], at: Where, schema: Mapping[str, Any], locator: Locator
) -> Iterator[Fault]:
    known = schema.get("properties", {})
    for name in instance:
        if name not in known:
            message = f"unknown key `{shortened(name)}`"
            hint = suggestion(name, known) or f"keys here are {listed(known)}"
            where = (*at, name)
            found = locator.diagnostic(where, "unknown-key", message, key=True, hint=hint)
            yield Fault(where, found)


def _missing_keys(
    instance: Mapping[str, object], at: Where, schema: Mapping[str, Any], locator: Locator
) -> Iterator[Fault]:
    known = schema.get("properties", {})
    misspelt = {suggestion(name, known) for name in instance if name not in known}
    for name in schema["required"]:
        # A misspelt key is one mistake, not two.
        if name not in instance and suggestion(name, {name}) not in misspelt:
            one = known.get(name, {})
            hint = schema.get("x-hint") or one.get("x-hint") or _for_example(one, f"{name}: ")
            where = f" in {_name(at)}" if at else ""
            message = f"the key `{name}` is missing{where}"
            yield Fault(None, locator.diagnostic(at, "missing-key", message, hint=hint))


def _for_example(schema: Mapping[str, Any], prefix: str = "") -> str:
    """Return an example of a value that is right, as a hint; "" when the schema has none."""
    examples = [one for one in schema.get("examples", ()) if one is not None]
    return f"for example `{prefix}{json.dumps(examples[0])}`" if examples else ""


def _described(
    keyword: str, schema: Mapping[str, Any], value: object, name: str
) -> tuple[str, str, str]:
    """Return code, message and hint for the value of `name` that violates `keyword`."""
    hint = schema.get("x-hint", "")
    limit = schema.get(keyword)
    match keyword:
        case "type":
            return "wrong-type", *_type_message(schema, value, name)
        case "enum" | "const":
            return "wrong-value", *_choice_message(schema, value, name)
        case "minimum":
            message = f"{name} must be at least {limit}, not {_shown(value)}"
            return "out-of-range", message, hint or f"use {limit} or more"
        case "maximum":
            message = f"{name} must be at most {limit}, not {_shown(value)}"
            return "out-of-range", message, hint or f"use {limit} or less"
        case "exclusiveMinimum":
            message = f"{name} must be above {limit}, not {_shown(value)}"
            return "out-of-range", message, hint or f"use more than {limit}"
        case "minItems" | "maxItems" if limit != 1:
            found = len(value) if isinstance(value, list) else 0
            return "wrong-length", f"{name} must have {limit} values, not {found}", hint
        case "minItems" | "minProperties" | "minLength":
            return "empty", f"{name} is empty", hint or "give it a value, or remove the key"
        case "maxLength":
            return "too-long", f"{name} has more than {limit} characters", hint
        case "pattern":
            return "bad-name", f"{name} cannot be {_shown(value)}", hint
        case _:
            return "wrong-value", schema.get("x-problem", f"{name} is not allowed here"), hint


def _type_message(schema: Mapping[str, Any], value: object, name: str) -> tuple[str, str]:
    types = schema["type"]
    names = [types] if isinstance(types, str) else types
    wanted = " or ".join(_TYPE_WORDS[one] for one in names)
    hint = _type_hint(names, value) or schema.get("x-hint", "") or _for_example(schema)
    if value is None:
        return f"{name} has no value; expected {wanted}", hint
    return f"{name} must be {wanted}, not {_shown(value)}", hint


def _type_hint(names: Collection[str], value: object) -> str:
    numeric = "number" in names or "integer" in names
    if isinstance(value, str):
        return _text_hint(value, numeric=numeric, boolean="boolean" in names)
    if "string" in names and isinstance(value, bool | int | float):
        return f"quote it for a text: {json.dumps(str(value).lower())}"
    return ""


def _text_hint(value: str, *, numeric: bool, boolean: bool) -> str:
    if boolean and value.lower() in _NOT_BOOLEAN:
        return f"YAML 1.2 reads `{value}` as text: write `{_NOT_BOOLEAN[value.lower()]}`"
    if numeric and value.lower() in _NOT_BOOLEAN:
        return f"`{value}` is text; write a number"
    if numeric and re.fullmatch(r"[-+]?[0-9][0-9_,]*[_,][0-9_,.]*", value):
        digits = value.replace("_", "").replace(",", "")
        return f"numbers have no separators: write `{digits}`"
    if numeric and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value):
        return "remove the quotes"
    return ""


def _choice_message(schema: Mapping[str, Any], value: object, name: str) -> tuple[str, str]:
    choices = [str(one) for one in schema.get("enum", [schema.get("const")])]
    one_of = f"one of {listed(choices, 'or')}" if len(choices) > 1 else f"`{choices[0]}`"
    hint = suggestion(str(value), choices) or schema.get("x-hint", "")
    return f"{name} must be {one_of}, not {_shown(value)}", hint


def _name(at: Where) -> str:
    if not at:
        return "the file"
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shortened(step)}" for step in at)
    return f"`{text.removeprefix('.')}`"


def _shown(value: object) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the text `{shortened(value)}`"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return str(value)
