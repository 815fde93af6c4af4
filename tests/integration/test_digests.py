"""File digests and the cache that may never be wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import orjson
import pytest

from cosmos_jobs.artifacts.digests import Digests, FileDigest, Footage, probe
from cosmos_jobs.core.diagnostics import Unusable
from cosmos_jobs.core.run import InputFile

LFS_POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


def write_video(path: Path, frames: int = 3, width: int = 64, height: int = 36) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.full((height, width, 3), 40 * number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def faststart(source: Path, target: Path) -> int:
    """Copy a video with its index first, so that a cut leaves the index whole; return its size."""
    with (
        av.open(str(source)) as old,
        av.open(str(target), "w", container_options={"movflags": "+faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return target.stat().st_size


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def later() -> int:
    """A clock that runs an hour ahead: everything was left alone for long."""
    return time.time_ns() + 3600 * 10**9


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Reads:
    """Progress that counts the files which are read."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, path: str, done: int, size: int) -> None:
        self.told.append((path, done, size))

    @property
    def files(self) -> set[str]:
        return {Path(path).name for path, _, _ in self.told}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "project/.cosmos-jobs/cache/digests.json"


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may read everything: for the length of a test be nobody."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def remember(cache: Path, *paths: Path, clock: Callable[[], int] = later) -> None:
    digests = Digests(cache, clock)
    for path in paths:
        digests.video(path)
    digests.save()


