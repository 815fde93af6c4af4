"""What one has to read to follow a first local apply: `python -m benchmarks path`.

A profile hook watches the main process in all of its threads, from the import of the command line
to the exit code. It counts the functions that are called (lambdas and generators, too; not
modules and classes that are only defined), their files, and the pairs of modules of which one
calls the other directly. Two modules that call each other are named, with the calls: a callback
or a generator that is handed over counts as a call of it.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.rows import Row, table

PACKAGE = Path(__file__).parent.parent / "cosmos_jobs"
RUNS = 2
TRACE = "path.json"
BEFORE = {"files": 53, "functions": 920, "pairs": 137, "both ways": 8}
"""What it was at commit fd34a29, before the house was redesigned."""

GOALS = {"files": "≤ 40", "functions": "fewer", "pairs": "fewer", "both ways": "0"}

Call = tuple[str, str]


class Trace:
    """The functions that are called, as `module.function`, and who calls whom across modules."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str, int]] = set()
        self.calls: dict[Call, Call] = {}

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; this is a hook for `sys.setprofile`."""
        if event != "call" or not (called := _module(frame.f_code)):
            return
        self.functions.add((called, frame.f_code.co_qualname, frame.f_code.co_firstlineno))
        caller = frame.f_back and _module(frame.f_back.f_code)
        if frame.f_back and caller and caller != called:
            names = frame.f_back.f_code.co_qualname, frame.f_code.co_qualname
            self.calls.setdefault((caller, called), names)

    def figures(self) -> dict[str, Any]:
        """Return the counts, and the pairs both ways, each with a call in either direction."""
        both = [pair for pair in self.calls if pair[0] < pair[1] and pair[::-1] in self.calls]
        return {
            "files": len({module for module, *_ in self.functions}),
            "functions": len(self.functions),
            "pairs": len(self.calls),
            "both ways": len(both),
            "named": [
                f"{one}.{self.calls[one, two][0]} → {two}.{self.calls[one, two][1]}"
                for pair in sorted(both)
                for one, two in (pair, pair[::-1])
            ],
        }


def _module(code: CodeType) -> str:
    """Return the module of one of our functions; empty for all else."""
    path = code.co_filename
    if not code.co_flags & inspect.CO_OPTIMIZED or not path.startswith(f"{PACKAGE}{os.sep}"):
        return ""
    return path[len(f"{PACKAGE}{os.sep}") : -len(".py")].replace(os.sep, ".")


def trace() -> Mapping[str, Any]:
    """Make a project with a tiny job, apply it in a fresh process, and return the figures."""
    # Not above: the watched process imports us before it is watched.
    from benchmarks.projects import pending

    with tempfile.TemporaryDirectory() as folder:
        pending(Path(folder), RUNS)
        command = [sys.executable, "-m", "benchmarks.path", folder]
        subprocess.run(command, cwd=PACKAGE.parent, stdout=subprocess.DEVNULL, check=True)
        found: dict[str, Any] = json.loads((Path(folder) / TRACE).read_bytes())
        return found


def measure() -> list[Row]:
    """Return the figures beside those of before, and print the pairs both ways."""
    found = trace()
    _print(found["named"])
    return [
        Row(what, str(found[what]), str(before), found[what] / before, GOALS[what])
        for what, before in BEFORE.items()
    ]


def _print(calls: Iterable[str]) -> None:
    print("", "modules that call each other:", *(f"  {each}" for each in calls), sep="\n")


def _watched(folder: Path) -> None:
    """Apply the project in `folder` while watching, and write the figures there."""
    os.chdir(folder)
    found = Trace()
    threading.setprofile(found.note)
    sys.setprofile(found.note)
    try:
        from cosmos_jobs.cli import main

        sys.argv[:] = ["cosmos-jobs", "apply"]
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    Path(TRACE).write_text(json.dumps(found.figures()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _watched(Path(sys.argv[1]))
    else:
        print(f"\n{table(measure())}")
