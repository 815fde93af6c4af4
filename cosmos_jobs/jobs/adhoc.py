"""Prompts and jobs that no file asks for: made from the command line."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_jobs.artifacts import digests
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config import schema, yaml
from cosmos_jobs.config.project import ENGINE, Project
from cosmos_jobs.core import identity, naming
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Unusable
from cosmos_jobs.core.job import Desired, Expansion, Job, JobSpec, Limits, Source, VideoSource
from cosmos_jobs.core.placeholders import BadText, checked
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.run import IMAGE_SUFFIXES, ROLES, RUN, InputFile, Prompt, Run, Scalar
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import arguments, inputs, load, notes, upscale

PLACE = "upscaled"

INFERENCE = "inference"
"""The job that the videos of prompts stand under; no job file may have its name."""

# --- prompts --------------------------------------------------------------------------------


def prompt(
    project: Project,
    text: str,
    video: str,
    negative: str,
    hashing: digests.Progress | None = None,
) -> Source:
    """Return the prompt of a text and a video: a folder with color.mp4, or a file.

    Braces mean nothing here: there are no variables. Its name is left empty.
    Raises UsageError for a text that is none, and with all that the files lack.
    """
    words, without = _words(text, "the text"), _words(negative, "the negative text", empty=True)
    where = _found(video, project.root)
    full = project.root / where
    is_file = full.is_file() or (not full.exists() and full.suffix.lower() in _SUFFIXES)
    given = VideoSource(files={"color": where}) if is_file else VideoSource(folder=where)
    named = full.absolute()
    # A clip that is called color.mp4 is known by its folder.
    name = named.stem if is_file and named.stem not in ROLES else ""
    name = name or (named.parent if is_file else named.resolve()).name or "video"
    cache = digests.Digests(project.cache / "digests.json", progress=hashing)
    wanted = replace(_spec("", project.engine, project.target), videos={name: given})
    read, problems = inputs.resolve(wanted, project.root, cache)
    cache.save()
    arguments.refuse(problems)
    files = read.videos[name]
    made = identity.prompt(words, without, {role: one.sha256 for role, one in files.items()})
    return Source(made, "", name, files)


_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", *IMAGE_SUFFIXES)


def _words(text: str, what: str, *, empty: bool = False) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"{what} is not UTF-8", hint="give it in UTF-8")
    if len(text.encode()) > inputs.MAX_PROMPT_BYTES:
        limit = f"{inputs.MAX_PROMPT_BYTES // 1024} KiB"
        raise UsageError(f"{what} is longer than {limit}", hint="a prompt is a few sentences")
    if empty and not text.strip():
        return ""
    found = checked(text.strip())
    if isinstance(found, BadText):
        hint = "say what the video shows" if found.code == "empty-prompt" else found.hint
        raise UsageError(f"{what} {found.what}", hint=hint)
    return found


def _found(given: str, root: Path) -> str:
    """Return a path from the working directory or from `root` as one from `root`, if it exists."""
    place = load.located(given, root)
    if not place.exists():
        return given
    path = place.absolute()
    for base in (root, root.resolve()):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


# --- the videos of prompts --------------------------------------------------------------------


class Inference:
    """Makes a job of the videos of prompts, all with the same weights and parameters.

    `spec` has these; the runs stand under the job's name, so that people find
    them in `outputs/<job>/<prompt>/<label>.mp4`.
    """

    def __init__(
        self,
        project: Project,
        known: Snapshot,
        spec: JobSpec,
        job: str,
        hashing: digests.Progress | None = None,
    ) -> None:
        self._project = project
        self._known = known
        # As on any command line a path may be one from the working directory, too.
        files = tuple(replace(one, path=_found(one.path, project.root)) for one in spec.files)
        self._spec = replace(spec, path="", name=job, files=files)
        self._contract = schema.contract(spec.engine)
        self._digests = digests.Digests(project.cache / "digests.json", progress=hashing)

    def job(
        self, prompts: Sequence[PromptRecord], target: str
    ) -> tuple[Job, tuple[Diagnostic, ...]]:
        """Return the job that makes a video of each prompt, and the warnings.

        Raises UsageError for files of parameters that are no such files, and
        with what the engine refuses.
        """
        read, problems = inputs.resolve(self._spec, self._project.root, self._digests)
        arguments.refuse(problems)
        params = {name: values[0] for name, values in self._spec.params.items()}
        files = {
            one.parameter: read.files[one.path]
            for one in self._spec.files
            if params.get(one.parameter) is not None
        }
        params |= {name: one.sha256 for name, one in files.items()}
        sources = {each.prompt.id: each for each in self._looked_at(prompts)}
        self._digests.save()
        self._refuse_images(sources.values())
        expansion = Expansion(sources, tuple(self._runs(sources.values(), params, files)))
        noted = tuple(notes.noted(self._spec, expansion))
        arguments.refuse(noted)
        told = (*problems, *noted, *self._changed(sources.values()))
        return Job(self._spec, target, expansion), arguments.plain(told)

    def _looked_at(self, prompts: Sequence[PromptRecord]) -> Iterator[Source]:
        """Yield the prompts as sources, their files as they are now."""
        root = self._project.root
        self._digests.look(str(root / path) for each in prompts for path in each.files.values())
        for each in prompts:
            source = _source(each, root)
            seen = {role: self._digests.video(one.path) for role, one in source.files.items()}
            files = {
                role: now if isinstance(now, InputFile) and now.sha256 == one.sha256 else one
                for role, one in source.files.items()
                if (now := seen[role])
            }
            yield replace(source, files=files)

    def _changed(self, sources: Iterable[Source]) -> Iterator[Diagnostic]:
        """Warn of videos that are gone or have other content than when the prompt was made."""
        gone = dict.fromkeys(
            str(one.path) for each in sources for one in each.files.values() if not one.width
        )
        if gone:
            yield Diagnostic(
                "changed-video",
                f"gone, or no longer what the prompts were made of: {schema.listed(gone)}",
                "",
                hint="bring it back, or make the prompt again: cosmos-jobs create prompt",
                severity=Severity.WARNING,
            )

    def _refuse_images(self, sources: Iterable[Source]) -> None:
        if self._contract.images:
            return
        found = [
            each.prompt.id
            for each in sources
            if any(one.path.suffix.lower() in IMAGE_SUFFIXES for one in each.files.values())
        ]
        if found:
            takers = [name for name in schema.engines() if schema.contract(name).images]
            raise UsageError(
                f"engine {self._contract.engine} takes no images, and the input of"
                f" {schema.listed(found)} is one",
                hint=f"images are for {schema.listed(takers)}; others need a video",
            )

    def _runs(
        self,
        sources: Iterable[Source],
        params: Mapping[str, Scalar],
        files: Mapping[str, InputFile],
    ) -> Iterator[Desired]:
        (weights,) = self._spec.weights.values()
        taken = self._taken()
        for source in sources:
            run = identity.run(source.prompt.id, self._contract, weights, params)
            label = naming.label(run, self._contract, files)
            place = f"{source.name}/{label}".casefold()
            if taken.setdefault(place, run.id) != run.id:
                label = f"{label}-{run.id[3:]}"
            yield Desired(run, self._spec.name, source.name, label, files)

    def _taken(self) -> dict[str, str]:
        """Return the places of the job that have a run; some file systems know no upper case."""
        job = self._spec.name
        records = self._known.runs.values()
        return {
            record.jobs[job].casefold(): record.run.id for record in records if job in record.jobs
        }


def found(known: Snapshot, given: Collection[str]) -> tuple[PromptRecord, ...]:
    """Return the prompts of ids, each once; these may be shortened as long as they are unique.

    Raises UsageError that names every id that is none.
    """
    ids = sorted(known.prompts)
    chosen: dict[str, PromptRecord] = {}
    wrong: dict[str, list[str]] = {}
    for name in given:
        matching = _matching(name, ids)
        if len(matching) != 1:
            kind = f"could be {len(matching):,} prompts" if matching else "there is no prompt"
            wrong.setdefault(kind, []).append(name)
        elif RUN in (each := known.prompts[matching[0]]).prompt.inputs:
            wrong.setdefault("not for inference, but for upscale", []).append(name)
        else:
            chosen.setdefault(each.prompt.id, each)
    if wrong:
        said = (f"{kind}: {', '.join(names)}" for kind, names in wrong.items())
        raise UsageError(
            f"{'; '.join(said)}; nothing was started", hint=_hint(wrong, known.prompts)
        )
    return tuple(chosen.values())


def _matching(given: str, ids: Sequence[str]) -> Sequence[str]:
    """Return those of the sorted `ids` that begin as given; that itself when it is one."""
    if not given.startswith("ps_") or given == "ps_":
        return ()
    start = bisect.bisect_left(ids, given)
    if ids[start : start + 1] == [given]:
        return ids[start : start + 1]
    return ids[start : bisect.bisect_left(ids, f"{given}~")]


def _hint(wrong: Mapping[str, Sequence[str]], prompts: Mapping[str, PromptRecord]) -> str:
    names = {name for each in wrong.values() for name in each}
    meant = {each.name: key for key, each in prompts.items() if each.name in names}
    if meant:
        return "; ".join(f"`{name}` is the name of {key}" for name, key in meant.items())
    if any(name.startswith("rs_") for name in names):
        return "rs_… is a run: give the prompt that it is of, see: cosmos-jobs show rs_…"
    return "see them: cosmos-jobs list prompts"


# --- 4K -------------------------------------------------------------------------------------


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
        engines = ", ".join(dict.fromkeys(each.run.engine for each in runs.values()))
        spec = _spec(" ".join(names), engines, where.name)
        return Job(spec, where.name, Expansion(prompts, tuple(runs.values())))

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
        size = seen.width, seen.height
        return InputFile(path, made.sha256, made.size, seen.frames, *size, seen.fps)

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
        return upscale.upscaled(words, inputs, self._wish.weight, fps, real=real)


# --- as the store has it ----------------------------------------------------------------------


def again(known: Snapshot, run_ids: Sequence[str], root: Path, target: str) -> Job:
    """Return the job that makes runs as the store has them; paths are relative to `root`."""
    records = [known.runs[run_id] for run_id in run_ids]
    prompts = {each.run.prompt_id: known.prompts[each.run.prompt_id] for each in records}
    sources = {key: _source(prompt, root) for key, prompt in prompts.items()}
    runs = tuple(_known(record, prompts[record.run.prompt_id], root) for record in records)
    engines = ", ".join(dict.fromkeys(each.run.engine for each in records))
    return Job(_spec(" ".join(run_ids), engines, target), target, Expansion(sources, runs))


def _known(record: Record, prompt: PromptRecord, root: Path) -> Desired:
    run = record.run
    files = {
        name: _as_seen(root / path, str(run.params[name])) for name, path in record.files.items()
    }
    after = prompt.prompt.inputs.get(RUN, "")
    return Desired(run, "", prompt.name, run.id, files, after)


def _source(record: PromptRecord, root: Path) -> Source:
    """Return a stored prompt as a source; its color video has the frames that are known of it."""
    inputs = record.prompt.inputs
    files = {
        role: _as_seen(root / path, inputs[role], record.frames)
        for role, path in record.files.items()
    }
    files.setdefault("color", _as_seen(root, "", record.frames))
    return Source(record.prompt, record.name, record.video, files)


def _as_seen(path: Path, sha256: str, frames: int = 0) -> InputFile:
    """Return a file as the store knows it; its size and pixels do not matter any more."""
    return InputFile(path, sha256, 0, frames, 0, 0, 0.0)


def _desired(run: Run, place: str, after: str = "") -> Desired:
    """Return a run that no job asks for; it is shown as if it stood at `place`."""
    prompt, _, label = place.partition("/")
    return Desired(run, "", prompt, label, after=after)


def _spec(what: str, engine: str, target: str) -> JobSpec:
    """Return what a job file would say that is none."""
    return JobSpec(
        path=what,
        name="",
        engine=engine,
        target=target,
        videos={},
        video_glob=None,
        prompts=(),
        variables={},
        weights={},
        params={},
        zip=(),
        exclude=(),
        include=(),
        sample=None,
        limits=Limits(),
        description="",
        source=yaml.read(b"", what)[0],
    )
