"""Maps alone, as files for the models: the program's `--maps` on real films."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cosmos_jobs.artifacts import media
from cosmos_jobs.artifacts.media import Pixels
from cosmos_jobs.core import atomic
from cosmos_jobs.engines import filters
from tests.integration.test_preview_program import COMMAND, film, pictures, preview, run, source


@dataclass(frozen=True, slots=True)
class Answered:
    """How the program ended, and its answers by id."""

    returncode: int
    answers: Mapping[str, dict[str, str]]


def wanted(name: str, color: Path, kind: str = "edge", **params: object) -> dict[str, Any]:
    given = {"resolution": "256", **params}
    return {"id": name, "kind": kind, **source(color), "params": given}


def make(folder: Path, *lines: Mapping[str, Any]) -> Answered:
    """Run the program to its end; every line that it prints is an answer."""
    asked = folder / "maps.jsonl"
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = ("-i", str(asked), "-o", str(folder / "out"), "--cache", str(folder / "cache"))
    done = subprocess.run(
        [*COMMAND, "--maps", *where], capture_output=True, text=True, timeout=120, check=False
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return Answered(done.returncode, {each["id"]: each for each in said})


def frames(answer: Mapping[str, str]) -> list[Pixels]:
    """Return the frames of a map that is there, whole."""
    path = Path(answer["path"])
    assert atomic.sha256(path) == answer["sha256"]
    return pictures(path)


def canny(frame: Pixels, size: tuple[int, int]) -> Pixels:
    fitted = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.Canny(fitted, 50, 100), np.uint8)


def test_only_the_maps_asked_for_are_made_and_they_are_exact(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4")

    done = make(tmp_path, wanted("pier-edge", color, edge_threshold="low", max_frames=4))

    assert done.returncode == 0
    made = frames(done.answers["pier-edge"])
    expected = [canny(frame, (320, 192)) for frame in pictures(color)[:4]]
    assert len(made) == 4
    for edges, original in zip(made, expected, strict=True):
        assert np.array_equal(edges, np.repeat(original[:, :, None], 3, axis=2))
    assert len(list((tmp_path / "cache").glob("*.mp4"))) == 1
    assert not (tmp_path / "out").exists()


def test_what_preview_showed_is_what_a_model_gets_and_is_not_computed_again(
    tmp_path: Path,
) -> None:
    color = film(tmp_path / "color.mp4")
    preview(tmp_path / "shown", [run(1, color)], "--cache", str(tmp_path / "cache"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}

    done = make(tmp_path, wanted("e", color), wanted("v", color, "vis"))

    for name, kind in (("e", "edge"), ("v", "vis")):
        shown = tmp_path / "shown" / "rs_0000000000000001" / "controls" / f"{kind}.mp4"
        assert done.answers[name]["sha256"] == atomic.sha256(shown)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before


def test_maps_for_cosmos_3_are_cropped_where_others_are_stretched(tmp_path: Path) -> None:
    color = film(tmp_path / "color.mp4", size=(192, 90))

    done = make(
        tmp_path,
        wanted("c3", color, resolution="480", model="cosmos3"),
        wanted("vis", color, "vis", resolution="480", model="cosmos3"),
        wanted("t2.5", color, resolution="480"),
    )

    assert done.returncode == 0
    fitted = [filters.cover(frame, (832, 480)) for frame in pictures(color)]
    blurred = [filters.vis(frame, 2, 10, antialias=False) for frame in fitted]
    edges = [cv2.Canny(frame, 100, 200) for frame in fitted]
    assert np.array_equal([frame[:, :, 0] for frame in frames(done.answers["c3"])], edges)
    assert np.array_equal(frames(done.answers["vis"]), blurred)
    assert media.whole(Path(done.answers["t2.5"]["path"])).upright == (768, 432)


def test_a_resolution_that_only_cosmos_3_has_is_refused_for_the_others_alone(
    tmp_path: Path,
) -> None:
    color = film(tmp_path / "color.mp4", frames=1)

    done = make(
        tmp_path,
        wanted("c3", color, resolution="768", model="cosmos3"),
        wanted("t2.5", color, resolution="768"),
    )

    assert done.returncode == 1
    assert media.whole(Path(done.answers["c3"]["path"])).upright == (1360, 768)
    assert "768" in done.answers["t2.5"]["error"]


def test_a_bad_video_fails_its_maps_and_no_other(tmp_path: Path) -> None:
    good, bad = film(tmp_path / "good.mp4"), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")

    done = make(tmp_path, wanted("bad", bad), wanted("good", good), wanted("gone", bad, "vis"))

    assert done.returncode == 1
    assert done.answers["bad"]["error"].startswith("the color video cannot be read")
    assert "error" in done.answers["gone"]
    assert len(frames(done.answers["good"])) == 6


def test_a_wrong_file_is_wrong_usage_and_leaves_no_answer(tmp_path: Path) -> None:
    done = make(tmp_path, {"id": "a"})

    assert (done.returncode, done.answers) == (2, {})


@pytest.mark.parametrize("name", ["color.png", "color.jpg"])
def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, name: str) -> None:
    color = tmp_path / name
    scene = pictures(film(tmp_path / "film.mp4", frames=1))[0]
    cv2.imwrite(str(color), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))

    done = make(tmp_path, wanted("e", color, edge_threshold="low"))
    shown = preview(tmp_path / "shown", [run(1, color)])

    (edges,) = frames(done.answers["e"])
    assert np.array_equal(edges[:, :, 0], canny(pictures(color)[0], (320, 192)))
    assert shown.returncode == 0
