"""A new project: settings, a first job file and the sample videos that it uses."""

from __future__ import annotations

from pathlib import Path

import orjson

from cosmos_jobs.config import schema
from cosmos_jobs.core import atomic

SETTINGS = b"""\
# Settings of this project; every path of a job file is relative to this folder.
version: 1
engine: preview
target: local
targets:
  local: {}
"""

IGNORE = b"""\
.cosmos-jobs/
outputs/
reports/
"""


def write(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write what is not there yet; return the files that were made and those that were kept.

    Raises OSError when the folder cannot be written.
    """
    made, kept = [], []
    for name, data in _contents().items():
        path = folder / name
        if path.exists():
            kept.append(path)
        else:
            atomic.write(path, data)
            made.append(path)
    return made, kept


def _contents() -> dict[str, bytes]:
    samples = _samples()
    videos = sorted(samples.glob("inputs/videos/*/*.mp4"))
    return {
        "cosmos-jobs.yaml": SETTINGS,
        "jobs/sunsets.yaml": (samples / "jobs" / "sunsets.yaml").read_bytes(),
        ".gitignore": IGNORE,
        # Editors find it by the first line of the job files.
        "schemas/job.schema.json": orjson.dumps(schema.load("job"), option=orjson.OPT_INDENT_2),
        **{str(path.relative_to(samples)): path.read_bytes() for path in videos},
    }


def _samples() -> Path:
    """Return the folder of samples: in the wheel beside the packages, else the repository."""
    packaged = Path(__file__).parents[1] / "samples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]
