"""The sha256 of input files and what they hold, with a cache keyed by their stat.

Reading every video at each plan would take minutes; a cache that is wrong once
would run the wrong thing. So an entry is used only if size, mtime, ctime, inode
and device are all as they were, and if the file had been left alone for a while
when it was hashed: git's rule for "racily clean" files
(git-scm.com/docs/racy-git). The cache can be deleted at any time.
"""

# Paths stay strings here: ten thousand Path objects cost more than their stats.
# ruff: noqa: PTH100, PTH110, PTH116, PTH123

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import orjson

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import NoPictureError, UnreadableError, VideoError
from cosmos_jobs.core import atomic
from cosmos_jobs.core.diagnostics import Unusable
from cosmos_jobs.core.run import IMAGE_SUFFIXES, InputFile

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a path, the bytes read so far and the bytes in all, one call at a time."""

GRANULARITY_NS = 2_000_000_000
"""The coarsest clock of a file system in use: FAT counts in 2 s."""

_VERSION = 2
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 3
_THREADS = min(4, os.cpu_count() or 1)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_Signature: TypeAlias = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FileDigest:
    """The content of a file: sha256 in hex, and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Footage:
    """What a video says about itself: frames, pixels, frames per second; an image is one frame."""

    frames: int
    width: int
    height: int
    fps: float


_NOT_ASKED = Unusable("not-asked", "has not been looked at as a video")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of a file; `video` is `_NOT_ASKED` until somebody wants to know."""

    signature: _Signature
    checked_ns: int
    sha256: str
    video: Footage | Unusable

    def settled(self) -> bool:
        """Return whether a later change must show in the signature."""
        _, mtime_ns, ctime_ns, _, _ = self.signature
        return max(mtime_ns, ctime_ns) + GRANULARITY_NS < self.checked_ns


class Digests:
    """Digests of files, as of now: each path is looked at once in the life of this object.

    `cache` is the file that remembers them between processes; a damaged one is
    ignored. `clock` gives nanoseconds since 1970, by the clock of the file system.
    """

    def __init__(
        self,
        cache: Path,
        clock: Callable[[], int] = time.time_ns,
        progress: Progress | None = None,
    ) -> None:
        self._cache = cache
        self._reader = _Reader(clock, progress)
        self._remembered = _load(cache)
        self._seen: dict[str, _Entry | Unusable] = {}
        self._changed = False

    def file(self, path: str | os.PathLike[str]) -> FileDigest | Unusable:
        """Return the digest of any regular file, or why it cannot be read."""
        found = self._look(_key(path), video=False)
        if isinstance(found, Unusable):
            return found
        return FileDigest(found.sha256, found.signature[0])

    def video(self, path: str | os.PathLike[str]) -> InputFile | Unusable:
        """Return the digest, frames, pixels and fps of a video or an image, or why it is none."""
        found = self._look(_key(path), video=True)
        if isinstance(found, Unusable):
            return found
        if isinstance(found.video, Unusable):
            return found.video
        size, video = found.signature[0], found.video
        return InputFile(
            Path(path), found.sha256, size, video.frames, video.width, video.height, video.fps
        )

    def look(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Look at many videos before `video` asks for each, unknown ones in parallel."""
        keys = dict.fromkeys(_key(path) for path in paths)
        unknown = [key for key in keys if key not in self._seen and not self._recall(key)]
        if len(unknown) < 2:
            return
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for key, found in zip(unknown, pool.map(self._reader.read, unknown), strict=True):
                self._learn(key, found)
        finally:
            # After Ctrl-C nobody wants to wait for the rest of a large file.
            self._reader.stop.set()
            pool.shutdown(cancel_futures=True)
            self._reader.stop.clear()

    def save(self) -> None:
        """Write the cache if something was learnt, without the files that are gone.

        A cache that cannot be written is no reason to fail: the next process
        reads the files again.
        """
        if not self._changed:
            return
        with contextlib.suppress(OSError):
            atomic.write(self._cache, orjson.dumps({"version": _VERSION, "files": self._entries()}))
            self._changed = False

    def _entries(self) -> dict[str, object]:
        entries = {key: kept for key, kept in self._remembered.items() if self._exists(key)}
        for key, entry in self._seen.items():
            if isinstance(entry, _Entry) and _is_text(key):
                entries[key] = _packed(entry)
        return entries

    def _exists(self, key: str) -> bool:
        return key not in self._seen and os.path.exists(key)

    def _look(self, key: str, *, video: bool) -> _Entry | Unusable:
        found = self._seen.get(key) or self._recall(key)
        if found is None or (video and isinstance(found, _Entry) and found.video == _NOT_ASKED):
            found = self._reader.read(key, video=video)
            self._learn(key, found)
        return found

    def _learn(self, key: str, found: _Entry | Unusable) -> None:
        self._seen[key] = found
        self._changed = True

    def _recall(self, key: str) -> _Entry | None:
        """Return the remembered entry of a file if it still holds: one stat, no read."""
        entry = _unpacked(self._remembered.get(key))
        if entry is None or not entry.settled():
            return None
        try:
            now = os.stat(key)
        except (OSError, ValueError):
            return None
        if _signature(now) != entry.signature:
            return None
        self._seen[key] = entry
        return entry


