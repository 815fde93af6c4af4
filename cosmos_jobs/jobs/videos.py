"""Which files the videos of a job have: listed, by their roles in a folder, or by a glob."""

# Paths stay strings here, as written: messages repeat them, and Path would tidy them.
# ruff: noqa: PTH113, PTH117, PTH118, PTH119, PTH120, PTH207, PTH208

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cosmos_jobs.core.diagnostics import Severity, Where
from cosmos_jobs.core.job import VideoSource
from cosmos_jobs.core.run import IMAGE_SUFFIXES, ROLES
from cosmos_jobs.jobs.paths import HOME_HINT, Paths, holds, listed, listing

_VIDEO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Video:
    """A video as named: where the job says so, and its files by role, as written."""

    where: Where
    files: Mapping[str, str]
    one_by_one: bool = False

    def at(self, role: str) -> Where:
        """Return where the job says which file has a role."""
        return (*self.where, role) if self.one_by_one else self.where


def named(
    paths: Paths, sources: Mapping[str, VideoSource], pattern: str | None
) -> dict[str, Video]:
    """Return the videos of `sources` and those that match `pattern`, by name.

    Those are missing whose files cannot be told.
    """
    return _Finder(paths, sources).videos(pattern)


class _Finder:
    """Finds the files of videos; `sources` are those that have a name."""

    def __init__(self, paths: Paths, sources: Mapping[str, VideoSource]) -> None:
        self._paths = paths
        self._sources = sources

    def videos(self, pattern: str | None) -> dict[str, Video]:
        """Return each video that is named or matched."""
        named: dict[str, Video] = {}
        for name, source in self._sources.items():
            video = self._named(("videos", name), source)
            if video is not None:
                named[name] = video
        if pattern is not None:
            self._add_matches(pattern, named)
        return named

    def _named(self, where: Where, source: VideoSource) -> Video | None:
        if source.folder is not None:
            return self._folder(where, source.folder)
        if "color" not in source.files:
            self._paths.add(
                where, "no-color-video", "a video needs a `color` file", hint="add `color:`"
            )
            return None
        files = {role: source.files[role] for role in ROLES if role in source.files}
        return Video(where, files, one_by_one=True)

    def _folder(self, where: Where, folder: str) -> Video | None:
        content = self._content(where, folder)
        if content is None:
            return None
        if not _has_color(content):
            self._no_color(where, folder, content)
            return None
        return self._video(where, folder, content)

    def _video(self, where: Where, folder: str, content: set[str]) -> Video | None:
        """Return the video in a folder, whose files are named for their roles."""
        names = {role: _named_for(role, content) for role in ROLES}
        for role, found in names.items():
            if len(found) > 1:
                message = f"folder `{folder}` has {listed(found)}: which is the {role}?"
                hint = "remove one of them, or give the files one by one: `{color: …}`"
                self._paths.add(where, "several-files", message, hint=hint)
        if any(len(found) > 1 for found in names.values()):
            return None
        files = {role: os.path.join(folder, found[0]) for role, found in names.items() if found}
        return Video(where, files)

    def _content(self, where: Where, folder: str) -> set[str] | None:
        path = self._paths.full(folder)
        try:
            return set(os.listdir(path))
        except FileNotFoundError:
            self._paths.add(
                where,
                "missing-folder",
                f"folder `{folder}` does not exist",
                hint=self._paths.suggestion(folder),
            )
        except NotADirectoryError:
            self._not_a_folder(where, folder)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a possible file name"
            self._paths.add(
                where, "unreadable-folder", f"folder `{folder}` cannot be read: {reason}"
            )
        return None

    def _not_a_folder(self, where: Where, folder: str) -> None:
        if not os.path.isfile(self._paths.full(folder)):
            message = f"folder `{folder}` does not exist"
            self._paths.add(where, "missing-folder", message, hint=self._paths.suggestion(folder))
            return
        self._paths.add(
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
            suffix = Path(name).suffix if is_image(name) else ".mp4"
            hint = f"did you mean to name `{name}` color{suffix}?"
        message = f"folder `{folder}` has no color.mp4"
        self._paths.add(where, "no-color-video", message, hint=hint, note=holds(folder, content))

    def _add_matches(self, pattern: str, named: dict[str, Video]) -> None:
        where: Where = ("videos", "glob")
        if os.path.isabs(pattern):
            self._paths.add(
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
            found = glob.glob(pattern, root_dir=self._paths.root, recursive=True)
        except (OSError, ValueError):
            return {}
        folders = sorted({os.path.normpath(match) for match in found}, key=os.fsencode)
        listed = ((folder, listing(self._paths.full(folder))) for folder in folders)
        return {folder: content for folder, content in listed if content is not None}

    def _add_match(
        self, where: Where, folder: str, content: set[str], named: dict[str, Video]
    ) -> None:
        name = os.path.basename(folder)
        if not _VIDEO_NAME.fullmatch(name):
            self._paths.add(
                where,
                "bad-video-name",
                f"folder `{folder}` cannot name a video: only A-Z a-z 0-9 . _ - are allowed,"
                " starting with a letter or a digit",
                hint="rename the folder, or list it under a name: `name: path`",
            )
        elif name in named or name in self._sources:
            self._paths.add(
                where,
                "duplicate-video",
                f"two videos are named `{name}`: {self._origin(name, named)} and `{folder}`",
                hint="list one of them under another name, and make the glob narrower",
            )
        elif video := self._video(where, folder, content):
            named[name] = video

    def _origin(self, name: str, named: Mapping[str, Video]) -> str:
        if name in self._sources:
            return "the one listed by name"
        return f"`{os.path.dirname(named[name].files['color'])}`"

    def _report_skipped(self, where: Where, folders: list[str]) -> None:
        if folders:
            self._paths.add(
                where,
                "skipped-folder",
                f"skipped, for want of a color.mp4 or color.png: {listed(folders)}",
                severity=Severity.WARNING,
            )

    def _no_match(self, where: Where, pattern: str) -> None:
        fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        base = os.path.dirname(fixed) or "."
        content = listing(self._paths.full(base))
        if pattern.startswith("~"):
            hint = HOME_HINT
        elif content is None:
            hint = self._paths.suggestion(base)
        else:
            hint = holds(base, content)
        message = f"no folder with a color.mp4 or color.png matches `{pattern}`"
        self._paths.add(where, "no-match", message, hint=hint)


def _names(role: str) -> tuple[str, ...]:
    return tuple(f"{role}{suffix}" for suffix in (".mp4", *IMAGE_SUFFIXES))


def _named_for(role: str, content: set[str]) -> list[str]:
    return [name for name in _names(role) if name in content]


def _has_color(content: set[str]) -> bool:
    return bool(_named_for("color", content))


def is_image(path: str) -> bool:
    """Say whether a file is an image, by its name."""
    return path.lower().endswith(IMAGE_SUFFIXES)
