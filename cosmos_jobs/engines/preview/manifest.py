"""What a finished run says about itself: the same run always says the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import av
import cv2
import PIL

import cosmos_jobs
from cosmos_jobs.core import atomic
from cosmos_jobs.engines.preview import upscale
from cosmos_jobs.engines.preview.cache import Entry
from cosmos_jobs.engines.preview.encoding import OUTPUT, Work, output_size

MANIFEST = "manifest.json"
ERROR = "error.json"


def write(work: Work, maps: Mapping[str, Entry]) -> None:
    """Write the manifest of a run whose output and `maps` are in place."""
    clip = work.clip
    width, height = output_size(clip.size)
    output = work.folder / OUTPUT
    document = {
        "run": work.request.id,
        "engine": "preview",
        "status": "succeeded",
        "frames": clip.frames,
        "source_frames": work.source_frames,
        "fps": f"{clip.fps.numerator}/{clip.fps.denominator}",
        "width": width,
        "height": height,
        "picture": {"width": clip.size[0], "height": clip.size[1]},
        "weights": dict(work.request.weights),
        "params": asdict(work.request.params),
        **_upscaling(work),
        "controls": {kind: _control(work, kind, entry) for kind, entry in maps.items()},
        "output": {
            "path": output.name,
            "sha256": atomic.sha256(output),
            "size": output.stat().st_size,
        },
        "software": software(),
    }
    atomic.write(work.folder / MANIFEST, _json(document))


def write_error(folder: Path, run: str, reason: str) -> None:
    """Write why a run failed."""
    atomic.write(folder / ERROR, _json({"run": run, "status": "failed", "reason": reason}))


def software() -> dict[str, str]:
    """Return the versions of all that shapes the pixels; PyAV's wheel brings FFmpeg and x264."""
    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "cosmos_jobs": cosmos_jobs.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "av": av.__version__,
        "libavcodec": codecs,
    }


def _upscaling(work: Work) -> dict[str, object]:
    """Return how a video was upscaled, with the weight that a model would have taken."""
    if work.factor is None:
        return {}
    factor = round(float(work.factor), 4)
    return {"method": upscale.METHOD, "factor": factor, "weight": work.request.params.upscale}


def _control(work: Work, kind: str, entry: Entry) -> dict[str, object]:
    recipe = work.recipes[kind]
    made = recipe.describe(work.request.params)
    return {**made, "path": f"controls/{kind}.mp4", "sha256": entry.sha256}


def _json(document: dict[str, object]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
