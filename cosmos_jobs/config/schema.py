"""The JSON Schemas of our files: the engines' parameters, and the names that people mean."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_jobs.config.document import shortened
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Where
from cosmos_jobs.core.job import Contract
from cosmos_jobs.core.placeholders import normalised
from cosmos_jobs.core.run import CONTROLS, Scalar
from cosmos_jobs.errors import EngineError

if TYPE_CHECKING:
    pass

_PACKAGED = Path(__file__).parents[1] / "schemas"
_IN_REPOSITORY = Path(__file__).parents[2] / "schemas"

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "backend": ("engine",),
    "blur": ("vis", "blur_strength"),
    "canny": ("edge", "edge_threshold"),
    "canny_threshold": ("edge_threshold",),
    "cfg": ("guidance",),
    "cfg_scale": ("guidance",),
    "colour": ("color",),
    "container": ("docker",),
    "context_frame_index": ("context_frame",),
    "control_weight": ("weights",),
    "control_weight_prompt": ("mask_prompt",),
    "control_weights": ("weights",),
    "environment": ("env",),
    "from": ("start",),
    "guidance_scale": ("guidance",),
    "host": ("target", "hosts"),
    "increment": ("step",),
    "image_context_path": ("image_context",),
    "input": ("videos", "color"),
    "input_control_prompt": ("control_prompt",),
    "inputs": ("videos",),
    "mask": ("masks", "mask_prompt"),
    "mask_path": ("masks",),
    "matrix": ("params", "variables"),
    "max": ("stop",),
    "min": ("start",),
    "model": ("engine", "checkpoint"),
    "negative_prompt": ("negative",),
    "num_frames": ("max_frames",),
    "num_inference_steps": ("num_steps",),
    "parameters": ("params",),
    "preset_blur_strength": ("blur_strength",),
    "preset_edge_threshold": ("edge_threshold",),
    "price": ("price_per_gpu_hour",),
    "prompt": ("prompts", "text"),
    "prompt_path": ("file",),
    "region_definitions_path": ("box",),
    "regional_prompts": ("regions",),
    "rgb": ("color",),
    "seg": ("segmentation",),
    "segmentation": ("seg",),
    "seeds": ("seed",),
    "steps": ("num_steps", "step"),
    "timeout": ("run_timeout_s",),
    "to": ("stop",),
    "vars": ("variables",),
    "video": ("videos", "color"),
    "video_path": ("videos", "color"),
    "weight": ("weights",),
}
"""What people coming from the models' own command lines write, and our words for it."""

MAX_COMPARED = 1_000
"""Known names that a misspelt one is compared with."""


# --- the schemas --------------------------------------------------------------------------


@cache
def load(name: str) -> Mapping[str, Any]:
    """Return the JSON Schema `name`: "job", "project" or "engines/<engine>".

    Found in the installed package, else in the repository. Raises FileNotFoundError.
    """
    folder = _PACKAGED if _PACKAGED.is_dir() else _IN_REPOSITORY
    loaded: Mapping[str, Any] = json.loads((folder / f"{name}.schema.json").read_bytes())
    return loaded


def engines() -> tuple[str, ...]:
    """Return the names of all engines."""
    return tuple(load("job")["properties"]["engine"]["enum"])


@cache
def contract(engine: str) -> Contract:
    """Return what `engine` accepts; raise EngineError for an unknown one."""
    if engine not in engines():
        hint = suggestion(engine, engines()) or f"engines are {listed(engines())}"
        raise EngineError(f"there is no engine `{engine}`", hint=hint)
    schema = load(f"engines/{engine}")
    schemas: Mapping[str, Mapping[str, Any]] = schema["properties"]
    defaults = {name: one["default"] for name, one in schemas.items()}
    images = schema.get("x-images", False)
    return Contract(engine, schema["x-contract"], defaults, schemas, images=images)


# --- parameters ---------------------------------------------------------------------------


def normalise(value: Scalar, schema: Mapping[str, Any]) -> Scalar:
    """Return a parameter in the one form that its schema means.

    Integral floats become ints; where the schema wants text a number becomes text,
    so that `resolution: 720` is "720". Free text is composed, without white space
    at its end, as prompts are.
    """
    if isinstance(value, str):
        return normalised(value) if is_free_text(schema) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and schema["type"] == "string"
    ):
        return str(value)
    return value


