"""A small project with clips, and the program as users call it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import orjson

JOB = """\
version: 1
name: small
videos:
  a: clips/a
  b: clips/b
prompts:
  golden: A pier at golden hour
  storm:
    text: A pier in {weather}
    videos: [a]
variables:
  weather: [rain, snow]
weights:
  balanced: [0.25, 0.25, 0.25, 0.25]
  edges: {edge: 0.7, vis: 0.2}
params: {resolution: "256"}
"""
RUNS = 8


def film(path: Path, seed: int, frames: int = 3) -> None:
    """Write a small clip of moving noise, as a user's camera would: H.264, 24 fps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (48, 96, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.ascontiguousarray(np.roll(noise, number, axis=1)[:, :64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def damage(path: Path) -> bytes:
    """Overwrite the beginning of a clip's pictures, but not its index; return what it was."""
    whole = path.read_bytes()
    start = whole.index(b"mdat") + 4
    path.write_bytes(whole[:start] + bytes(400) + whole[start + 400 :])
    return whole


class Project:
    """A project in a folder, driven by the command line only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.job = root / "jobs" / "small.yaml"

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the program in the project's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "cosmos_jobs", *arguments],
            cwd=self.root,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs, and what they start, ignore Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the program to its end; its exit code must be as expected."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == exit_code, f"exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def runs(self) -> list[dict[str, object]]:
        """Return all runs of the store."""
        found = orjson.loads(self.run("list", "runs", "--format", "json").stdout)
        assert isinstance(found, list)
        return found

    def summary(self, *paths: str) -> dict[str, int]:
        """Return how many changes of each action a plan has, without the zeros."""
        plan = orjson.loads(self.run("plan", "--format", "json", *paths).stdout)
        return {action: count for action, count in plan["summary"].items() if count}

    def made(self) -> list[str]:
        """Return the id of a run each time that an engine made it, in any batch."""
        batches = self.root / ".cosmos-jobs" / "hosts" / "local" / "batches"
        return [each.parent.name for each in batches.glob("*/out/*/manifest.json")]

    def edit(self, old: str, new: str) -> None:
        """Change the job file."""
        text = self.job.read_text()
        assert old in text
        self.job.write_text(text.replace(old, new))


def frames(path: Path) -> int:
    """Return how many frames of a video decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def ids(records: Sequence[Mapping[str, object]]) -> set[str]:
    """Return the ids of runs."""
    return {str(each["id"]) for each in records}
