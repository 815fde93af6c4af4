"""Start-up, validate, plan, the store and the cost of recording results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import peers, projects
from benchmarks.rows import Row, best
from cosmos_jobs.core.job import Selection
from cosmos_jobs.state.store import Store, Transaction

T = TypeVar("T")

APPLIED = 10_000

# The kernel counts a child's ru_maxrss from before its exec, so VmHWM is read instead.
_REPORTING = """
import atexit, sys
atexit.register(lambda: print(
    open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr))
from cosmos_jobs.cli import main
main()
"""


def measure(environment: Path) -> list[Row]:
    """Measure everything but the preview; `environment` keeps the peers' programs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [
            *_start_up(root / "start"),
            *_plans(root / "plans", peers.environment(environment)),
            _transaction(root / "store"),
            _recording(root / "apply"),
        ]


def _start_up(root: Path) -> list[Row]:
    bare = best(lambda: _run([sys.executable, "-c", "pass"], Path())[0], 5)
    reference = f"interpreter {_ms(bare)}"
    small = _project(root / "small", 10)
    many = _project(root / "many", 1)
    prompts = {f"p{number}": {"text": f"A pier, view {number}"} for number in range(10_000)}
    job = {"version": 1, "name": "many", "videos": {"clip": "clips/clip"}, "prompts": prompts}
    (many / "jobs" / "sweep.yaml").write_text(json.dumps(job, indent=1))
    times = {
        ("--help", 0.120): best(lambda: _ours("--help", root=small)[0], 5),
        ("validate, a small file", 0.250): best(lambda: _ours("validate", root=small)[0], 5),
        ("validate, 10,000 prompts", 2.0): best(lambda: _ours("validate", root=many)[0]),
    }
    return [
        Row(what, _ms(seconds), reference, seconds / goal, f"of {_ms(goal)}: 1.00")
        for (what, goal), seconds in times.items()
    ]


def _plans(root: Path, programs: Path) -> list[Row]:
    doit = peers.doit(programs, root / "doit")
    snakemake = peers.snakemake(programs, root / "snakemake")
    done, pending = {}, {}
    memory = {}
    for runs in (10_000, 100_000):
        place = _made(projects.done, root / f"done-{runs}", runs)
        done[runs] = best(partial(_planning, place))
        memory[runs] = _ours("plan", root=place)[1]
        fresh = _made(projects.pending, root / f"pending-{runs}", runs)
        pending[runs] = best(partial(_planning, fresh))
    few, many = done[10_000], done[100_000]
    return [
        Row("plan, 10,000 runs done", _ms(few), f"doit {_ms(doit)}", few / doit, "0.50"),
        Row("", _ms(few), f"snakemake {_ms(snakemake)}", few / snakemake, ""),
        Row("  its memory", f"{memory[10_000]:.0f} MB", "120 MB", memory[10_000] / 120, "1.00"),
        Row(
            "plan, 10,000 runs pending", _ms(pending[10_000]), "done", pending[10_000] / few, "2.00"
        ),
        Row("plan, 100,000 runs done", _ms(many), "4 s", many / 4, "1.00"),
        Row("  its memory", f"{memory[100_000]:.0f} MB", "700 MB", memory[100_000] / 700, "1.00"),
        Row(
            "plan, 100,000 runs pending",
            _ms(pending[100_000]),
            "done",
            pending[100_000] / many,
            "2.00",
        ),
    ]


def _planning(root: Path) -> float:
    return _ours("plan", root=root)[0]


def _transaction(root: Path) -> Row:
    """Change 10 of 10,000 records with a store that has not read the file yet."""
    known = _made(projects.done, root, 10_000)
    path = known / ".cosmos-jobs" / "state.json"
    ids = list(Store(path).snapshot().states)[:10]

    def put(change: Transaction) -> None:
        reason = str(time.perf_counter())
        records = [change.run(each) for each in ids]
        change.put_runs(replace(each, reason=reason) for each in records if each)

    def change() -> float:
        store = Store(path)
        began = time.perf_counter()
        store.change(put)
        return time.perf_counter() - began

    seconds = best(change, 10)
    return Row("store, 10 of 10,000 records", _ms(seconds), "60 ms", seconds / 0.060, "1.00")


class _TimedStore(Store):
    """A store that counts the time its transactions take, once work has begun."""

    spent_s = 0.0

    def change(self, work: Callable[[Transaction], T], *, over_damage: bool = False) -> T:
        """Change the store, and count the time."""
        began = time.perf_counter()
        result = super().change(work, over_damage=over_damage)
        self.spent_s += time.perf_counter() - began
        return result


def _recording(root: Path) -> Row:
    """Apply 10,000 runs of one frame each, and see what share of the time the store takes."""
    root.mkdir(parents=True)
    operations = projects.pending(root, APPLIED)
    store = operations.store = _TimedStore(operations.project.store)
    planned = operations.plan(Selection((str(root / "jobs"),)))
    began = time.perf_counter()
    applied = operations.apply(planned, lambda event: None, max_runs=APPLIED)
    wall_s = time.perf_counter() - began
    assert len(applied.started) == APPLIED
    share = store.spent_s / wall_s
    what = f"recording {APPLIED:,} results"
    return Row(what, f"{store.spent_s:.1f} s", f"apply {wall_s:.0f} s", share, "0.05")


def _project(root: Path, runs: int) -> Path:
    return _made(projects.pending, root, runs)


def _made(make: Callable[[Path, int], object], root: Path, runs: int) -> Path:
    root.mkdir(parents=True)
    make(root, runs)
    return root


def _ours(*arguments: str, root: Path) -> tuple[float, float]:
    """Return the seconds and the megabytes that a command of ours takes."""
    return _run([sys.executable, "-c", _REPORTING, *arguments], root)


def _run(command: list[str], root: Path) -> tuple[float, float]:
    # Users have compiled modules; some developers switch them off.
    variables = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    found = re.findall(r"^\d+$", done.stderr, re.MULTILINE)
    return seconds, int(found[-1]) / 1024 if found else 0.0


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
