"""The preview engine as batches see it: the program's command line, and what its files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from cosmos_jobs import faults
from cosmos_jobs.model import Batch, Command, Life, Outcome, Run, State, Status
from cosmos_jobs.protocols import Setup, Task


class PreviewEngine:
    """Shows on a CPU what a Cosmos Transfer model would be conditioned on."""

    name = "preview"

    def batch_key(self, run: Run) -> str:
        """Return the same for all runs: any of them can share a process."""
        return ""

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return the program's command line, with one line of runs.jsonl for each task."""
        lines = b"".join(orjson.dumps(_line(task)) + b"\n" for task in tasks)
        argv = (setup.python, "-m", "cosmos_jobs.engines.preview")
        options = ("-i", "runs.jsonl", "-o", "out", "--cache", setup.cache)
        return Command((*argv, *options), {"runs.jsonl": lines})

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return the files that the program writes last for a run."""
        return {run: (f"{run}/manifest.json", f"{run}/error.json") for run in batch.runs}

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return what the markers say; without one, a run of a batch that has exited failed."""
        told = {run: _outcome(run, texts) for run in batch.runs}
        crashed = (
            Outcome(State.FAILED, faults.explain(status)) if status.life is Life.EXITED else None
        )
        return {run: found for run in batch.runs if (found := told[run] or crashed)}

    def progress(self, log: str) -> int:
        """Return the frames of the last `progress <done> of <total>` line."""
        for line in reversed(log.splitlines()):
            if line.startswith("progress "):
                return int(line.split()[1])
        return 0


def _line(task: Task) -> dict[str, object]:
    return {
        "id": task.run.id,
        "prompt": task.prompt.text,
        "negative": task.prompt.negative,
        "inputs": {
            role: {"path": path, "sha256": task.prompt.inputs[role]}
            for role, path in task.inputs.items()
        },
        "weights": task.run.weights,
        "params": task.run.params,
    }


def _outcome(run: str, texts: Mapping[str, str]) -> Outcome | None:
    try:
        if text := texts.get(f"{run}/manifest.json"):
            return _made(run, orjson.loads(text))
        if text := texts.get(f"{run}/error.json"):
            return Outcome(State.FAILED, str(orjson.loads(text)["reason"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        return Outcome(State.FAILED, f"the engine left a manifest that cannot be read ({error})")
    return None


def _made(run: str, manifest: dict[str, Any]) -> Outcome:
    made = (*manifest["controls"].values(), manifest["output"])
    digests = {str(each["path"]): str(each["sha256"]) for each in made}
    files = {name: f"{run}/{name}" for name in digests}
    return Outcome(State.SUCCEEDED, files=files, digests=digests, details=manifest)
