"""`python -m benchmarks` measures all; `python -m benchmarks core`, or another of PARTS, that."""

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import applies, core, path, preview, report, slurm, ssh
from benchmarks.rows import Row, table

PARTS: dict[str, Callable[[], list[Row]]] = {
    "core": lambda: core.measure(Path(__file__).parent.parent / ".bench"),
    "preview": preview.measure,
    "report": report.measure,
    "ssh": lambda: [*ssh.transfers(), *applies.measure()],
    "slurm": slurm.measure,
    "path": path.measure,
}

for name in sys.argv[1:] or PARTS:
    print(f"\n{name}\n\n{table(PARTS[name]())}", flush=True)
