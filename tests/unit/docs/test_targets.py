"""The page of targets lists every key that the schema knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmos_jobs.config import schema
from tests.conftest import Golden

PAGE = Path(__file__).parents[3] / "docs" / "targets.md"
MARK = "## Every key\n"
INTRODUCTION = """
Written from `schemas/project.schema.json`; do not edit.
"""
SECTIONS = {
    "A target": ("target", ()),
    "`slurm`": ("slurm", ()),
    "An entry of `engines`": ("installation", ()),
    "`docker`": ("installation", ("docker",)),
}


def keys(definition: str, path: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    one: Mapping[str, Any] = schema.load("project")["definitions"][definition]
    for name in path:
        one = one["properties"][name]
    found: Mapping[str, Mapping[str, Any]] = one["properties"]
    return found


def table(properties: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| key | default | what it is | for example |"
    yield "|---|---|---|---|"
    for name, one in properties.items():
        default = f"`{json.dumps(one['default'])}`" if "default" in one else ""
        example = json.dumps(one["examples"][0], ensure_ascii=False)
        yield f"| `{name}` | {default} | {one['description']} | `{example}` |"


def generated() -> str:
    parts = [MARK, INTRODUCTION]
    for title, (definition, path) in SECTIONS.items():
        parts += [f"\n### {title}\n\n", "\n".join(table(keys(definition, path))), "\n"]
    return "".join(parts)


def test_the_page_of_targets_lists_every_key_of_the_schema(golden: Golden) -> None:
    written, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)

    golden(PAGE, written + generated())


def test_every_key_is_explained_on_the_page_too() -> None:
    written, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)

    named = [name for definition, path in SECTIONS.values() for name in keys(definition, path)]

    assert [name for name in named if name not in written] == []