# --- reading a file -----------------------------------------------------------------------


class _Reader:
    """Reads files; safe to call from several threads."""

    def __init__(self, clock: Callable[[], int], progress: Progress | None) -> None:
        self.stop = threading.Event()
        self._clock = clock
        self._progress = progress
        self._turn = threading.Lock()

    def read(self, path: str, *, video: bool = True) -> _Entry | Unusable:
        """Return what `path` holds now; a file that changes meanwhile is read again."""
        try:
            for _ in range(_ATTEMPTS):
                problem = _unreadable_kind(os.stat(path).st_mode)
                if problem is not None:
                    return problem
                entry = self._read_once(path, video=video)
                if entry.signature == _signature(os.stat(path)):
                    return entry
        except (OSError, ValueError) as error:
            return _unreadable(error)
        return Unusable(
            "changing-file", "keeps changing while it is read", "wait until it is complete"
        )

    def _read_once(self, path: str, *, video: bool) -> _Entry:
        # The time is taken before the stat: a change after it must not look settled.
        checked_ns = self._clock()
        with open(path, "rb", buffering=0) as file:
            signature = _signature(os.fstat(file.fileno()))
            sha256 = hashlib.sha256()
            buffer = memoryview(bytearray(_CHUNK_BYTES))
            done, head = 0, b""
            # A file that grows as fast as it is read would never end.
            while done <= signature[0] and (count := file.readinto(buffer)):
                if self.stop.is_set():
                    raise InterruptedError
                head = head or bytes(buffer[: len(_LFS_POINTER)])
                sha256.update(buffer[:count])
                done += count
                self._tell(path, done, signature[0])
        probed = _probe(path, head) if video else _NOT_ASKED
        return _Entry(signature, checked_ns, sha256.hexdigest(), probed)

    def _tell(self, path: str, done: int, size: int) -> None:
        if self._progress is not None:
            with self._turn:
                self._progress(path, done, size)


def probe(path: Path) -> Footage | str:
    """Return what a video or image holds, or the problem, as the end of a sentence about it."""
    try:
        with path.open("rb") as file:
            found = _probe(os.fspath(path), file.read(len(_LFS_POINTER)))
    except OSError as error:
        found = _unreadable(error)
    return found.what if isinstance(found, Unusable) else found


