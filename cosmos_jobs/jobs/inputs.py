"""The files that a job names, read: videos, prompts, values of parameters; or their problems."""

# Paths stay strings here, as written: messages repeat them, and Path would tidy them.
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cosmos_jobs.artifacts.digests import Digests, is_pointer
from cosmos_jobs.core.diagnostics import Diagnostic, Locator, Unusable
from cosmos_jobs.core.job import FileValue, JobInputs, JobSpec, PromptSpec, VideoSource
from cosmos_jobs.core.placeholders import BadText, checked
from cosmos_jobs.core.run import IMAGE_SUFFIXES, InputFile
from cosmos_jobs.jobs import videos
from cosmos_jobs.jobs.paths import Paths
from cosmos_jobs.jobs.videos import Video, is_image

MAX_PROMPT_BYTES = 64 * 1024

_ASPECT_TOLERANCE = 0.01


def resolve(job: JobSpec, root: Path, digests: Digests) -> tuple[JobInputs, tuple[Diagnostic, ...]]:
    """Return the inputs of `job` and every problem they have; nothing is raised.

    Paths are taken relative to `root`. What has a problem is missing from the
    inputs. The texts of prompt files are in NFC, with LF line ends and without
    trailing white space.
    """
    reading = Reading(root, job.source, digests)
    videos = reading.videos(job.videos, job.video_glob)
    texts = reading.texts(job.prompts)
    return JobInputs(videos, texts, reading.values(job.files)), tuple(reading.problems)


class Reading:
    """Files as they are read; `source` knows where each is named."""

    def __init__(self, root: Path, source: Locator, digests: Digests) -> None:
        self._paths = Paths(os.fspath(root), source)
        self._digests = digests

    @property
    def problems(self) -> list[Diagnostic]:
        """What is wrong so far."""
        return self._paths.problems

    def videos(
        self, sources: Mapping[str, VideoSource], pattern: str | None = None
    ) -> dict[str, dict[str, InputFile]]:
        """Return the files by role of each video: of those named, and of those that match."""
        named = videos.named(self._paths, sources, pattern)
        self._digests.look(
            self._paths.full(path) for video in named.values() for path in video.files.values()
        )
        return {name: self._files(video) for name, video in named.items()}

    def texts(self, prompts: Iterable[PromptSpec]) -> dict[str, str]:
        """Return the text of each prompt file, by its path as written."""
        texts: dict[str, str] = {}
        for prompt in prompts:
            if prompt.file is None or prompt.file in texts:
                continue
            found = _prompt_text(self._paths.full(prompt.file))
            if isinstance(found, str):
                texts[prompt.file] = found
            else:
                self._paths.unusable(("prompts", prompt.name, "file"), prompt.file, found)
        return texts

    def values(self, values: Sequence[FileValue]) -> dict[str, InputFile]:
        """Return the files that are values of parameters, by path as written."""
        files: dict[str, InputFile] = {}
        media = {one.path: one.kind for one in values if one.kind != "tensor"}
        self._digests.look(map(self._paths.full, media))
        for one in values:
            found = self._value(one)
            if isinstance(found, Unusable):
                self._paths.unusable(one.at, one.path, found)
            else:
                files[one.path] = found
        return files

    def _value(self, value: FileValue) -> InputFile | Unusable:
        path = self._paths.full(value.path)
        if value.kind == "tensor":
            return _tensor(path, self._digests)
        found = self._digests.video(path)
        if value.kind == "image" and isinstance(found, InputFile) and not is_image(path):
            return _NO_IMAGE
        return found

    def _files(self, video: Video) -> dict[str, InputFile]:
        files: dict[str, InputFile] = {}
        for role, path in video.files.items():
            found = self._digests.video(self._paths.full(path))
            if isinstance(found, Unusable):
                self._paths.unusable(video.at(role), path, found)
            else:
                files[role] = found
        if "color" in files:
            for role in files:
                self._compare(video, role, files[role], files["color"])
        return files

    def _compare(self, video: Video, role: str, control: InputFile, color: InputFile) -> None:
        ours, theirs = video.files[role], video.files["color"]
        if control.frames != color.frames:
            self._paths.add(
                video.at(role),
                "frames-differ",
                f"`{ours}` has {_frames(control)}, but `{theirs}` has {_frames(color)}",
                hint="a control video shows the same frames as its color video",
            )
        aspects = control.width / control.height, color.width / color.height
        if abs(aspects[0] / aspects[1] - 1) > _ASPECT_TOLERANCE:
            self._paths.add(
                video.at(role),
                "aspect-differs",
                f"`{ours}` is {_pixels(control)}, but `{theirs}` is {_pixels(color)}",
                hint="a control video has the same aspect ratio as its color video",
            )


def _frames(file: InputFile) -> str:
    return "1 frame" if file.frames == 1 else f"{file.frames:,} frames"


def _pixels(file: InputFile) -> str:
    return f"{file.width}×{file.height} ({file.width / file.height:.2f}:1)"


_NO_IMAGE = Unusable(
    "not-an-image",
    f"is not an image ({', '.join(IMAGE_SUFFIXES)})",
    "take a frame of it: `ffmpeg -i FILE -frames:v 1 frame.png`",
)


def _tensor(path: str, digests: Digests) -> InputFile | Unusable:
    """Return a file of PyTorch, which is not opened: that would run what is in it."""
    found = digests.file(path)
    if isinstance(found, Unusable):
        return found
    if not path.endswith(".pt"):
        return Unusable("not-a-tensor", "does not end in .pt", "save the tensor by torch.save")
    if not found.size:
        return Unusable("empty-file", "is empty", "save the tensor by torch.save")
    if is_pointer(path):
        return Unusable("lfs-pointer", "is a Git LFS pointer, not a tensor", "run `git lfs pull`")
    return InputFile(Path(path), found.sha256, found.size, frames=0, width=0, height=0, fps=0.0)


def _prompt_text(path: str) -> str | Unusable:
    """Return the text of a prompt file, or why it has none."""
    try:
        content = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        return Unusable("missing-file", "does not exist")
    except OSError as error:
        return Unusable("unreadable-file", f"cannot be read: {error.strerror}")
    except ValueError:
        return Unusable("unreadable-file", "is not a possible file name")
    if isinstance(content, Unusable):
        return content
    try:
        text = checked(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Unusable(
            "not-utf-8", f"is not UTF-8: line {line} has a wrong byte", "save it as UTF-8"
        )
    return Unusable(text.code, text.what, text.hint) if isinstance(text, BadText) else text


def _content(path: str) -> bytes | Unusable:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a regular file"
        return Unusable("not-a-file", what)
    with open(path, "rb") as file:
        content = file.read(MAX_PROMPT_BYTES + 1)
    if len(content) > MAX_PROMPT_BYTES:
        limit = f"{MAX_PROMPT_BYTES // 1024} KiB"
        return Unusable("long-prompt", f"is longer than {limit}", "a prompt is a few sentences")
    return content
