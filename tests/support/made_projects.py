"""Projects whose runs were made elsewhere: their videos are put in place, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av

from cosmos_jobs.artifacts.outputs import NAMES
from cosmos_jobs.config.project import load
from cosmos_jobs.core import atomic
from cosmos_jobs.core.job import Source
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.state.store import Transaction

DATA = Path(__file__).parents[3] / "shared" / "data"
RECORDING, REAL_OUTPUTS = DATA / "robot_handover", DATA / "cosmos_outputs"

HANDOVER = f"""\
version: 1
name: handover
engine: transfer1
videos: {{arms: {RECORDING}}}
prompts: {{kitchen: Two robot arms hand over a cup in a bright kitchen}}
weights:
  edge_only: {{edge: 1}}
  uniform_weights: [0.25, 0.25, 0.25, 0.25]
"""


def project(
    root: Path, job: str, videos: Mapping[str, Path | tuple[State, str]]
) -> WorkflowOperations:
    """Return a project with a job whose runs, by place, have these videos, or another state."""
    (root / "jobs").mkdir(parents=True)
    (root / "cosmos-jobs.yaml").write_text("version: 1\n")
    (root / "jobs" / "job.yaml").write_text(job)
    ops = WorkflowOperations(load(root))
    (read,), _ = ops.validate([str(root / "jobs" / "job.yaml")])
    attempt = Attempt("ba_0123456789abcdef", "local", State.SUCCEEDED, 1e9, 1e9 + 60, 0)

    def put(change: Transaction) -> None:
        change.put_prompts(_prompt(each) for each in read.expansion.prompts.values())
        change.put_jobs({read.name: "jobs/job.yaml"})
        for each in read.expansion.runs:
            source = videos[each.place]
            if isinstance(source, tuple):
                change.put_runs([Record(each.run, {each.job: each.place}, *source)])
                continue
            atomic.link(source, ops.outputs.folder(each.run.id) / NAMES[0])
            output = Output(atomic.sha256(source), source.stat().st_size, frames(source))
            jobs = {each.job: each.place}
            record = Record(each.run, jobs, State.SUCCEEDED, "", (attempt,), output)
            change.put_runs([record])

    ops.store.change(put)
    return ops


def _prompt(source: Source) -> PromptRecord:
    paths = {role: str(each.path) for role, each in source.files.items()}
    frames = source.files["color"].frames
    return PromptRecord(
        prompt=source.prompt, name=source.name, video=source.video, files=paths, frames=frames
    )


def frames(path: Path) -> int:
    """Return how many frames of a video decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
