"""Ten thousand runs on a real Slurm: how quickly they are submitted, how seldom it is asked."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from benchmarks.rows import Row
from tests.support.remote_project import Remote, StandIn, target
from tests.support.slurm_cluster import Cluster, missing
from tests.support.ssh_server import Home

RUNS, BATCH = 10_000, 20
ASKED = ("squeue", "scontrol", "sacct", "sinfo", "sbatch", "scancel")


def measure() -> list[Row]:
    """Return rows; nothing where there is no Slurm."""
    if lacks := missing():
        print(f"not measured: {lacks}", flush=True)
        return []
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")), "MaxArraySize=1001")
        with cluster:
            return _Bench(Path(folder), cluster).rows()


class _Bench:
    def __init__(self, root: Path, cluster: Cluster) -> None:
        self._ledger = root / "asked"
        self._project = Remote(root / "project", Home(root / "home"))
        installation = StandIn(root).installation()
        settings = target([], root / "shared", installation, max_batch=BATCH)
        del settings["hosts"]
        slurm = {"max_running": 8}
        self._project.configure(cluster={**settings, "executor": "slurm", "slurm": slurm})
        self._project.sweep(RUNS)
        self._env = {
            "SLURM_CONF": str(cluster.config),
            "PATH": f"{_counting(root / 'bin', self._ledger)}:{os.environ['PATH']}",
        }

    def rows(self) -> list[Row]:
        """Return what submitting and watching cost."""
        began = time.perf_counter()
        self._run("apply", "--detach", "--yes", "--max-runs", str(RUNS))
        submitted = time.perf_counter() - began
        calls = Counter(self._calls().values())
        self._ledger.unlink()
        self._run("watch")
        asked = sorted(self._calls())
        gaps = [later - earlier for earlier, later in pairwise(asked)]
        per_batch = self._spacing()
        batches = RUNS // BATCH
        return [
            Row(
                f"{RUNS:,} runs in {batches} batches: planned and submitted",
                f"{submitted:.1f} s",
                "20 s",
                submitted / 20,
                "1.00",
            ),
            Row(
                "sbatch calls for each 1,000 batches",
                f"{calls['sbatch'] * 1000 / batches:.0f}",
                "2",
                calls["sbatch"] * 1000 / batches / 2,
                "1.00",
            ),
            Row(
                "watch: 5 s by the shortest time between two questions",
                f"{min(gaps):.1f} s",
                "5 s",
                5 / min(gaps),
                "1.00",
            ),
            Row(
                "a batch of the last tenth, beside one of the first",
                f"{per_batch[1]:.2f} s",
                f"{per_batch[0]:.2f} s",
                per_batch[1] / per_batch[0],
                "1.10",
            ),
        ]

    def _spacing(self) -> tuple[float, float]:
        """Return the seconds between two ends of batches, in the first tenth and in the last."""
        exits = self._project.root.parent.glob("shared/batches/*/exit")
        ends = sorted(float(each.read_text().split()[1]) for each in exits)
        tenth = len(ends) // 10
        gaps = [later - earlier for earlier, later in pairwise(ends)]
        return statistics.mean(gaps[:tenth]), statistics.mean(gaps[-tenth:])

    def _calls(self) -> Mapping[float, str]:
        lines = self._ledger.read_text().splitlines()
        return {float(when): name for when, name in (line.split() for line in lines)}

    def _run(self, *arguments: str) -> None:
        process = self._project.start(*arguments, env=self._env)
        out, err = process.communicate()
        assert process.returncode == 0, out + err


def _counting(folder: Path, ledger: Path) -> Path:
    """Put programs into a folder that note each call of the real ones."""
    folder.mkdir()
    for name in ASKED:
        program = folder / name
        program.write_text(
            f'#!/bin/sh\necho "$(date +%s.%N) {name}" >> {ledger}\nexec {shutil.which(name)} "$@"\n'
        )
        program.chmod(0o755)
    return folder
