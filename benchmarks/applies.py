"""Applies to a GPU host over SSH, with an engine of a known speed: what we add to its time."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row
from tests.support.remote_project import Remote, StandIn, serve, target
from tests.support.ssh_server import Home, Server

RUNS, SECONDS = 200, 0.05
DONE = 1000


def measure() -> list[Row]:
    """Return rows; the counts of each apply are printed beside them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = Home(root / "home")
        server = serve(root / "sshd", home, "gpu-1")
        try:
            bench = _Bench(root, home, server)
            return [bench.in_batches(20), bench.in_batches(1), bench.nothing_to_do()]
        finally:
            server.stop()


class _Bench:
    def __init__(self, root: Path, home: Home, server: Server) -> None:
        self._root, self._home, self._server = root, home, server
        self._stand_in = StandIn(root)

    def in_batches(self, size: int) -> Row:
        own = self._own(size)
        project = self._project(f"of-{size}", RUNS, size, SECONDS)
        began = time.perf_counter()
        done = project.run("apply", "-v")
        wall = time.perf_counter() - began
        assert f"{RUNS} succeeded" in done.stdout
        print(f"apply of {RUNS} runs in batches of {size}:", _traffic(done.stderr), flush=True)
        if size == 1:
            each = (wall - own) / RUNS
            what = f"{RUNS} batches of one run: overhead each"
            return Row(what, f"{1000 * each:.0f} ms", "150 ms", each / 0.150, "1.00")
        reference = f"engine alone {own:.1f} s"
        what = f"{RUNS} runs in batches of {size}, less 2 s"
        return Row(what, f"{wall - 2:.1f} s", reference, (wall - 2) / own, "1.15")

    def nothing_to_do(self) -> Row:
        project = self._project("done", DONE, 50, 0)
        project.run("apply", "--max-runs", str(DONE))
        before = self._server.connections
        began = time.perf_counter()
        project.run("apply")
        seconds = time.perf_counter() - began
        opened = self._server.connections - before
        what = f"second apply of {DONE:,} runs: connections"
        return Row(what, f"{opened} in {seconds:.1f} s", "none", float(opened), "0.00")

    def _project(self, name: str, runs: int, size: int, seconds: float) -> Remote:
        project = Remote(self._root / name, self._home)
        installation = self._stand_in.installation(seconds)
        there = target(["gpu-1"], self._root / f"{name} there", installation, max_batch=size)
        project.configure(far=there)
        project.sweep(runs)
        return project

    def _own(self, size: int) -> float:
        """Return the seconds that the engine takes for all runs in batches, called one by one."""
        folder = self._root / f"alone-{size}"
        folder.mkdir()
        env = self._stand_in.installation(SECONDS)["env"]
        program = self._stand_in.venv / "bin" / "python"
        began = time.perf_counter()
        for batch in range(RUNS // size):
            runs = [{"id": f"rs_{batch}_{run}", "prompt": "", "inputs": {}} for run in range(size)]
            wanted = folder / f"{batch}.jsonl"
            wanted.write_text("".join(json.dumps(run) + "\n" for run in runs))
            command: list[str | Path] = [
                program,
                "-m",
                "cosmos_jobs.engines.preview",
                "-i",
                wanted,
                "-o",
                folder,
            ]
            subprocess.run(
                command,
                env={**self._home.environment, **env},
                stdout=subprocess.DEVNULL,
                check=True,
            )
        return time.perf_counter() - began


def _traffic(said: str) -> str:
    found = re.search(r"^gpu-1: (\d.*)$", said, re.MULTILINE)
    return found[1] if found else "no connection"
