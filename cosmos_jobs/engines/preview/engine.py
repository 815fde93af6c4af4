"""The preview engine as batches see it: the program's command line, and what its files say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Batch, Command, Life, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.record import State
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar
from cosmos_jobs.engines import exit_status
from cosmos_jobs.engines.preview.buckets import COSMOS3, RESOLUTIONS, TRANSFER

_HAVE_NO = {TRANSFER: "the Transfer models have no", COSMOS3: "Cosmos 3 has no"}


class PreviewEngine:
    """Shows on a CPU what a Cosmos Transfer model would be conditioned on."""

    name = "preview"

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return the same for all runs: any of them can share a process."""
        return ""

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return an error where the model has no such resolution, and nothing else."""
        model = str(run.params["model"])
        resolution = str(run.params["resolution"])
        if resolution not in RESOLUTIONS[model]:
            known = ", ".join(RESOLUTIONS[model])
            message = f"{_HAVE_NO[model]} resolution {resolution}"
            yield Note("resolution", message, f"choose one of {known}", is_error=True)

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return nothing: it computes its maps itself."""
        return {}

    def checkpoint(self, run: Run) -> str:
        """Return nothing: there is no model."""
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
            Outcome(State.FAILED, failures.explain(status)) if status.life is Life.EXITED else None
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
            role: {"path": path, "sha256": task.digests[role]} for role, path in task.inputs.items()
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
    digests = {each["path"]: str(each["sha256"]) for each in made}
    return exit_status.made({name: f"{run}/{name}" for name in digests}, manifest, digests)
