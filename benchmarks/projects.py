"""Projects of any size whose runs are all done, made without running anything."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cosmos_jobs.config.project import load
from cosmos_jobs.core.job import Selection
from cosmos_jobs.core.record import Attempt, Output, Record, State
from cosmos_jobs.operations import WorkflowOperations

JOB = """\
version: 1
name: sweep
videos: {{clip: clips/clip}}
prompts: {{golden: A pier at golden hour}}
weights: {{edges: {{edge: 0.7, vis: 0.2}}}}
params: {{resolution: "256", max_frames: 1, seed: {{start: 1, stop: {runs}, step: 1}}}}
limits: {{max_runs: 1000000}}
"""


def pending(root: Path, runs: int) -> WorkflowOperations:
    """Make a project whose job asks for `runs` runs, none of them made."""
    _clip(root / "clips" / "clip" / "color.mp4")
    (root / "jobs").mkdir()
    (root / "jobs" / "sweep.yaml").write_text(JOB.format(runs=runs))
    (root / "cosmos-jobs.yaml").write_text("version: 1\n")
    return WorkflowOperations(load(root))


def done(root: Path, runs: int) -> WorkflowOperations:
    """Make the same project with every run in the store as made, and its output there."""
    operations = pending(root, runs)
    jobs, _ = operations.validate([str(root / "jobs")])
    attempt = Attempt("ba_0123456789abcdef", "local", State.SUCCEEDED, 1e9, 1e9 + 60, 0)
    operations.store.change(
        lambda change: change.put_runs(
            Record(
                each.run,
                {each.job: each.place},
                State.SUCCEEDED,
                "",
                (attempt,),
                Output("0123456789abcdef" * 4, 0, 97),  # as large as an empty file
            )
            for each in jobs[0].expansion.runs
        )
    )
    for each in jobs[0].expansion.runs:
        video = operations.outputs.folder(each.run.id) / "output.mp4"
        video.parent.mkdir(parents=True)
        video.touch()
    made = operations.plan(Selection((str(root / "jobs"),)))
    assert {change.action.value for change in made.plan.changes} == {"keep"}
    return operations


def _clip(path: Path) -> None:
    path.parent.mkdir(parents=True)
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
