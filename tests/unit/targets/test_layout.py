"""A host's folders: one module names them, for Python and for every script."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cosmos_jobs.targets import layout
from cosmos_jobs.targets.executors import script as scripts
from cosmos_jobs.targets.layout import Folder, Layout, Name

FOLDER = Path(scripts.__file__).parent
SCRIPTS = sorted(FOLDER.rglob("*.sh"))
RUN = ("lib", "mask", "facts")


def named(path: Path) -> str:
    """Return what `scripts.text` calls a script."""
    parts = [part for part in path.relative_to(FOLDER).with_suffix("").parts if part != "shell"]
    return "/".join(parts)


def test_paths_are_those_that_hosts_have_had_from_the_beginning() -> None:
    paths = Layout("/data/x")

    assert paths.input("a" * 64, ".mp4") == f"/data/x/inputs/{'a' * 64}.mp4"
    assert paths.batch("ba_1") == "/data/x/batches/ba_1"
    assert paths.batch("ba_1", Name.LOG) == "/data/x/batches/ba_1/log"
    assert paths.out("ba_1", "a/b.mp4") == "/data/x/batches/ba_1/out/a/b.mp4"
    assert paths.cache == "/data/x/cache"
    assert paths.reproduce("rs_1") == "/data/x/reproduce/rs_1"


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_no_script_names_a_folder_below_the_root_by_itself(path: Path) -> None:
    code = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]

    named_here = rf"\$root\"?/({'|'.join(Folder)})\b|/({'|'.join(map(re.escape, Name))})\""
    assert [line for line in code if re.search(named_here, line)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_every_name_that_a_script_uses_is_one_of_ours(path: Path) -> None:
    text = path.read_text()

    used = set(re.findall(r"\$\{?(its_\w+|dot_\w+|\w+_dir)\b", text))
    given = set(re.findall(r"^(\w+)=", layout.assignments(text), re.MULTILINE))
    assert used <= given


def test_names_are_given_as_they_are_below_a_root_with_a_bad_name() -> None:
    root = 'it\'s "a" $(root)'
    script = scripts.script("list", {"root": root}).partition("\ncd ")[0]

    done = subprocess.run(
        ["sh", "-c", f'{script}\nprintf %s "$batches_dir"'], capture_output=True, text=True
    )

    assert done.stdout == f"{root}/batches"


@pytest.mark.parametrize("parts", [("process/lease", "process/warm"), ("slurm/element",)])
def test_what_runs_a_batch_has_all_its_functions(parts: tuple[str, ...]) -> None:
    text = scripts.script("run", {}, scripts.texts(*RUN, *parts))

    defined = set(re.findall(r"^(\w+)\(\) \{", text, re.MULTILINE))
    assert {"note_claim", "begin_work", "own_facts", "covered", "note_facts", "work"} <= defined
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_what_an_upload_leaves_when_it_is_cut_is_what_a_sweep_looks_for() -> None:
    sha256, identity = "a" * 64, "0123456789ab"
    part = layout.part("/x", identity, f"{sha256}.mp4").removeprefix("/x/")
    staging = layout.staging("/x", identity, "ba9876543210").removeprefix("/x/")
    given = layout.assignments("$part_mark $any_staging")

    matched = subprocess.run(
        [
            *("sh", "-c"),
            f"{given}echo ${{1#$part_mark}}; case $2 in $any_staging) echo yes ;; esac",
            *("sh", part, staging),
        ],
        capture_output=True,
        text=True,
    )

    assert matched.stdout.split() == [f"{sha256}.mp4", "yes"]
    found = re.fullmatch(layout.INPUT, part)
    assert found and found[1] == sha256
