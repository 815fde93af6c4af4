"""`python -m benchmarks` measures all; `python -m benchmarks preview` or `core` one part."""

import sys
from pathlib import Path

from benchmarks import core, preview
from benchmarks.rows import table

PARTS = {
    "core": lambda: core.measure(Path(__file__).parent.parent / ".bench"),
    "preview": preview.measure,
}

for name in sys.argv[1:] or PARTS:
    print(f"\n{name}\n\n{table(PARTS[name]())}", flush=True)
