"""The files that a job names, read: videos, prompts, values of parameters; or their problems."""

# Paths stay strings here, as written: messages repeat them, and Path would tidy them.
# ruff: noqa: PTH112, PTH113, PTH116, PTH117, PTH118, PTH119, PTH120, PTH123, PTH207, PTH208

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from cosmos_jobs.artifacts.digests import Digests, is_pointer
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Unusable, Where
from cosmos_jobs.core.job import FileValue, JobInputs, JobSpec, VideoSource
from cosmos_jobs.core.placeholders import checked
from cosmos_jobs.core.run import IMAGE_SUFFIXES, ROLES, InputFile

MAX_PROMPT_BYTES = 64 * 1024

_VIDEO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ASPECT_TOLERANCE = 0.01
_SHOWN = 8


def resolve(job: JobSpec, root: Path, digests: Digests) -> tuple[JobInputs, tuple[Diagnostic, ...]]:
    """Return the inputs of `job` and every problem they have; nothing is raised.

    Paths are taken relative to `root`. What has a problem is missing from the
    inputs. The texts of prompt files are in NFC, with LF line ends and without
    trailing white space.
    """
    reading = _Reading(job, os.fspath(root), digests)
    videos = reading.videos()
    texts = reading.texts()
    files = reading.values()
    return JobInputs(videos, texts, files), tuple(reading.problems)


@dataclass(frozen=True, slots=True)
class _Video:
    """A video as named: where the job says so, and its files by role, as written."""

    where: Where
    files: Mapping[str, str]
    one_by_one: bool = False

    def at(self, role: str) -> Where:
        return (*self.where, role) if self.one_by_one else self.where


