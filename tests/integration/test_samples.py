"""The sample videos: what is committed, and what renders them."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from samples.light import Scene, Stage  # noqa: E402
from samples.scenes import SCENES, Frame, moment, render  # noqa: E402

ROLES = ("color", "depth", "segmentation")
COMMITTED = [
    ROOT / "inputs/videos" / scene.name / f"{role}.mp4" for scene in SCENES for role in ROLES
]

every_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)


def frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [picture.astype(np.uint8) for picture in pictures]


def small(scene: Scene, time: float = 1.0) -> tuple[Frame, Stage]:
    return moment(scene, 64, 36, time), scene.stage(time)


def distances(scene: Scene) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the distance and the class of each pixel, from the geometry itself."""
    stage = scene.stage(1.0)
    hits = stage.see(scene.view(1.0, 64 / 36), 36, 64)
    names = list(scene.labels)
    return hits.distance, np.array(names)[stage.labels(hits, names)]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_videos_are_four_seconds_of_640_by_360(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        found = (context.name, context.pix_fmt, context.width, context.height)
        count = sum(1 for _ in container.decode(stream))

        assert found == ("h264", "yuv420p", 640, 360)
        assert (count, stream.frames, stream.average_rate) == (96, 96, Fraction(24))


def test_committed_videos_stay_below_two_megabytes_together() -> None:
    assert sum(path.stat().st_size for path in COMMITTED) < 2_000_000


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_videos_play_while_they_load(path: Path) -> None:
    content = path.read_bytes()

    assert content.index(b"moov") < content.index(b"mdat")


@every_scene
def test_committed_segmentation_still_tells_the_class_of_a_pixel(scene: Scene) -> None:
    # 4:2:0 halves the resolution of colour, so edges and thin rails blend by design.
    path = ROOT / "inputs/videos" / scene.name / "segmentation.mp4"
    palette = np.array(list(scene.labels.values()), np.int16)

    picture = frames(path)[48].astype(np.int16)
    nearest = palette[np.abs(picture[:, :, None, :] - palette).sum(axis=3).argmin(axis=2)]
    exact = moment(scene, 640, 360, 48 / 24).segmentation

    assert (nearest == exact).all(axis=2).mean() > 0.98


@every_scene
def test_rendering_twice_writes_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    for attempt in ("one", "two"):
        render(tmp_path / attempt, width=64, height=36, frames=2, scenes=[scene])

    files = [sorted((tmp_path / a / scene.name).iterdir()) for a in ("one", "two")]
    assert [file.name for file in files[0]] == [f"{role}.mp4" for role in ROLES]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


@every_scene
def test_the_videos_of_a_scene_agree_in_size_and_frames(scene: Scene, tmp_path: Path) -> None:
    render(tmp_path, width=64, height=36, frames=3, scenes=[scene])

    shapes = {np.shape(frames(tmp_path / scene.name / f"{role}.mp4")) for role in ROLES}
    assert shapes == {(3, 36, 64, 3)}


def test_a_failed_rendering_leaves_the_old_videos_and_nothing_else(tmp_path: Path) -> None:
    render(tmp_path, width=64, height=36, frames=1, scenes=SCENES[:1])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.mp4")}

    with pytest.raises(av.FFmpegError):  # H.264 in 4:2:0 has no odd sizes
        render(tmp_path, width=63, height=36, frames=1, scenes=SCENES[:1])

    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@every_scene
def test_depth_is_brighter_where_the_scene_is_nearer(scene: Scene) -> None:
    frame, _ = small(scene)

    distance, _ = distances(scene)
    order = np.argsort(distance, axis=None)
    gray = frame.depth[:, :, 0].ravel()[order].astype(np.int16)

    assert (np.diff(gray) <= 0).all()
    assert gray[0] > 100
    assert (frame.depth == frame.depth[:, :, :1]).all()


@every_scene
def test_the_sky_is_farthest_and_black(scene: Scene) -> None:
    frame, _ = small(scene)

    distance, label = distances(scene)
    sky = label == "sky"

    assert 0.05 < sky.mean() < 0.7
    assert np.isinf(distance[sky]).all()
    assert np.isfinite(distance[~sky]).all()
    assert not frame.depth[sky].any()


@every_scene
def test_each_pixel_of_the_segmentation_is_one_class(scene: Scene) -> None:
    frame, _ = small(scene)

    _, label = distances(scene)
    expected = np.array([scene.labels[name] for name in label.ravel()]).reshape(36, 64, 3)

    assert (frame.segmentation == expected).all()


@every_scene
def test_every_class_is_seen_at_some_time(scene: Scene) -> None:
    seen: set[tuple[int, int, int]] = set()
    for time in (0.0, 2.0, 3.9):
        picture = moment(scene, 160, 90, time).segmentation
        seen |= {(int(r), int(g), int(b)) for r, g, b in np.unique(picture.reshape(-1, 3), axis=0)}

    assert seen == set(scene.labels.values())


def test_level_ground_gets_nearer_towards_the_bottom_of_the_picture() -> None:
    scene = next(scene for scene in SCENES if scene.name == "pier")

    distance, label = distances(scene)
    column = distance[:, 60][label[:, 60] == "sea"]

    assert (np.diff(column) < 0).all()
    # A camera 2.2 m over the water that sees 62° sees it first about 6 m away.
    assert 4 < column[-1] < 8


@every_scene
def test_the_camera_moves(scene: Scene) -> None:
    first, later = small(scene, 0.0)[0], small(scene, 1.0)[0]

    assert np.abs(first.color.astype(np.int16) - later.color).mean() > 4
    assert (first.depth != later.depth).mean() > 0.2
