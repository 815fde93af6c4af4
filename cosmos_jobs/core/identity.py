"""Canonical JSON (RFC 8785) and the ids of prompts and runs.

The documents that are hashed are allow-lists: what is not named here, such as
file names, job names, order or the target, can never cause a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from cosmos_jobs.core.job import Contract, Detailer
from cosmos_jobs.core.placeholders import normalised
from cosmos_jobs.core.run import CONTROLS, Prompt, Run, Scalar

IDENTITY = 1
"""The version of the hashed documents; it is part of them."""

SMALLEST, LARGEST = 1e-5, 1e15
"""Numbers between these (and 0) are written alike by orjson and by RFC 8785."""


def canonical(document: Mapping[str, object] | Sequence[object]) -> bytes:
    """Return `document` as RFC 8785 JSON.

    Holds for ASCII keys and for numbers that `number` lets pass, which is all
    that ids are made of; a property test compares it with the rfc8785 package.
    """
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def number(value: int | float) -> int | float:
    """Return `value` with 3.0 as 3 and -0.0 as 0.

    Raises ValueError for NaN, infinities and magnitudes outside SMALLEST–LARGEST
    (integers: up to 2⁵³), whose notation RFC 8785 and orjson disagree on.
    """
    if isinstance(value, int):
        if abs(value) >= 2**53:
            raise ValueError("integers must be below 2⁵³")
        return value
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    if not SMALLEST <= abs(value) < LARGEST:
        raise ValueError("numbers must be 0 or between 1e-5 and 1e15")
    return value


def prompt(words: str, negative: str, inputs: Mapping[str, str]) -> Prompt:
    """Return the prompt of a text, a negative text and the sha256 of each input file by role.

    Where the input is the output of a run, `inputs` is ``{"run": its id}``.
    Texts are compared in Unicode NFC, without trailing white space.
    """
    words, negative = normalised(words), normalised(negative)
    document = {"identity": IDENTITY, "text": words, "negative": negative, "inputs": inputs}
    return Prompt(_id("ps_", document), words, negative, inputs)


def enhanced(words: str, inputs: Mapping[str, str], by: Detailer) -> str:
    """Return the id of the text that an enhancer makes of another, for videos by sha256.

    The name of the enhancer does not count, only its kind and settings.
    """
    settings = {name: _exact(value) for name, value in by.settings.items()}
    document = {
        "identity": IDENTITY,
        "text": normalised(words),
        "inputs": inputs,
        "enhancer": by.kind,
        "settings": settings,
    }
    return _id("en_", document)


def run(
    prompt_id: str,
    contract: Contract,
    weights: Mapping[str, float],
    params: Mapping[str, Scalar],
) -> Run:
    """Return the run of a prompt with control weights (0–1) and parameters of the engine.

    Without weights no control has a say: an upscaler works on the video itself.
    Parameters left out get the engine's defaults. Values equal to their
    default are not hashed, so that an engine may gain parameters without
    changing any id; nor are those that its schema marks `x-identity: false`.
    Raises ValueError for numbers that `number` refuses.
    """
    params = {name: _exact(value) for name, value in params.items()}
    complete = {**contract.defaults, **params}
    kept = {name: number(weights[name]) for name in CONTROLS if weights.get(name)}
    document = {
        "identity": IDENTITY,
        "prompt": prompt_id,
        "engine": contract.engine,
        "contract": contract.version,
        "weights": kept,
        "params": {
            name: value
            for name, value in params.items()
            if _counts(name, contract) and not _same(value, contract.defaults.get(name))
        },
    }
    return Run(_id("rs_", document), prompt_id, contract.engine, contract.version, kept, complete)


def batch_id(runs: Mapping[str, int], before: Mapping[str, str] | None = None) -> str:
    """Return the id of a batch from its runs and the number of attempts each already had.

    `before` are the batches that others gave some of the runs to, in vain. The
    same work gets the same id on every machine, so that a host starts it once.
    """
    document = {"identity": IDENTITY, "runs": runs}
    return _id("ba_", {**document, "before": before} if before else document)


def _id(prefix: str, document: Mapping[str, object]) -> str:
    return prefix + hashlib.sha256(canonical(document)).hexdigest()[:16]


def _exact(value: Scalar) -> Scalar:
    return number(value) if isinstance(value, float | int) else value


def _counts(name: str, contract: Contract) -> bool:
    return bool(contract.schemas.get(name, {}).get("x-identity", True))


def _same(value: Scalar, default: Scalar) -> bool:
    return value == default and isinstance(value, bool) == isinstance(default, bool)
