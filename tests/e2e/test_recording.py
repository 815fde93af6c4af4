"""The whole way on a real recording: two robot arms hand over a cup."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import orjson
import pytest

from tests.support.project import Project, frames

RECORDING = Path(__file__).parents[3] / "shared" / "data" / "robot_handover"

JOB = f"""\
version: 1
name: handover
videos: {{arms: {RECORDING}}}
prompts: {{kitchen: Two robot arms hand over a cup in a bright kitchen}}
weights: {{balanced: [0.25, 0.25, 0.25, 0.25]}}
params: {{resolution: "480", max_frames: 24}}
"""


@pytest.mark.skipif(not RECORDING.is_dir(), reason=f"the recording is not in {RECORDING}")
def test_a_real_recording_becomes_a_video_with_its_own_canny_map(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "handover.yaml").write_text(JOB)

    project.run("apply", "jobs/handover.yaml")

    assert frames(tmp_path / "outputs" / "handover" / "kitchen" / "balanced.mp4") == 24
    (run,) = project.runs()
    folder = tmp_path / "outputs" / "runs" / str(run["id"])
    controls = orjson.loads((folder / "manifest.json").read_bytes())["engine"]["controls"]
    assert {kind: each["source"] for kind, each in controls.items()} == {
        "vis": "bilateral",
        "edge": "canny",
        "depth": "file",
        "seg": "file",
    }
    for number in (0, 11, 23):
        picture = cv2.resize(_frame(RECORDING / "color.mp4", number), (640, 480))
        expected = cv2.Canny(picture, 100, 200)
        assert np.array_equal(_frame(folder / "controls" / "edge.mp4", number)[..., 0], expected)
        assert 0.01 < (expected > 0).mean() < 0.2


def _frame(path: Path, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with av.open(str(path)) as container:
        frame = next(each for n, each in enumerate(container.decode(video=0)) if n == number)
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