def test_a_video_is_known_by_content_and_footage(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4", frames=5, width=96, height=64)

    found = Digests(cache).video(path)

    assert found == InputFile(path, sha256(path), path.stat().st_size, 5, 96, 64, 24.0)


def test_a_video_that_was_cut_is_told_whatever_its_header_says(tmp_path: Path, cache: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", frames=48)
    cut = tmp_path / "cut.mp4"
    size = faststart(whole, cut)
    with cut.open("r+b") as file:
        file.truncate(size // 2)

    found = Digests(cache).video(cut)

    assert isinstance(found, Unusable)
    assert found.code == "cut-video"
    assert "of its 48 frames are there" in found.what


def test_any_file_has_a_digest(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"x" * 3_000_000)

    found = Digests(cache).file(path)

    assert found == FileDigest(sha256(path), 3_000_000)


def test_a_known_video_is_not_read_again(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    remember(cache, path)

    reads = Reads()
    found = Digests(cache, progress=reads).video(path)

    assert isinstance(found, InputFile)
    assert reads.told == []


def test_a_known_problem_is_not_read_again(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "color.mp4"
    path.write_bytes(LFS_POINTER)
    remember(cache, path)

    reads = Reads()
    found = Digests(cache, progress=reads).video(path)

    assert isinstance(found, Unusable)
    assert found.code == "lfs-pointer"
    assert reads.told == []


def test_known_videos_are_looked_at_without_loading_ffmpeg(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    remember(cache, path)

    program = (
        "import sys; from pathlib import Path; from cosmos_jobs.artifacts.digests import Digests;"
        "d = Digests(Path(sys.argv[1])); d.look([sys.argv[2]]); v = d.video(sys.argv[2]);"
        "print(v.frames, 'av' in sys.modules)"
    )
    told = subprocess.check_output([sys.executable, "-c", program, cache, path], text=True)

    assert told.split() == ["3", "False"]


def test_a_digest_first_and_the_footage_later_are_both_right(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    digests = Digests(cache, later)
    digests.file(path)
    digests.save()

    found = Digests(cache).video(path)

    assert isinstance(found, InputFile)
    assert found.frames == 3


def test_another_size_is_noticed(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4", frames=3)
    remember(cache, path)
    write_video(path, frames=9)

    found = Digests(cache).video(path)

    assert isinstance(found, InputFile)
    assert (found.frames, found.sha256) == (9, sha256(path))


def test_the_same_size_and_mtime_do_not_hide_a_change(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "clip.bin"
    path.write_bytes(b"one")
    was = path.stat()
    remember(cache, path)
    path.write_bytes(b"two")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))

    found = Digests(cache).file(path)

    assert path.stat().st_mtime_ns == was.st_mtime_ns
    assert found == FileDigest(sha256(path), 3)


def test_a_file_put_in_place_of_another_is_noticed(tmp_path: Path, cache: Path) -> None:
    path, other = tmp_path / "clip.bin", tmp_path / "other.bin"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    was = path.stat()
    remember(cache, path)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(path)

    found = Digests(cache).file(path)

    assert found == FileDigest(sha256(path), 3)


def test_a_file_hashed_right_after_a_change_is_hashed_again(tmp_path: Path, cache: Path) -> None:
    # A coarse clock gives the second write the time of the first: forge the
    # cache that this would leave, with a stat that matches the new content.
    path = tmp_path / "clip.bin"
    path.write_bytes(b"one")
    remember(cache, path, clock=time.time_ns)
    path.write_bytes(b"two")
    document = orjson.loads(cache.read_bytes())
    now = path.stat()
    entry = document["files"][str(path)]
    entry[:5] = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev]
    entry[5] = now.st_ctime_ns + 1_900_000_000
    cache.write_bytes(orjson.dumps(document))

    found = Digests(cache).file(path)

    assert found == FileDigest(sha256(path), 3)


def test_a_path_is_looked_at_once(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    reads = Reads()
    digests = Digests(cache, progress=reads)

    results = [digests.video(path) for _ in range(3)]

    assert len(set(map(str, results))) == 1
    assert len(reads.told) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff garbage",
        b"[]",
        b'{"version": 99, "files": {}}',
        b'{"version": 1, "files": []}',
        b'{"version": 1, "files": {"PATH": [1, 2, 3]}}',
        b'{"version": 1, "files": {"PATH": ["a", "b", "c", "d", "e", "f", "g", "h"]}}',
        b'{"version": 1, "files": {"PATH": [1, 2, 3, 4, 5, 6, "x", [1, "2", 3, 4]]}}',
    ],
)
def test_a_damaged_cache_is_ignored_and_replaced(
    tmp_path: Path, cache: Path, content: bytes
) -> None:
    path = write_video(tmp_path / "color.mp4")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content.replace(b"PATH", os.fsencode(path)))

    digests = Digests(cache, later)
    found = digests.video(path)
    digests.save()

    assert isinstance(found, InputFile)
    assert list(orjson.loads(cache.read_bytes())["files"]) == [str(path)]


def test_nothing_new_writes_nothing(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    remember(cache, path)
    before = cache.stat()

    remember(cache, path)

    assert cache.stat() == before


def test_files_that_are_gone_leave_the_cache(tmp_path: Path, cache: Path) -> None:
    gone, kept, new = (write_video(tmp_path / f"{name}.mp4") for name in ("gone", "kept", "new"))
    remember(cache, gone, kept)
    gone.unlink()

    remember(cache, new)

    assert sorted(orjson.loads(cache.read_bytes())["files"]) == sorted([str(kept), str(new)])


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "color.mp4")
    (tmp_path / "file").write_text("in the way of a folder")

    remember(tmp_path / "file/digests.json", path)

    assert (tmp_path / "file").read_text() == "in the way of a folder"


def test_a_name_that_is_not_utf8_is_hashed_but_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.bin")
    path.write_bytes(b"one")

    digests = Digests(cache, later)
    found = digests.file(path)
    digests.save()

    assert found == FileDigest(hashlib.sha256(b"one").hexdigest(), 3)
    assert orjson.loads(cache.read_bytes())["files"] == {}


def test_processes_that_save_at_once_leave_a_whole_cache(tmp_path: Path, cache: Path) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4") for number in range(4)]
    program = (
        "import sys; from pathlib import Path; from cosmos_jobs.artifacts.digests import Digests\n"
        "for _ in range(20):\n"
        "    d = Digests(Path(sys.argv[1])); d.file(sys.argv[2]); d.save()"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, cache, path]) for path in paths]

    codes = [process.wait(60) for process in running]

    assert codes == [0] * 4
    assert set(orjson.loads(cache.read_bytes())["files"]) <= {str(path) for path in paths}
    assert list(cache.parent.iterdir()) == [cache]


def test_many_unknown_videos_are_read_and_told_about(tmp_path: Path, cache: Path) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4", frames=number) for number in range(1, 9)]
    reads = Reads()
    digests = Digests(cache, progress=reads)

    digests.look(paths)
    before = len(reads.told)
    found = [digests.video(path) for path in paths]

    assert [video.frames for video in found if isinstance(video, InputFile)] == [*range(1, 9)]
    assert reads.files == {path.name for path in paths}
    assert len(reads.told) == before


def test_progress_of_a_large_file_ends_with_its_size(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(5_000_000))
    reads = Reads()

    Digests(cache, progress=reads).file(path)

    done = [count for _, count, _ in reads.told]
    assert len(done) > 3
    assert done == sorted(done)
    assert reads.told[-1] == (str(path), 5_000_000, 5_000_000)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "clip.bin"
    path.write_bytes(b"one")

    def change_once(_: str, done: int, size: int) -> None:
        if path.read_bytes() == b"one":
            path.write_bytes(b"longer")

    found = Digests(cache, progress=change_once).file(path)

    assert found == FileDigest(hashlib.sha256(b"longer").hexdigest(), 6)


def test_a_file_that_never_rests_is_a_problem(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "clip.bin"
    path.write_bytes(b"one")

    def grow(_: str, done: int, size: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    found = Digests(cache, progress=grow).file(path)

    assert isinstance(found, Unusable)
    assert found.what == "keeps changing while it is read"


def test_ctrl_c_does_not_wait_for_the_files_that_are_left(tmp_path: Path, cache: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(50)]
    for path in paths:
        path.write_bytes(b"x")
    read: list[str] = []

    def interrupt(path: str, done: int, size: int) -> None:
        read.append(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Digests(cache, progress=interrupt).look(paths)

    assert len(read) < 50


def write_header(path: Path, format_: str) -> None:
    """Write what a renderer leaves that died before its first frame."""
    with av.open(str(path), "w", format=format_) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        container.start_encoding()


def write_picture(path: Path) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        picture = np.zeros((16, 16, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))


BREAKING: dict[str, Callable[[Path], object]] = {
    "lfs": lambda path: path.write_bytes(LFS_POINTER),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("This is not a video.\n" * 50),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "cut": lambda path: path.write_bytes(write_video(path).read_bytes()[:600]),
    "sound": write_sound,
    "no frames": lambda path: write_header(path, "avi"),
    # FFmpeg leaves out the track of an mp4 that has no frames.
    "no track": lambda path: write_header(path, "mp4"),
    "picture": write_picture,
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "missing": lambda path: None,
    "dangling": lambda path: path.symlink_to("nowhere.mp4"),
    "loop": lambda path: path.symlink_to(path),
}


def broken(folder: Path, kind: str) -> Path:
    path = folder / "color.mp4"
    BREAKING[kind](path)
    return path


@pytest.mark.parametrize(
    ("kind", "code", "what"),
    [
        ("lfs", "lfs-pointer", "is a Git LFS pointer, not a video"),
        ("empty", "empty-file", "is empty"),
        ("text", "not-a-video", "is not a video that can be read"),
        ("zeros", "not-a-video", "is not a video that can be read"),
        ("cut", "not-a-video", "is not a video that can be read"),
        ("sound", "no-video-stream", "has no video stream"),
        ("no frames", "no-frames", "has no frames"),
        ("no track", "no-video-stream", "has no video stream"),
        ("picture", "not-a-video", "is a picture, not a video"),
        ("folder", "not-a-file", "is a folder, not a file"),
        ("pipe", "not-a-file", "is not a regular file"),
        ("missing", "missing-file", "does not exist"),
        ("dangling", "missing-file", "does not exist"),
        ("loop", "unreadable-file", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_video_says_why(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str], kind: str, code: str, what: str
) -> None:
    path = broken(tmp_path, kind)
    capfd.readouterr()

    found = Digests(cache).video(path)

    assert isinstance(found, Unusable)
    assert (found.code, found.what[: len(what)]) == (code, what)
    assert capfd.readouterr() == ("", "")


# --- images -------------------------------------------------------------------------------


def write_image(path: Path, width: int = 16, height: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.arange(height * width * 3, dtype=np.uint8).reshape((height, width, 3))
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp", "A.PNG", "a%03d.jpg"])
def test_an_image_is_one_frame(tmp_path: Path, cache: Path, name: str) -> None:
    path = write_image(tmp_path / name, 64, 36)

    found = Digests(cache).video(path)

    assert isinstance(found, InputFile)
    assert (found.frames, found.width, found.height) == (1, 64, 36)
    assert found.fps > 0
    assert probe(path) == Footage(1, 64, 36, found.fps)


def cut_image(path: Path) -> None:
    content = write_image(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "code", "what"),
    [
        (cut_image, "not-an-image", "is not an image that can be read"),
        (lambda path: path.write_text("no image" * 50), "not-an-image", "is not an image that can"),
        (lambda path: path.touch(), "empty-file", "is empty"),
        (
            lambda path: path.write_bytes(LFS_POINTER),
            "lfs-pointer",
            "is a Git LFS pointer, not an image",
        ),
        (
            lambda path: write_video(path.with_suffix(".mp4")).rename(path),
            "not-an-image",
            "is a video, not an image",
        ),
    ],
    ids=["cut", "text", "empty", "lfs", "video"],
)
def test_what_is_no_image_says_why(
    tmp_path: Path,
    cache: Path,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    code: str,
    what: str,
) -> None:
    path = tmp_path / "color.png"
    make(path)
    capfd.readouterr()

    found = Digests(cache).video(path)

    assert isinstance(found, Unusable)
    assert (found.code, found.what[: len(what)]) == (code, what)
    assert capfd.readouterr() == ("", "")


def test_an_image_with_the_name_of_a_video_is_told_how_images_are_named(
    tmp_path: Path, cache: Path
) -> None:
    found = Digests(cache).video(broken(tmp_path, "picture"))

    assert isinstance(found, Unusable)
    assert found.hint == "the names of images end in .png, .jpg, .jpeg, .webp"


# --- more that is no video ------------------------------------------------------------------


def test_an_lfs_pointer_says_what_to_type(tmp_path: Path, cache: Path) -> None:
    found = Digests(cache).video(broken(tmp_path, "lfs"))

    assert isinstance(found, Unusable)
    assert "git lfs pull" in found.hint


@pytest.mark.usefixtures("unprivileged")
def test_a_file_without_permission_says_so() -> None:
    found = Digests(Path("/nonexistent/digests.json")).video("/etc/shadow")

    assert found == Unusable("unreadable-file", "cannot be read: Permission denied")


@pytest.mark.parametrize("path", ["/tmp/a\0b", "/tmp/\ud800"])
def test_an_impossible_name_is_a_problem(cache: Path, path: str) -> None:
    found = Digests(cache).file(path)

    assert isinstance(found, Unusable)


def test_frames_are_counted_where_the_container_does_not_say(tmp_path: Path, cache: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", frames=7)

    found = Digests(cache).video(path)

    assert isinstance(found, InputFile)
    assert found.frames == 7


def test_probing_alone_tells_footage_or_a_problem(tmp_path: Path) -> None:
    good, bad = write_video(tmp_path / "good.mp4"), tmp_path / "bad.mp4"

    found = probe(good)

    assert not isinstance(found, str)
    assert (found.frames, found.width, found.height, found.fps) == (3, 64, 36, 24.0)
    assert probe(bad) == "does not exist"
