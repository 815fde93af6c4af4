"""What a manifest from elsewhere tells, and which ones are not believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity, serialize
from cosmos_jobs.core.record import Output, PromptRecord
from cosmos_jobs.state import untrusted

PROMPT = identity.prompt("A pier", "", {"color": "0" * 64})
RUN = identity.run(PROMPT.id, schema.contract("preview"), {"edge": 0.5}, {})
RECORD = PromptRecord(
    prompt=PROMPT, name="pier", video="a", files={"color": "clips/a.mp4"}, frames=121
)
DIGEST = "f" * 64

Document = dict[str, Any]


def manifest() -> Document:
    """Return one that is sound."""
    return {
        "run": asdict(RUN),
        "prompt": {**serialize.prompt_document(RECORD), "id": PROMPT.id},
        "jobs": {"small": "pier/edges"},
        "output": asdict(Output(DIGEST, 1, 121)),
        "files": {"output.mp4": DIGEST, "controls/edge.mp4": "0" * 64},
        "batch": "ba_0123456789abcdef",
        "target": "gpu",
        "host": "gpu-1",
        "gpu": "0",
        "started": 1.0,
        "made": 2.0,
    }


def test_a_sound_manifest_is_believed() -> None:
    told = untrusted.manifest(orjson.dumps(manifest()), RUN.id, set())

    assert told is not None
    assert (told.record.run, told.prompt.prompt) == (RUN, PROMPT)
    assert told.files == manifest()["files"]


def _names(name: object) -> Callable[[Document], None]:
    def name_it(document: Document) -> None:
        document["files"][name] = DIGEST

    return name_it


def _lacks(key: str) -> Callable[[Document], None]:
    def remove(document: Document) -> None:
        del document[key]

    return remove


def _says(*path: str, value: object) -> Callable[[Document], None]:
    def say(document: Document) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return say


@pytest.mark.parametrize(
    "lie",
    [
        _names("../escaped"),
        _names("/escaped"),
        _names("a/../../escaped"),
        _names("a//b"),
        _names("manifest.json"),
        _names("manifest.json/x"),
        _names("log.txt"),
        _names("log.txt/x"),
        _names("output.mp4/x"),
        _names("controls"),
        _names("x" * 250),
        _names("a\nb"),
        _names(""),
        _says("files", "output.mp4", value="0" * 64),
        _says("files", "controls/edge.mp4", value="../x"),
        _says("files", value=["output.mp4"]),
        _says("output", "name", value="../output.mp4"),
        _says("prompt", "text", value="Another pier"),
        _says("run", "params", value={"seed": 7}),
        _says("run", "prompt_id", value="ps_0123456789abcdef"),
        *(_lacks(key) for key in ("run", "prompt", "output", "batch", "host")),
    ],
)
def test_a_lie_is_not_believed(lie: Callable[[Document], None]) -> None:
    document = manifest()
    lie(document)

    assert untrusted.manifest(orjson.dumps(document), RUN.id, set()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"7", b"\xff"])
def test_what_is_no_manifest_is_none(data: bytes) -> None:
    assert untrusted.manifest(data, RUN.id, set()) is None


def test_the_manifest_of_another_run_is_none() -> None:
    assert untrusted.manifest(orjson.dumps(manifest()), "rs_0123456789abcdef", set()) is None