def is_free_text(schema: Mapping[str, Any]) -> bool:
    """Say whether a parameter takes any text: no choice, and no file."""
    return "string" in schema["type"] and "enum" not in schema and "x-file" not in schema


def settable(contract: Contract) -> tuple[str, ...]:
    """Return the parameters that a job file may set; those of a control are like `masks.edge`."""
    return tuple(name for name, one in contract.schemas.items() if not one.get("x-internal"))


def keys(contract: Contract) -> tuple[str, ...]:
    """Return the keys that `params` may have: `masks` stands for that of every control."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in settable(contract)))


def controls(key: str, contract: Contract) -> tuple[str, ...]:
    """Return the controls that have a parameter of their own under `key` of `params`."""
    names = (name.partition(".") for name in settable(contract))
    return tuple(control for first, dot, control in names if dot and first == key)


@cache
def keys_by_control() -> frozenset[str]:
    """Return the keys of `params` that some engine has for each control."""
    listed = load("job")["properties"]["params"]["properties"]
    return frozenset(key for key, one in listed.items() if "properties" in one)


def as_written(name: str) -> str:
    """Return how `params` gives a parameter a value: `seed: …`, `masks: {edge: …}`."""
    key, dot, control = name.partition(".")
    return f"{key}: {{{control}: …}}" if dot else f"{key}: …"


def engines_with(name: str) -> tuple[str, ...]:
    """Return the engines whose `params` take `name`: a key, or a parameter of one control."""
    known = {engine: contract(engine) for engine in engines()}
    return tuple(one for one in known if name in (*keys(known[one]), *settable(known[one])))


def unknown_parameter(
    name: str, contract: Contract, at: Where, locator: Locator
) -> Diagnostic | None:
    """Return the diagnostic when `params` cannot have the key `name`; `at` ends in it."""
    known = keys(contract)
    if name in known:
        return None
    key, dot, _ = name.partition(".")
    code = "unknown-parameter"
    message = f"engine {contract.engine} has no parameter `{shortened(name)}`"
    hint = _owners(name) or suggestion(name, known) or f"its parameters are {listed(known)}"
    if dot and controls(key, contract):
        code, message = "dotted-parameter", f"`{shortened(name)}` is not written with a dot here"
        hint = f"write `{as_written(shortened(name))}`"
    elif name in contract.schemas and name in load("job")["properties"]:
        hint = f"`{name}` is a section of its own, beside `params`"
    return locator.diagnostic(at, code, message, key=True, hint=hint)


def unknown_control(
    key: str, control: str, contract: Contract, *, at: Where, locator: Locator
) -> Diagnostic | None:
    """Return the diagnostic when `key` of `params` is not for `control`; `at` ends in that."""
    known = controls(key, contract)
    if control in known:
        return None
    if control in CONTROLS:
        message = f"engine {contract.engine} has `{key}` for {listed(known)} only"
        hint = _owners(f"{key}.{control}")
    else:
        message = f"`{shortened(control)}` is not a control"
        hint = suggestion(control, known) or f"`{key}` is for {listed(known)}"
    return locator.diagnostic(at, "unknown-control", message, key=True, hint=hint)


def _owners(name: str) -> str:
    """Return which engines have the parameter `name`, as a hint; "" when none has."""
    owners = engines_with(name)
    return f"{listed(owners)} {'has' if len(owners) == 1 else 'have'} it" if owners else ""


# --- what somebody may have meant ----------------------------------------------------------


def suggestion(name: str, known: Collection[str]) -> str:
    """Return "did you mean `x`?" when `known` has something close to `name`, else ""."""
    from difflib import get_close_matches

    for word in SYNONYMS.get(name.lower().replace("-", "_"), ()):
        if word in known:
            return f"did you mean `{word}`?"
    lowered = {one.lower(): one for one in islice(known, MAX_COMPARED)}
    close = get_close_matches(name.lower()[:100], lowered, 1, 0.6)
    return f"did you mean `{lowered[close[0]]}`?" if close else ""


def listed(names: Collection[str], last: str = "and") -> str:
    """Return names as words: `a`, `b` and `c`; of many only the first ten."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > 10:
        return ", ".join(quoted[:10]) + f" and {len(quoted) - 10} more"
    return f" {last} ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))
