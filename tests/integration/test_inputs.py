"""The files that a job names: found and read, or all their problems at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cosmos_jobs.artifacts.digests import Digests
from cosmos_jobs.core.diagnostics import Diagnostic, Severity, Where
from cosmos_jobs.core.job import FileValue, JobInputs, JobSpec, Limits, PromptSpec, VideoSource
from cosmos_jobs.jobs.inputs import MAX_PROMPT_BYTES, resolve


class Text:
    """A job file that knows no lines: a diagnostic's `source` is the path it was made for."""

    def diagnostic(
        self,
        at: Where,
        code: str,
        message: str,
        *,
        key: bool = False,
        hint: str = "",
        note: str = "",
        severity: Severity = Severity.ERROR,
    ) -> Diagnostic:
        source = ".".join(map(str, at))
        return Diagnostic(code, message, "job.yaml", None, source, hint, note, severity)


def job(
    videos: Mapping[str, str | dict[str, str]] | None = None,
    video_glob: str | None = None,
    prompts: Mapping[str, str] | None = None,
    files: tuple[FileValue, ...] = (),
) -> JobSpec:
    """Return a job with folders or files as videos, prompts from files, files as parameters."""
    return JobSpec(
        path="job.yaml",
        name="job",
        engine="preview",
        target="local",
        videos={
            name: VideoSource(folder=v) if isinstance(v, str) else VideoSource(files=v)
            for name, v in (videos or {}).items()
        },
        video_glob=video_glob,
        prompts=tuple(PromptSpec(name, file=file) for name, file in (prompts or {}).items()),
        variables={},
        weights={},
        params={},
        zip=(),
        exclude=(),
        include=(),
        sample=None,
        limits=Limits(),
        description="",
        source=Text(),
        files=files,
    )


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


def write_image(path: Path, width: int = 64, height: int = 36) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 99, np.uint8))
    return path


def read(root: Path, spec: JobSpec) -> tuple[JobInputs, tuple[Diagnostic, ...]]:
    return resolve(spec, root, Digests(root / ".cosmos-jobs/cache/digests.json"))


