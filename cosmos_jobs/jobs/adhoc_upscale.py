"""Jobs that upscale finished runs and video files, without a job file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_jobs.artifacts import digests
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config.project import ENGINE, Project
from cosmos_jobs.core.diagnostics import Unusable
from cosmos_jobs.core.job import Desired, Expansion, Job, Source
from cosmos_jobs.core.record import Record, State
from cosmos_jobs.core.run import RUN, InputFile, Prompt, Run
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import load
from cosmos_jobs.jobs.upscale import upscaled

PLACE = "upscaled"


@dataclass(frozen=True, slots=True)
class Wish:
    """How videos are upscaled: weight (0–1), and prompt and engine where they are not the usual."""

    weight: float
    words: str = ""
    engine: str = ""


class Upscaling:
    """Makes a job that upscales runs and video files."""

    def __init__(self, project: Project, known: Snapshot, outputs: Outputs, wish: Wish) -> None:
        self._project = project
        self._known = known
        self._outputs = outputs
        self._wish = wish

    def job(self, names: Sequence[str], target: str) -> Job:
        """Return the job that upscales these runs, by full id, and files, by path.

        They run on `target`, else where the first of the runs ran last, else on
        the project's. Raises UsageError for what cannot be upscaled.
        """
        found = [
            self._run(name) if name in self._known.states else self._file(name) for name in names
        ]
        runs = {desired.run.id: desired for desired, _ in found}
        prompts = {source.prompt.id: source for _, source in found}
        where = self._project.named(target or self._last_target(names) or self._project.target)
        return Job(
            name="",
            title=" ".join(names),
            target=where.name,
            engines=tuple(dict.fromkeys(each.run.engine for each in runs.values())),
            expansion=Expansion(prompts, tuple(runs.values())),
        )

    def _last_target(self, names: Sequence[str]) -> str:
        records = (self._known.runs[name] for name in names if name in self._known.states)
        lasts = (record.last.target for record in records if record.last)
        return next((each for each in lasts if each in self._project.targets), "")

    def _run(self, run_id: str) -> tuple[Desired, Source]:
        record = self._known.runs[run_id]
        before = self._known.prompts[record.run.prompt_id]
        video = self._video(record)
        words, inputs = self._wish.words or before.prompt.text, {RUN: run_id}
        prompt, run = self._upscaled(words, inputs, video.fps, record.run.engine)
        place = next(iter(record.jobs.values()), f"{PLACE}/{run_id}")
        source = Source(prompt, before.name, before.video, {"color": video})
        return _desired(run, f"{place}-4k", run_id), source

    def _video(self, record: Record) -> InputFile:
        """Return the video of a run; UsageError when there is none to upscale."""
        made, run_id = record.output, record.run.id
        if record.state is not State.SUCCEEDED or made is None:
            raise UsageError(f"{run_id} has no video yet", hint="make it first: cosmos-jobs apply")
        if made.frames == 1:
            raise UsageError(f"{run_id} makes an image", hint="upscale a run that makes a video")
        if record.run.params.get("upscale") is not None:
            raise UsageError(f"{run_id} is upscaled already", hint="upscale the run before it")
        path = self._outputs.video(record)
        seen = digests.probe(path)
        if isinstance(seen, str):
            raise UsageError(f"the video of {run_id} {seen}", hint="bring it: cosmos-jobs fetch")
        return InputFile(
            path,
            made.sha256,
            made.size,
            seen.frames,
            width=seen.width,
            height=seen.height,
            fps=seen.fps,
        )

    def _file(self, name: str) -> tuple[Desired, Source]:
        cache = digests.Digests(self._project.cache / "digests.json")
        path = load.located(name, self._project.root).absolute()
        file = cache.video(path)
        cache.save()
        if isinstance(file, Unusable):
            raise UsageError(f"{name} {file.what}", hint=file.hint or "name a run or a video file")
        if file.frames == 1:
            raise UsageError(f"{name} is an image", hint="name a run or a video file")
        if not self._wish.words:
            raise UsageError(f"what does {name} show?", hint="say it: --prompt TEXT")
        inputs = {"color": file.sha256}
        prompt, run = self._upscaled(self._wish.words, inputs, file.fps, self._project.engine)
        source = Source(prompt, PLACE, path.stem, {"color": file})
        return _desired(run, f"{PLACE}/{path.stem}-4k"), source

    def _upscaled(
        self, words: str, inputs: dict[str, str], fps: float, engine: str
    ) -> tuple[Prompt, Run]:
        real = (self._wish.engine or engine) != ENGINE
        return upscaled(words, inputs, self._wish.weight, fps, real=real)


def _desired(run: Run, place: str, after: str = "") -> Desired:
    """Return a run that no job asks for; it is shown as if it stood at `place`."""
    prompt, _, label = place.partition("/")
    return Desired(run, "", prompt, label, after=after)
