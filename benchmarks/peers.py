"""The same no-op in doit and snakemake, each with 10,000 tasks that are all done."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

TASKS = 10_000

DODO = """\
def task_make():
    for number in range({tasks}):
        source, target = f"in/{{number}}", f"out/{{number}}"
        yield dict(name=str(number), actions=["true"], file_dep=[source], targets=[target])
"""

SNAKEFILE = """\
rule all:
    input: expand("out/{{number}}", number=range({tasks}))
rule make:
    input: "in/{{number}}"
    output: "out/{{number}}"
    shell: "cp {{input}} {{output}}"
"""


def environment(folder: Path) -> Path:
    """Return an environment with the peers; it is made once and kept in `folder`."""
    if not (folder / "bin" / "snakemake").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", "doit", "snakemake"], check=True)
    return folder / "bin"


def doit(programs: Path, root: Path) -> float:
    """Return how many seconds doit takes to find that there is nothing to do."""
    _tasks(root)
    (root / "dodo.py").write_text(DODO.format(tasks=TASKS))
    _seconds(programs / "doit", "reset-dep", root=root)
    return min(_seconds(programs / "doit", root=root) for _ in range(3))


def snakemake(programs: Path, root: Path) -> float:
    """Return how many seconds snakemake takes to find that there is nothing to do."""
    _tasks(root)
    (root / "Snakefile").write_text(SNAKEFILE.format(tasks=TASKS))
    return _seconds(programs / "snakemake", "--cores", "1", "--quiet", root=root)


def _tasks(root: Path) -> None:
    for kind in ("in", "out"):
        (root / kind).mkdir(parents=True)
        for number in range(TASKS):
            (root / kind / str(number)).write_text(str(number))


def _seconds(*command: str | Path, root: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return time.perf_counter() - began
