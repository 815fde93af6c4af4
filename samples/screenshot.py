"""The picture of a report's page: the sweep of jobs/sunsets.yaml, made, measured and rated."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from cosmos_jobs.core import atomic
from cosmos_jobs.core.job import Selection
from cosmos_jobs.operations import WorkflowOperations
from tests.support import browser

FRAME = 40
SIZE = {"width": 1440, "height": 860}
STARS = (4, 3, 5, 2)


def draw(repository: Path, target: Path) -> None:
    """Write the picture, 1440 pixels wide."""
    with tempfile.TemporaryDirectory() as folder:
        index = _report(repository, Path(folder))
        picture = Image.open(io.BytesIO(_seen(index))).convert("RGB")
        with atomic.replacing(target) as temporary:
            picture.save(temporary, quality=88)


def _report(repository: Path, root: Path) -> Path:
    """Apply the job in a folder of its own; return the page of it."""
    for name in ("inputs", "jobs"):
        shutil.copytree(repository / name, root / name)
    shutil.copy(repository / "cosmos-jobs.yaml", root)
    ops = WorkflowOperations.open(root)
    ops.apply(ops.plan(Selection((str(root / "jobs"),))), lambda event: None)
    ops.evaluate()
    for record, stars in zip(ops.list_runs(), STARS, strict=False):
        ops.rate(record.run.id, stars)
    return ops.report("sunsets")


def _seen(index: Path) -> bytes:
    """Return what the page shows at FRAME, once every video stands on it."""
    with browser.chromium() as chromium:
        page = chromium.new_page(viewport=SIZE, color_scheme="dark")  # type: ignore[arg-type]
        page.goto(index.as_uri())
        page.locator("#scrub").fill(str(FRAME))
        page.wait_for_function(
            """() => { const all = [...document.querySelectorAll("video")];
               return all.length && all.every(each => each.classList.contains("ready")) }"""
        )
        page.locator("#scrub").blur()
        return page.screenshot()
