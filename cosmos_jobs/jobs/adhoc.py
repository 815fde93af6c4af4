"""Prompts and jobs that no file asks for: inferences of prompts, and runs as the store has them."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cosmos_jobs.artifacts import digests
from cosmos_jobs.config import schema
from cosmos_jobs.config.document import Values
from cosmos_jobs.config.project import Project
from cosmos_jobs.core import identity, naming
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Desired, Expansion, Job, Source, VideoSource
from cosmos_jobs.core.placeholders import BadText, checked
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import IMAGE_SUFFIXES, ROLES, RUN, InputFile, Scalar
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.errors import UsageError
from cosmos_jobs.jobs import arguments, inputs, load, notes
from cosmos_jobs.jobs.arguments import Arguments

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
    reading = inputs.Reading(project.root, Values(), cache)
    videos = reading.videos({name: given})
    cache.save()
    arguments.refuse(reading.problems)
    files = videos[name]
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

    `given` are these; the runs stand under the job's `name`, so that people find
    them in `outputs/<job>/<prompt>/<label>.mp4`.
    """

    def __init__(
        self,
        project: Project,
        known: Snapshot,
        given: Arguments,
        name: str,
        *,
        hashing: digests.Progress | None = None,
    ) -> None:
        self._project = project
        self._known = known
        self._given = given
        self._name = name
        self._contract = schema.contract(given.engine)
        self._digests = digests.Digests(project.cache / "digests.json", progress=hashing)

    def job(
        self, prompts: Sequence[PromptRecord], target: str
    ) -> tuple[Job, tuple[Diagnostic, ...]]:
        """Return the job that makes a video of each prompt, and the warnings.

        Raises UsageError for files of parameters that are no such files, and
        with what the engine refuses.
        """
        files = self._files()
        params = {**self._given.params, **{name: one.sha256 for name, one in files.items()}}
        sources = {each.prompt.id: each for each in self._looked_at(prompts)}
        self._digests.save()
        self._refuse_images(sources.values())
        expansion = Expansion(sources, tuple(self._runs(sources.values(), params, files)))
        noted = tuple(notes.noted(None, expansion))
        arguments.refuse(noted)
        job = Job(
            name=self._name, target=target, engines=(self._given.engine,), expansion=expansion
        )
        return job, (*noted, *self._changed(sources.values()))

    def _files(self) -> dict[str, InputFile]:
        """Return the files that are values of parameters; UsageError for what is none."""
        root = self._project.root
        # As on any command line a path may be one from the working directory, too.
        given = [replace(one, path=_found(one.path, root)) for one in self._given.files]
        reading = inputs.Reading(root, Values(), self._digests)
        read = reading.values(given)
        arguments.refuse(reading.problems)
        return {one.parameter: read[one.path] for one in given}

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
            yield Values().diagnostic(
                (),
                "changed-video",
                f"gone, or no longer what the prompts were made of: {schema.listed(gone)}",
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
        taken = self._taken()
        for source in sources:
            run = identity.run(source.prompt.id, self._contract, self._given.weights, params)
            label = naming.label(run, self._contract, files)
            place = f"{source.name}/{label}".casefold()
            if taken.setdefault(place, run.id) != run.id:
                label = f"{label}-{run.id[3:]}"
            yield Desired(run, self._name, source.name, label, files=files)

    def _taken(self) -> dict[str, str]:
        """Return the places of the job that have a run; some file systems know no upper case."""
        job = self._name
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


# --- as the store has it ----------------------------------------------------------------------


def again(known: Snapshot, run_ids: Sequence[str], root: Path, target: str) -> Job:
    """Return the job that makes runs as the store has them; paths are relative to `root`."""
    records = [known.runs[run_id] for run_id in run_ids]
    prompts = {each.run.prompt_id: known.prompts[each.run.prompt_id] for each in records}
    sources = {key: _source(prompt, root) for key, prompt in prompts.items()}
    runs = tuple(_known(record, prompts[record.run.prompt_id], root) for record in records)
    engines = tuple(dict.fromkeys(each.run.engine for each in records))
    return Job(
        name="",
        title=" ".join(run_ids),
        target=target,
        engines=engines,
        expansion=Expansion(sources, runs),
    )


def _known(record: Record, prompt: PromptRecord, root: Path) -> Desired:
    run = record.run
    files = {
        name: _as_seen(root / path, str(run.params[name])) for name, path in record.files.items()
    }
    after = prompt.prompt.inputs.get(RUN, "")
    return Desired(run, "", prompt.name, run.id, files=files, after=after)


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
    return InputFile(path, sha256, 0, frames, width=0, height=0, fps=0.0)
