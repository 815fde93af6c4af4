"""The picture of the README: a frame of the pier, its control maps, and two runs of the job."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image

from cosmos_jobs.core import atomic

FRAME = 40
TILE = (480, 270)
STRIP = 44
"""Pixels of a run's caption that are kept, at the size of a tile."""

WEIGHTS = ({"vis": 0.25, "edge": 0.25, "depth": 0.25, "seg": 0.25}, {"vis": 0.2, "edge": 0.7})
PROMPT = "A wooden pier at golden hour, warm light on the planks, photorealistic"


def draw(videos: Path, target: Path) -> None:
    """Write the picture, 1440 pixels wide, from the sample videos in `videos`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        runs = _preview(videos / "pier", out)
        maps = out / runs[0] / "controls"
        first = [videos / "pier" / "color.mp4", maps / "edge.mp4", maps / "depth.mp4"]
        second = [maps / "vis.mp4", *(out / run / "output.mp4" for run in runs)]
        picture = Image.new("RGB", (3 * TILE[0], 2 * TILE[1] + STRIP), (24, 24, 27))
        for row, clips in enumerate((first, second)):
            for column, clip in enumerate(clips):
                picture.paste(_tile(clip), (column * TILE[0], row * TILE[1]))
        with atomic.replacing(target) as temporary:
            picture.save(temporary, quality=88)


def _preview(video: Path, out: Path) -> list[str]:
    """Run the preview engine on a video, once for each of WEIGHTS; return the runs' ids."""
    roles = ("color", "depth", "segmentation")
    inputs = {
        role: {"path": str(video / f"{role}.mp4"), "sha256": atomic.sha256(video / f"{role}.mp4")}
        for role in roles
    }
    lines = [
        {
            "id": f"rs_{number:016x}",
            "prompt": PROMPT,
            "negative": "",
            "inputs": inputs,
            "weights": weights,
            "params": {"resolution": "720", "max_frames": FRAME + 1},
        }
        for number, weights in enumerate(WEIGHTS)
    ]
    (out / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    program = [sys.executable, "-m", "cosmos_jobs.engines.preview"]
    subprocess.run([*program, "-i", out / "runs.jsonl", "-o", out], check=True)
    return [str(line["id"]) for line in lines]


def _tile(path: Path) -> Image.Image:
    """Return a frame of a clip as wide as a tile; below the picture a run has its caption."""
    with av.open(str(path)) as container:
        frame = next(f for n, f in enumerate(container.decode(video=0)) if n == FRAME)
        picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    height = round(picture.height * TILE[0] / picture.width)
    return picture.resize((TILE[0], height), Image.Resampling.LANCZOS)
