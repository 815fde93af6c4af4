"""Put a report into a folder: the page, its assets, videos and posters."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from cosmos_jobs.artifacts.digests import Digests
from cosmos_jobs.artifacts.outputs import MANIFEST, Outputs
from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.config import schema
from cosmos_jobs.config.project import Project
from cosmos_jobs.core import atomic
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import CONTROLS, ROLE_OF, RUN
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.engines import control_maps
from cosmos_jobs.errors import UsageError
from cosmos_jobs.report import media, page
from cosmos_jobs.report.document import Clip, Job, Pictures, document
from cosmos_jobs.report.media import Shown, Wanted

INDEX = "index.html"
FOLDERS = ("videos", "posters", "inputs")
"""What the page shows lies here; files in them that no run has any more go."""

PRESETS = {"vis": "blur_strength", "edge": "edge_threshold"}
"""The maps that are computed from the video itself, each with the parameter that says how."""

INPUT_WIDTH, MAP_WIDTH, OUTPUT_WIDTH = 960, 640, 1280
GONE = "its video is not there as it was made; see: cosmos-jobs verify"

Draw = Callable[
    [Iterable[control_maps.Wanted]], Mapping[control_maps.Wanted, control_maps.Made | str]
]

_MARK = b'content="cosmos-jobs report"'
_HEAD = 2000  # bytes of a page that the mark is in


class Report:
    """A page of some runs of a project, in `folder`; with `embed` it is one file alone.

    `draw` computes control maps.
    """

    def __init__(
        self, project: Project, known: Snapshot, folder: Path, draw: Draw, *, embed: bool
    ) -> None:
        self._project = project
        self._known = known
        self._outputs = Outputs(project.outputs)
        self._folder = folder
        self._embed = embed
        self._digests = Digests(project.cache / "digests.json")
        self._draw = draw
        self._made: dict[str, Mapping[str, tuple[Path, str]]] = {}
        self._computed: Mapping[control_maps.Wanted, control_maps.Made | str] = {}

    def write(self, job: Job, records: Sequence[Record], measured: Mapping[str, Measured]) -> Path:
        """Write the page, last of all; return where it is.

        Raises UsageError for a folder that holds anything else.
        """
        self._check()
        self._made = {each.run.id: self._maps(each) for each in records}
        self._compute(records)
        wanted = {each.run.id: dict(self._wanted(each)) for each in records}
        every = [one for each in wanted.values() for one in each.values()]
        shown = media.prepare(self._project.cache / "media", every)
        self._digests.save()
        placed: dict[str, Path] = {}
        pictures = {
            each.run.id: self._pictures(each, wanted[each.run.id], shown, placed)
            for each in records
        }
        found = document(job, records, self._known.prompts, measured, pictures)
        text = page.html(found, embed=self._embed).encode()
        if not self._embed:
            self._place(placed)
        atomic.write(self._folder / INDEX, text)
        return self._folder / INDEX

    def _check(self) -> None:
        index, folder = self._folder / INDEX, self._folder
        is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        if not is_empty and not (index.is_file() and _MARK in index.read_bytes()[:_HEAD]):
            raise UsageError(
                f"{self._folder} holds something that is no report",
                hint="name a new or empty folder: -o DIR",
            )

    # --- which files ------------------------------------------------------------------------

    def _wanted(self, record: Record) -> Iterator[tuple[str, Wanted]]:
        """Yield the files that are shown of a run: `output`, `input` and maps by control."""
        if record.output and (path := self._whole(record)):
            width = media.SMALL_WIDTH if self._embed else OUTPUT_WIDTH
            yield "output", Wanted(path, record.output.sha256, width, self._embed)
        prompt = self._known.prompts.get(record.run.prompt_id)
        if prompt is None:
            return
        source = self._known.runs.get(prompt.prompt.inputs.get(RUN, ""))
        if source and source.output and (path := self._whole(source)):
            yield "input", self._beside(path, source.output.sha256, INPUT_WIDTH)
        elif found := self._input(prompt, "color"):
            yield "input", self._beside(*found, INPUT_WIDTH)
        for control in CONTROLS:
            found = self._made[record.run.id].get(control) or self._input(prompt, ROLE_OF[control])
            if found or (found := self._drawn(record, control)):
                yield control, self._beside(*found, MAP_WIDTH)

    def _compute(self, records: Sequence[Record]) -> None:
        """Compute the maps that neither an engine nor the input has: each once, then kept."""
        wanted = {
            asked: None
            for record in records
            if record.output
            for control in PRESETS
            if control not in self._made[record.run.id] and (asked := self._asked(record, control))
        }
        self._computed = self._draw(wanted) if wanted else {}

    def _asked(self, record: Record, control: str) -> control_maps.Wanted | None:
        """Return the map of a run's input that can be computed, with the run's own preset."""
        prompt = self._known.prompts.get(record.run.prompt_id)
        if prompt is None or control not in PRESETS or self._input(prompt, ROLE_OF[control]):
            return None
        color = self._input(prompt, "color")
        defaults = schema.contract("preview").defaults
        names = (PRESETS[control], "resolution", "max_frames")
        params = tuple(
            sorted((name, record.run.params.get(name, defaults[name])) for name in names)
        )
        return control_maps.Wanted(control, *color, params) if color else None

    def _drawn(self, record: Record, control: str) -> tuple[Path, str] | None:
        asked = self._asked(record, control)
        found = self._computed.get(asked) if asked else None
        return (found.path, found.sha256) if isinstance(found, control_maps.Made) else None

    def _beside(self, path: Path, sha256: str, width: int) -> Wanted:
        return Wanted(path, sha256, media.SMALL_WIDTH if self._embed else width, self._embed)

    def _whole(self, record: Record) -> Path | None:
        """Return where a run's video is, if it has the size that it should have."""
        path = self._outputs.video(record)
        try:
            whole = record.output is not None and path.stat().st_size == record.output.size
        except OSError:
            return None
        return path if whole else None

    def _input(self, prompt: PromptRecord, role: str) -> tuple[Path, str] | None:
        """Return a file of the input and its digest, if it is still what it was."""
        sha256, path = prompt.prompt.inputs.get(role), prompt.files.get(role)
        if not sha256 or not path:
            return None
        place = self._project.root / path
        return (
            (place, sha256) if getattr(self._digests.file(place), "sha256", "") == sha256 else None
        )

    def _maps(self, record: Record) -> dict[str, tuple[Path, str]]:
        """Return the maps that an engine left, by control, with their digests."""
        folder = self._outputs.folder(record.run.id)
        try:
            listed = orjson.loads((folder / MANIFEST).read_bytes())["files"]
            names = {control: f"controls/{control}.mp4" for control in CONTROLS}
            return {
                control: (folder / name, str(listed[name]))
                for control, name in names.items()
                if name in listed and (folder / name).is_file()
            }
        except (KeyError, OSError, TypeError, ValueError):
            return {}

    # --- where they go ----------------------------------------------------------------------

    def _pictures(
        self,
        record: Record,
        wanted: Mapping[str, Wanted],
        shown: Mapping[Wanted, Shown | str],
        placed: dict[str, Path],
    ) -> Pictures:
        """Return the clips of a run; `placed` gets the files that they are, by their names."""
        clips: dict[str, Clip] = {}
        why = GONE if record.output else ""
        for name, each in wanted.items():
            found = shown[each]
            if isinstance(found, Shown):
                folder, stem = (
                    ("videos", record.run.id) if name == "output" else ("inputs", each.sha256[:24])
                )
                clips[name] = self._clip(found, folder, stem, placed)
            elif name == "output":
                why = found
        output = clips.pop("output", None)
        return Pictures(output, clips, "" if output else why)

    def _clip(
        self, shown: Shown, folder: str, stem: str, placed: dict[str, Path]
    ) -> dict[str, Any]:
        names = {
            "src": (f"{folder}/{stem}{shown.file.suffix}", shown.file),
            "poster": (f"posters/{stem}.jpg", shown.poster),
        }
        sources = {}
        for key, (name, path) in names.items():
            placed[name] = path
            sources[key] = _uri(path) if self._embed else name
        size = {"width": shown.width, "height": shown.height}
        return {
            **sources,
            "frames": shown.frames,
            "fps": shown.fps,
            **size,
            "image": shown.is_image,
        }

    def _place(self, placed: Mapping[str, Path]) -> None:
        for name, path in placed.items():
            target = self._folder / name
            if not (target.exists() and target.samefile(path)):
                atomic.link(path, target)
        for name, text in page.assets().items():
            atomic.write(self._folder / "assets" / name, text.encode())
        for folder in FOLDERS:
            for each in (self._folder / folder).glob("*"):
                if f"{folder}/{each.name}" not in placed:
                    each.unlink()


def _uri(path: Path) -> str:
    kind = "video/mp4" if path.suffix == ".mp4" else "image/jpeg"
    return f"data:{kind};base64,{b64encode(path.read_bytes()).decode()}"