@dataclass(slots=True)
class _Reading:
    """One job being read; `problems` collects what is found wrong."""

    job: JobSpec
    root: str
    digests: Digests
    problems: list[Diagnostic] = field(default_factory=list)

    def videos(self) -> dict[str, dict[str, InputFile]]:
        """Return the files of each video by role."""
        named: dict[str, _Video] = {}
        for name, source in self.job.videos.items():
            video = self._named(("videos", name), source)
            if video is not None:
                named[name] = video
        self._add_matches(named)
        self.digests.look(self._full(path) for v in named.values() for path in v.files.values())
        return {name: self._files(video) for name, video in named.items()}

    def texts(self) -> dict[str, str]:
        """Return the text of each prompt file, by its path as written."""
        texts: dict[str, str] = {}
        for prompt in self.job.prompts:
            if prompt.file is None or prompt.file in texts:
                continue
            found = _prompt_text(self._full(prompt.file))
            if isinstance(found, str):
                texts[prompt.file] = found
            else:
                self._unusable(("prompts", prompt.name, "file"), prompt.file, found)
        return texts

    def values(self) -> dict[str, InputFile]:
        """Return the files that are values of parameters, by path as written."""
        files: dict[str, InputFile] = {}
        named = {one.path: one.kind for one in self.job.files}
        self.digests.look(self._full(path) for path, kind in named.items() if kind != "tensor")
        for one in self.job.files:
            found = self._value(one)
            if isinstance(found, Unusable):
                self._unusable(one.at, one.path, found)
            else:
                files[one.path] = found
        return files

    def _value(self, value: FileValue) -> InputFile | Unusable:
        path = self._full(value.path)
        if value.kind == "tensor":
            return _tensor(path, self.digests)
        found = self.digests.video(path)
        if value.kind == "image" and isinstance(found, InputFile) and not _is_image(path):
            return _NO_IMAGE
        return found

    # --- which files a video has ---

    def _named(self, where: Where, source: VideoSource) -> _Video | None:
        if source.folder is not None:
            return self._folder(where, source.folder)
        if "color" not in source.files:
            self._add(where, "no-color-video", "a video needs a `color` file", hint="add `color:`")
            return None
        files = {role: source.files[role] for role in ROLES if role in source.files}
        return _Video(where, files, one_by_one=True)

    def _folder(self, where: Where, folder: str) -> _Video | None:
        content = self._content(where, folder)
        if content is None:
            return None
        if not _has_color(content):
            self._no_color(where, folder, content)
            return None
        return self._video(where, folder, content)

    def _video(self, where: Where, folder: str, content: set[str]) -> _Video | None:
        """Return the video in a folder, whose files are named for their roles."""
        names = {role: _named_for(role, content) for role in ROLES}
        for role, found in names.items():
            if len(found) > 1:
                message = f"folder `{folder}` has {_listed(found)}: which is the {role}?"
                hint = "remove one of them, or give the files one by one: `{color: …}`"
                self._add(where, "several-files", message, hint=hint)
        if any(len(found) > 1 for found in names.values()):
            return None
        files = {role: os.path.join(folder, found[0]) for role, found in names.items() if found}
        return _Video(where, files)

    def _content(self, where: Where, folder: str) -> set[str] | None:
        path = self._full(folder)
        try:
            return set(os.listdir(path))
        except FileNotFoundError:
            self._add(
                where,
                "missing-folder",
                f"folder `{folder}` does not exist",
                hint=self._suggestion(folder),
            )
        except NotADirectoryError:
            self._not_a_folder(where, folder)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a possible file name"
            self._add(where, "unreadable-folder", f"folder `{folder}` cannot be read: {reason}")
        return None

    def _not_a_folder(self, where: Where, folder: str) -> None:
        if not os.path.isfile(self._full(folder)):
            message = f"folder `{folder}` does not exist"
            self._add(where, "missing-folder", message, hint=self._suggestion(folder))
            return
        self._add(
            where,
            "not-a-folder",
            f"`{folder}` is a file, not a folder",
            hint=f"for a single file write `{{color: {folder}}}`",
        )

    def _no_color(self, where: Where, folder: str, content: set[str]) -> None:
        hint = "the video itself must be named color.mp4, an image color.png"
        stems = {Path(name).stem: name for name in sorted(content)}
        if close := get_close_matches("color", stems, n=1, cutoff=0.7):
            name = stems[close[0]]
            suffix = Path(name).suffix if _is_image(name) else ".mp4"
            hint = f"did you mean to name `{name}` color{suffix}?"
        message = f"folder `{folder}` has no color.mp4"
        self._add(where, "no-color-video", message, hint=hint, note=_holds(folder, content))

    # --- videos: {glob: …} ---

    def _add_matches(self, named: dict[str, _Video]) -> None:
        pattern = self.job.video_glob
        if pattern is None:
            return
        where: Where = ("videos", "glob")
        if os.path.isabs(pattern):
            self._add(
                where,
                "absolute-glob",
                "a glob must be relative to the project root",
                hint="name folders elsewhere one by one, as `name: /path/to/folder`",
            )
            return
        folders = self._matches(pattern)
        usable = {f: c for f, c in folders.items() if _has_color(c)}
        self._report_skipped(where, [folder for folder in folders if folder not in usable])
        if not usable:
            self._no_match(where, pattern)
        for folder, content in usable.items():
            self._add_match(where, folder, content, named)

    def _matches(self, pattern: str) -> dict[str, set[str]]:
        """Return the content of each folder that matches, in the order of their bytes."""
        try:
            found = glob.glob(pattern, root_dir=self.root, recursive=True)
        except (OSError, ValueError):
            return {}
        folders = sorted({os.path.normpath(match) for match in found}, key=os.fsencode)
        listed = ((folder, _listing(self._full(folder))) for folder in folders)
        return {folder: content for folder, content in listed if content is not None}

    def _add_match(
        self, where: Where, folder: str, content: set[str], named: dict[str, _Video]
    ) -> None:
        name = os.path.basename(folder)
        if not _VIDEO_NAME.fullmatch(name):
            self._add(
                where,
                "bad-video-name",
                f"folder `{folder}` cannot name a video: only A-Z a-z 0-9 . _ - are allowed,"
                " starting with a letter or a digit",
                hint="rename the folder, or list it under a name: `name: path`",
            )
        elif name in named or name in self.job.videos:
            self._add(
                where,
                "duplicate-video",
                f"two videos are named `{name}`: {self._origin(name, named)} and `{folder}`",
                hint="list one of them under another name, and make the glob narrower",
            )
        elif video := self._video(where, folder, content):
            named[name] = video

    def _origin(self, name: str, named: Mapping[str, _Video]) -> str:
        if name in self.job.videos:
            return "the one listed by name"
        return f"`{os.path.dirname(named[name].files['color'])}`"

    def _report_skipped(self, where: Where, folders: list[str]) -> None:
        if folders:
            self._add(
                where,
                "skipped-folder",
                f"skipped, for want of a color.mp4 or color.png: {_listed(folders)}",
                severity=Severity.WARNING,
            )

    def _no_match(self, where: Where, pattern: str) -> None:
        fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        base = os.path.dirname(fixed) or "."
        content = _listing(self._full(base))
        if pattern.startswith("~"):
            hint = _HOME_HINT
        elif content is None:
            hint = self._suggestion(base)
        else:
            hint = _holds(base, content)
        message = f"no folder with a color.mp4 or color.png matches `{pattern}`"
        self._add(where, "no-match", message, hint=hint)

    # --- what the files hold ---

    def _files(self, video: _Video) -> dict[str, InputFile]:
        files: dict[str, InputFile] = {}
        for role, path in video.files.items():
            found = self.digests.video(self._full(path))
            if isinstance(found, Unusable):
                self._unusable(video.at(role), path, found)
            else:
                files[role] = found
        if "color" in files:
            for role in files:
                self._compare(video, role, files[role], files["color"])
        return files

    def _compare(self, video: _Video, role: str, control: InputFile, color: InputFile) -> None:
        ours, theirs = video.files[role], video.files["color"]
        if control.frames != color.frames:
            self._add(
                video.at(role),
                "frames-differ",
                f"`{ours}` has {_frames(control)}, but `{theirs}` has {_frames(color)}",
                hint="a control video shows the same frames as its color video",
            )
        aspects = control.width / control.height, color.width / color.height
        if abs(aspects[0] / aspects[1] - 1) > _ASPECT_TOLERANCE:
            self._add(
                video.at(role),
                "aspect-differs",
                f"`{ours}` is {_pixels(control)}, but `{theirs}` is {_pixels(color)}",
                hint="a control video has the same aspect ratio as its color video",
            )

    # --- saying so ---

    def _unusable(self, where: Where, path: str, problem: Unusable) -> None:
        hint = problem.hint
        if problem.code == "missing-file":
            hint = self._suggestion(path)
        self._add(where, problem.code, f"`{path}` {problem.what}", hint=hint)

    def _add(
        self,
        where: Where,
        code: str,
        message: str,
        *,
        hint: str = "",
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        source = self.job.source
        self.problems.append(
            source.diagnostic(where, code, message, hint=hint, note=note, severity=severity)
        )

    def _full(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _suggestion(self, path: str) -> str:
        """Return a hint for a path that does not exist: names close to its first wrong part."""
        if path.startswith("~"):
            return _HOME_HINT
        parent, missing = os.path.split(os.path.normpath(path))
        while parent not in ("", os.sep) and not os.path.isdir(self._full(parent)):
            parent, missing = os.path.split(parent)
        content = _listing(self._full(parent))
        if content is None:
            return ""
        close = get_close_matches(missing, sorted(content), n=1)
        if close:
            return f"did you mean `{os.path.join(parent, close[0])}`?"
        return _holds(parent or ".", content)


_HOME_HINT = "`~` is not expanded: write the path from the project root, or from /"


def _names(role: str) -> tuple[str, ...]:
    return tuple(f"{role}{suffix}" for suffix in (".mp4", *IMAGE_SUFFIXES))


def _named_for(role: str, content: set[str]) -> list[str]:
    return [name for name in _names(role) if name in content]


def _has_color(content: set[str]) -> bool:
    return bool(_named_for("color", content))


def _listing(folder: str) -> set[str] | None:
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):
        return None


def _holds(folder: str, content: Iterable[str]) -> str:
    visible = sorted(name for name in content if not name.startswith("."))
    return f"`{folder}` holds {_listed(visible)}" if visible else f"`{folder}` is empty"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _frames(file: InputFile) -> str:
    return "1 frame" if file.frames == 1 else f"{file.frames:,} frames"


def _pixels(file: InputFile) -> str:
    return f"{file.width}×{file.height} ({file.width / file.height:.2f}:1)"


# --- files that are values of parameters -------------------------------------------------

_NO_IMAGE = Unusable(
    "not-an-image",
    f"is not an image ({', '.join(IMAGE_SUFFIXES)})",
    "take a frame of it: `ffmpeg -i FILE -frames:v 1 frame.png`",
)


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)


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
    return InputFile(Path(path), found.sha256, found.size, 0, 0, 0, 0.0)


# --- prompt files -------------------------------------------------------------------------


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
        return checked(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Unusable(
            "not-utf-8", f"is not UTF-8: line {line} has a wrong byte", "save it as UTF-8"
        )


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
