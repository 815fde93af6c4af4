"""The documents say what the program does: examples hold, tables are generated, commands run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cosmos_jobs.config import project, schema
from cosmos_jobs.engines import cosmos3, transfer1, transfer2_5
from cosmos_jobs.jobs import parse
from cosmos_jobs.targets.doctor import machine
from tests.conftest import Golden

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCKS = {
    f"{path.name}-{number}": block
    for path in DOCUMENTS
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL))
}
# Examples of project files, and of files of other programs, which are hidden ones, say so in
# their first line; the others are job files.
PROJECT_FILES = [key for key, one in BLOCKS.items() if one.startswith(f"# {project.FILE}\n")]
OTHERS = [key for key, one in BLOCKS.items() if one.startswith("# .")]
JOB_FILES = [key for key in BLOCKS if key not in {*PROJECT_FILES, *OTHERS}]

HEAD = """\
# Parameters

Written from the schemas of the engines, `schemas/engines/`; do not edit. What
each control has of its own is named with a dot here: `masks.edge` is written
`params: {masks: {edge: masks/pier.mp4}}`.
"""


def table(engine: str) -> str:
    lines = [f"\n## {engine}\n", "| parameter | default | what it is |", "|---|---|---|"]
    contract = schema.contract(engine)
    for name in schema.settable(contract):
        one = contract.schemas[name]
        default = "" if one["default"] == "" else f"`{json.dumps(one['default'])}`"
        lines.append(f"| `{name}` | {default} | {one['description']} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", PROJECT_FILES)
def test_every_project_file_of_the_documents_holds(name: str) -> None:
    made = project.parse(BLOCKS[name].encode(), ROOT)

    assert len(made.targets) > 1


@pytest.mark.parametrize("name", JOB_FILES)
def test_every_job_file_of_the_documents_holds(name: str) -> None:
    job, problems = parse.parse(
        BLOCKS[name].encode(), "docs", engine="preview", target="local", targets=["local"]
    )

    assert problems == ()
    assert job is not None


def test_the_page_of_parameters_is_written_from_the_schemas(golden: Golden) -> None:
    page = HEAD + "".join(table(engine) for engine in schema.engines())

    golden(ROOT / "docs" / "parameters.md", page)


def test_ci_runs_the_two_commands_of_the_readme_literally() -> None:
    commands = re.findall(r"```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)

    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert len(commands) == 2
    assert [line for line in script if line in commands] == commands


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_page_of_engines_names_the_commits_that_the_adapters_were_written_for() -> None:
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    written = {"transfer1": transfer1.COMMIT, "transfer2.5": transfer2_5.COMMIT}
    written["cosmos3"] = cosmos3.COMMIT

    assert written == machine.COMMITS
    for engine, commit in written.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{engine}` |")]
        assert f"`{commit}`" in row