def is_pointer(path: str) -> bool:
    """Say whether a file only stands for one that Git LFS keeps elsewhere."""
    with open(path, "rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def _signature(status: os.stat_result) -> _Signature:
    return (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
    )


def _unreadable_kind(mode: int) -> Unusable | None:
    if stat.S_ISDIR(mode):
        return Unusable("not-a-file", "is a folder, not a file")
    if not stat.S_ISREG(mode):
        return Unusable("not-a-file", "is not a regular file")
    return None


def _unreadable(error: OSError | ValueError) -> Unusable:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unusable("missing-file", "does not exist")
    if isinstance(error, OSError):
        return Unusable("unreadable-file", f"cannot be read: {error.strerror}")
    return Unusable("unreadable-file", "is not a possible file name")


_NO_IMAGE = Unusable(
    "not-an-image",
    "is a video, not an image",
    "give the file the name of what it is, such as color.mp4",
)
_RENDER = "render or copy it again; `ffprobe FILE` says what is in it"


def _probe(path: str, head: bytes) -> Footage | Unusable:
    """Return frames, width, height and fps, or why `path`, which starts with `head`, has none."""
    image = media.is_image(Path(path))
    kind = "an image" if image else "a video"
    if not head:
        return Unusable("empty-file", "is empty", _RENDER)
    if head.startswith(_LFS_POINTER):
        return Unusable("lfs-pointer", f"is a Git LFS pointer, not {kind}", "run `git lfs pull`")
    try:
        return _image(Path(path)) if image else _video(Path(path))
    except VideoError as error:
        reason = error.reason if isinstance(error, UnreadableError) else f"it {error}"
        what = f"is not {kind} that can be read ({reason})"
        return Unusable(f"not-{kind.replace(' ', '-')}", what, _RENDER)


def _image(path: Path) -> Footage | Unusable:
    try:
        seen = media.look(path)
    except NoPictureError:
        return _NO_IMAGE
    if not seen.is_picture:
        return _NO_IMAGE
    # Engines are told the size before turning; players, previews and pages turn it by EXIF.
    width, height = media.first(path, strict=False).size
    return Footage(1, width, height, float(seen.rate or 1))


def _video(path: Path) -> Footage | Unusable:
    """Return what counts as a video's length: all packets with data, whether shown or not."""
    try:
        seen = media.look(path)
    except NoPictureError:
        return Unusable("no-video-stream", "has no video stream")
    if seen.is_picture:
        hint = f"the names of images end in {', '.join(IMAGE_SUFFIXES)}"
        return Unusable("not-a-video", "is a picture, not a video", hint)
    frames, declared = seen.packets.filled, seen.packets.declared
    # The packets are counted too: a file that was cut still says how many it should have.
    if frames < declared:
        what = f"is cut: {frames} of its {declared} frames are there"
        return Unusable("cut-video", what, _RENDER)
    if not frames or not seen.rate or not all(seen.stored):
        return Unusable("no-frames", "has no frames")
    return Footage(frames, *seen.stored, float(seen.rate))


# --- the cache ----------------------------------------------------------------------------


def _load(cache: Path) -> Mapping[str, object]:
    """Return the packed entries of the cache by path; none if it is not ours."""
    try:
        document = orjson.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        return {}
    entries = document.get("files")
    return entries if isinstance(entries, dict) else {}


def _packed(entry: _Entry) -> list[object]:
    match entry.video:
        case Unusable() as problem:
            video: list[object] = [problem.code, problem.what, problem.hint]
        case Footage() as footage:
            video = [footage.frames, footage.width, footage.height, footage.fps]
    return [*entry.signature, entry.checked_ns, entry.sha256, video]


def _unpacked(packed: object) -> _Entry | None:
    """Return the entry that `_packed` wrote, None for anything else."""
    if not isinstance(packed, list) or len(packed) != 8:
        return None
    *numbers, sha256, video = packed
    size, mtime_ns, ctime_ns, inode, device, checked_ns = numbers
    if not all(isinstance(number, int) for number in numbers) or not isinstance(sha256, str):
        return None
    found = _unpacked_video(video)
    if found is None:
        return None
    return _Entry((size, mtime_ns, ctime_ns, inode, device), checked_ns, sha256, found)


def _unpacked_video(video: object) -> Footage | Unusable | None:
    match video:
        case [int(frames), int(width), int(height), float(fps)]:
            return Footage(frames, width, height, fps)
        case [str(code), str(what), str(hint)]:
            return Unusable(code, what, hint)
        case _:
            return None


def _key(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name if name.startswith(os.sep) else os.path.abspath(name)


def _is_text(key: str) -> bool:
    """Return whether JSON can hold `key`: a file name may have bytes that are no UTF-8."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