def only_problem(root: Path, spec: JobSpec) -> Diagnostic:
    _, problems = read(root, spec)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the folder videos/pier: a color and a depth video."""
    for role in ("color", "depth"):
        write_video(tmp_path / f"videos/pier/{role}.mp4")
    return tmp_path


# --- folders ------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["videos/pier", "videos/pier/", "./videos/../videos/pier"])
def test_a_folder_gives_the_files_named_for_roles(root: Path, folder: str) -> None:
    (root / "videos/pier/notes.txt").write_text("not a role")
    write_video(root / "videos/pier/extra.mp4")

    inputs, problems = read(root, job({"pier": folder}))

    assert problems == ()
    assert list(inputs.videos["pier"]) == ["color", "depth"]
    assert inputs.videos["pier"]["depth"].path.samefile(root / "videos/pier/depth.mp4")


def test_a_folder_may_be_outside_of_the_project(root: Path) -> None:
    inputs, problems = read(
        root / "videos", job({"a": f"{root}/videos/pier", "b": "../videos/pier"})
    )

    assert problems == ()
    assert inputs.videos["a"]["color"].sha256 == inputs.videos["b"]["color"].sha256


def test_a_missing_folder_suggests_a_close_name(root: Path) -> None:
    problem = only_problem(root, job({"pier": "videos/peir"}))

    assert (problem.code, problem.source) == ("missing-folder", "videos.pier")
    assert problem.message == "folder `videos/peir` does not exist"
    assert problem.hint == "did you mean `videos/pier`?"


def test_the_first_wrong_part_of_a_path_is_what_is_corrected(root: Path) -> None:
    problem = only_problem(root, job({"pier": "vidoes/pier/day"}))

    assert problem.hint == "did you mean `videos`?"


def test_a_missing_folder_like_no_other_shows_what_is_there(root: Path) -> None:
    problem = only_problem(root, job({"pier": "videos/zzz"}))

    assert problem.hint == "`videos` holds pier"


def test_a_tilde_is_explained(root: Path) -> None:
    problem = only_problem(root, job({"pier": "~/renders/pier"}))

    assert problem.hint.startswith("`~` is not expanded")


def test_a_folder_without_color_says_so_by_name_and_shows_what_is_there(root: Path) -> None:
    (root / "videos/pier/color.mp4").rename(root / "videos/pier/colour.mp4")

    problem = only_problem(root, job({"pier": "videos/pier"}))

    assert problem.code == "no-color-video"
    assert problem.message == "folder `videos/pier` has no color.mp4"
    assert problem.hint == "did you mean to name `colour.mp4` color.mp4?"
    assert problem.note == "`videos/pier` holds colour.mp4, depth.mp4"


def test_a_file_in_place_of_a_folder_says_what_to_write(root: Path) -> None:
    problem = only_problem(root, job({"pier": "videos/pier/color.mp4"}))

    assert problem.code == "not-a-folder"
    assert "{color: videos/pier/color.mp4}" in problem.hint


def test_a_path_through_a_file_does_not_exist(root: Path) -> None:
    problem = only_problem(root, job({"pier": "videos/pier/color.mp4/x"}))

    assert problem.code == "missing-folder"


def test_an_impossible_folder_name_is_a_problem(root: Path) -> None:
    problem = only_problem(root, job({"pier": "videos/\0"}))

    assert problem.code == "unreadable-folder"


# --- files --------------------------------------------------------------------------------


def test_files_are_taken_by_role(root: Path) -> None:
    files = {"depth": "videos/pier/depth.mp4", "color": "videos/pier/color.mp4"}

    inputs, problems = read(root, job({"street": files}))

    assert problems == ()
    assert list(inputs.videos["street"]) == ["color", "depth"]


def test_a_missing_file_is_shown_at_its_role(root: Path) -> None:
    files = {"color": "videos/pier/color.mp4", "edge": "videos/pier/dept.mp4"}

    problem = only_problem(root, job({"street": files}))

    assert (problem.code, problem.source) == ("missing-file", "videos.street.edge")
    assert problem.message == "`videos/pier/dept.mp4` does not exist"
    assert problem.hint == "did you mean `videos/pier/depth.mp4`?"


def test_files_without_color_are_a_problem(root: Path) -> None:
    problem = only_problem(root, job({"street": {"depth": "videos/pier/depth.mp4"}}))

    assert problem.code == "no-color-video"


def test_an_lfs_pointer_says_git_lfs_pull(root: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (root / "videos/pier/depth.mp4").write_text(pointer)

    problem = only_problem(root, job({"pier": "videos/pier"}))

    assert (problem.code, problem.source) == ("lfs-pointer", "videos.pier")
    assert problem.message.startswith("`videos/pier/depth.mp4` is a Git LFS pointer")
    assert "git lfs pull" in problem.hint


# --- controls against color ---------------------------------------------------------------


def test_a_control_with_other_frames_is_an_error_with_both_numbers(root: Path) -> None:
    write_video(root / "videos/pier/edge.mp4", frames=1)

    problem = only_problem(root, job({"pier": "videos/pier"}))

    assert problem.code == "frames-differ"
    assert "edge.mp4` has 1 frame, but `videos/pier/color.mp4` has 3 frames" in problem.message


def test_a_control_with_another_shape_is_an_error_with_both_sizes(root: Path) -> None:
    write_video(root / "videos/pier/edge.mp4", width=48, height=36)

    problem = only_problem(root, job({"pier": "videos/pier"}))

    assert problem.code == "aspect-differs"
    assert "is 48×36 (1.33:1), but" in problem.message
    assert "is 64×36 (1.78:1)" in problem.message


@pytest.mark.parametrize(("width", "height"), [(128, 72), (400, 224)])
def test_a_control_may_have_another_size(root: Path, width: int, height: int) -> None:
    write_video(root / "videos/pier/edge.mp4", width=width, height=height)

    _, problems = read(root, job({"pier": "videos/pier"}))

    assert problems == ()


# --- globs --------------------------------------------------------------------------------


def test_a_glob_takes_folders_by_the_order_of_their_bytes(root: Path) -> None:
    for name in ("b", "B", "a10", "a9"):
        write_video(root / f"videos/{name}/color.mp4")
    (root / "videos/readme.txt").write_text("not a folder")

    inputs, problems = read(root, job(video_glob="videos/*"))

    assert problems == ()
    assert list(inputs.videos) == ["B", "a10", "a9", "b", "pier"]


def test_a_glob_warns_of_folders_without_color(root: Path) -> None:
    for name in ("empty", "other"):
        (root / f"videos/{name}").mkdir()

    inputs, problems = read(root, job(video_glob="videos/*"))

    assert list(inputs.videos) == ["pier"]
    assert [(p.code, p.severity) for p in problems] == [("skipped-folder", Severity.WARNING)]
    assert "videos/empty, videos/other" in problems[0].message


@pytest.mark.parametrize("pattern", ["clips/*", "videos/*/none", "vid\0/*", "~/videos/*", ""])
def test_a_glob_that_matches_nothing_is_an_error(root: Path, pattern: str) -> None:
    problem = only_problem(root, job(video_glob=pattern))

    assert (problem.code, problem.source) == ("no-match", "videos.glob")


def test_a_glob_must_be_relative(root: Path) -> None:
    problem = only_problem(root, job(video_glob=f"{root}/videos/*"))

    assert problem.code == "absolute-glob"


def test_two_folders_of_one_name_are_an_error_that_names_both(root: Path) -> None:
    write_video(root / "other/pier/color.mp4")

    problem = only_problem(root, job(video_glob="*/pier"))

    assert problem.code == "duplicate-video"
    assert "`other/pier` and `videos/pier`" in problem.message


def test_a_glob_may_not_take_the_name_of_a_listed_video(root: Path) -> None:
    write_video(root / "other/pier/color.mp4")

    problem = only_problem(root, job({"pier": "videos/pier"}, video_glob="other/*"))

    assert problem.code == "duplicate-video"


@pytest.mark.parametrize("name", ["my pier", "-pier", "_pier", "jetée"])
def test_a_folder_that_cannot_name_a_video_is_an_error(root: Path, name: str) -> None:
    write_video(root / f"videos/{name}/color.mp4")

    problem = only_problem(root, job(video_glob="videos/*"))

    assert problem.code == "bad-video-name"
    assert f"videos/{name}" in problem.message


# --- images -------------------------------------------------------------------------------


def test_an_image_is_a_video_of_one_frame(root: Path) -> None:
    for name in ("1.png", "1_depth.webp"):
        write_image(root / "moths" / name)

    inputs, problems = read(
        root, job({"moth": {"color": "moths/1.png", "depth": "moths/1_depth.webp"}})
    )

    assert problems == ()
    assert {role: file.frames for role, file in inputs.videos["moth"].items()} == {
        "color": 1,
        "depth": 1,
    }


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_a_folder_may_hold_images_in_place_of_videos(root: Path, suffix: str) -> None:
    for role in ("color", "edge"):
        write_image(root / f"moths/1/{role}{suffix}")

    listed, problems = read(root, job({"moth": "moths/1"}))
    globbed, more = read(root, job(video_glob="moths/*"))

    assert problems == more == ()
    assert list(listed.videos["moth"]) == ["color", "edge"]
    assert listed.videos["moth"] == globbed.videos["1"]


@pytest.mark.parametrize("named", [True, False], ids=["listed", "glob"])
def test_two_files_of_one_role_are_an_error_that_names_both(root: Path, named: bool) -> None:
    write_image(root / "videos/pier/color.png")
    spec = job({"pier": "videos/pier"}) if named else job(video_glob="videos/*")

    problem = only_problem(root, spec)

    assert problem.code == "several-files"
    assert problem.message.endswith("has color.mp4, color.png: which is the color?")


def test_a_video_and_an_image_do_not_have_the_same_frames(root: Path) -> None:
    write_image(root / "videos/pier/edge.png")

    problem = only_problem(root, job({"pier": "videos/pier"}))

    assert problem.code == "frames-differ"


def test_a_misnamed_image_keeps_its_kind_in_the_suggestion(root: Path) -> None:
    write_image(root / "moths/1/colour.jpg")

    problem = only_problem(root, job({"moth": "moths/1"}))

    assert problem.hint == "did you mean to name `colour.jpg` color.jpg?"


# --- files that are values of parameters -----------------------------------------------------


def value(kind: str, path: str, *at: str | int) -> FileValue:
    return FileValue(f"{kind}s.edge", kind, path, at or ("params", "x"))


def test_files_of_parameters_are_read_by_their_path_as_written(root: Path) -> None:
    write_video(root / "masks/pier.mp4", frames=2)
    write_image(root / "refs/dusk.jpg")
    (root / "near.pt").write_bytes(b"PK a tensor")
    paths = {"masks/pier.mp4": "video", "./refs/dusk.jpg": "image", "near.pt": "tensor"}

    inputs, problems = read(root, job(files=tuple(value(kind, p) for p, kind in paths.items())))

    assert problems == ()
    assert {path: file.frames for path, file in inputs.files.items()} == {
        "masks/pier.mp4": 2,
        "./refs/dusk.jpg": 1,
        "near.pt": 0,
    }
    assert inputs.files["near.pt"].sha256 == hashlib.sha256(b"PK a tensor").hexdigest()
    assert inputs.files["masks/pier.mp4"].path == root / "masks/pier.mp4"


def test_a_mask_may_be_an_image(root: Path) -> None:
    write_image(root / "mask.png")

    _, problems = read(root, job(files=(value("video", "mask.png"),)))

    assert problems == ()


@pytest.mark.parametrize(
    ("kind", "path", "code", "words"),
    [
        ("video", "videos/peir/color.mp4", "missing-file", "did you mean `videos/pier`?"),
        ("video", "videos/pier", "not-a-file", "is a folder"),
        ("video", "notes.pt", "not-a-video", "is not a video that can be read"),
        ("image", "videos/pier/color.mp4", "not-an-image", "take a frame of it"),
        ("image", "ref.png", "missing-file", "does not exist"),
        ("tensor", "gone.pt", "missing-file", "does not exist"),
        ("tensor", "videos/pier/color.mp4", "not-a-tensor", "does not end in .pt"),
        ("tensor", "empty.pt", "empty-file", "is empty"),
        ("tensor", "lfs.pt", "lfs-pointer", "git lfs pull"),
    ],
)
def test_a_bad_file_of_a_parameter_says_why_at_its_place(
    root: Path, kind: str, path: str, code: str, words: str
) -> None:
    (root / "notes.pt").write_text("text " * 500)
    (root / "empty.pt").touch()
    (root / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")

    problem = only_problem(root, job(files=(value(kind, path, "params", "x", 1),)))

    assert (problem.code, problem.source) == (code, "params.x.1")
    assert problem.message.startswith(f"`{path}` ")
    assert words in f"{problem.message}\n{problem.hint}"


# --- prompt files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"A pier in rain\n\n", "A pier in rain"),
        ("A jete\u0301e".encode(), "A jet\u00e9e"),
        (b"\xef\xbb\xbfA pier", "A pier"),
        (b"One\r\ntwo\tthree \r\n", "One\ntwo\tthree"),
        (b"x" * MAX_PROMPT_BYTES, "x" * MAX_PROMPT_BYTES),
    ],
)
def test_a_prompt_file_is_normalised(root: Path, content: bytes, text: str) -> None:
    (root / "storm.txt").write_bytes(content)

    inputs, problems = read(root, job(prompts={"storm": "storm.txt"}))

    assert problems == ()
    assert inputs.texts == {"storm.txt": text}


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "empty-prompt", "is empty"),
        (b" \n\t\n", "empty-prompt", "is empty"),
        (b"ok\nA jet\xe9e", "not-utf-8", "line 2"),
        (b"A\0pier", "control-character", "U+0000 in line 1"),
        (b"A\n\x1b[31mpier", "control-character", "U+001B in line 2"),
        (b"x" * (MAX_PROMPT_BYTES + 1), "long-prompt", "64 KiB"),
    ],
)
def test_a_bad_prompt_file_says_why(root: Path, content: bytes, code: str, words: str) -> None:
    (root / "storm.txt").write_bytes(content)

    problem = only_problem(root, job(prompts={"storm": "storm.txt"}))

    assert (problem.code, problem.source) == (code, "prompts.storm.file")
    assert problem.message.startswith("`storm.txt` ")
    assert words in problem.message


def test_a_missing_prompt_file_suggests_a_close_name(root: Path) -> None:
    (root / "storm.txt").write_text("A storm")

    problem = only_problem(root, job(prompts={"storm": "strom.txt"}))

    assert problem.code == "missing-file"
    assert problem.hint == "did you mean `storm.txt`?"


def test_a_folder_or_a_pipe_is_no_prompt_file(root: Path) -> None:
    os.mkfifo(root / "pipe.txt")

    _, problems = read(root, job(prompts={"a": "videos", "b": "pipe.txt", "c": "x\0"}))

    assert [problem.code for problem in problems] == ["not-a-file", "not-a-file", "unreadable-file"]


# --- together -----------------------------------------------------------------------------


def test_all_problems_are_told_at_once_and_the_rest_is_read(root: Path) -> None:
    write_video(root / "videos/pier/edge.mp4", frames=1)
    (root / "videos/pier/vis.mp4").touch()
    spec = job(
        {"pier": "videos/pier", "gone": "videos/gone"},
        video_glob="none/*",
        prompts={"storm": "storm.txt"},
    )

    inputs, problems = read(root, spec)

    assert sorted(problem.code for problem in problems) == [
        "empty-file",
        "frames-differ",
        "missing-file",
        "missing-folder",
        "no-match",
    ]
    assert inputs.videos["pier"]["color"].frames == 3
