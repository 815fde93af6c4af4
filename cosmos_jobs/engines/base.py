"""How a model is called: the protocol of every engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from cosmos_jobs.core.batch import Batch, Command, Note, Outcome, Setup, Status, Task
from cosmos_jobs.core.run import InputFile, Prompt, Run, Scalar


class Engine(Protocol):
    """How a model is called. All of it is pure: values in, values out."""

    @property
    def name(self) -> str:
        """The name that job files use."""
        ...

    def batch_key(self, run: Run, prompt: Prompt) -> str:
        """Return what runs must share to be made by one process."""
        ...

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        """Return what is odd or impossible about a run, with its video's `files` by role."""
        ...

    def maps(self, run: Run) -> Mapping[str, Mapping[str, Scalar]]:
        """Return the control maps that are to be computed where the video has no file of them.

        By control (`vis`, `edge`), each with the parameters of the preview
        engine that say how.
        """
        ...

    def checkpoint(self, run: Run) -> str:
        """Return which weights of the model make a run, by its own names; empty for none."""
        ...

    def command(self, tasks: Sequence[Task], setup: Setup) -> Command:
        """Return how the tasks are run in a batch's folder, whose `out/` they fill."""
        ...

    def markers(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Return, for each run, the files below `out/` that tell its outcome once they exist.

        Those that end in `.ndjson` grow, and are read again as long as the batch runs.
        """
        ...

    def outcomes(
        self, batch: Batch, status: Status, texts: Mapping[str, str]
    ) -> Mapping[str, Outcome]:
        """Return the outcomes that can be told by now.

        `texts` are the contents of the markers that exist, and under `ASKED`
        what the batch was asked for, as `documents.asked` has it. When the
        batch has exited there is an outcome for every run.
        """
        ...

    def progress(self, log: str) -> int:
        """Return how many frames the batch has made, from the end of its log."""
        ...
