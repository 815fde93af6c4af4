"""Two clones of a project, and such with one place for their published outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import orjson

from tests.support.output_remotes import Place
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home


class Clones:
    """Ann's and Bob's clone of a project with a job of two runs, and what makes these."""

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder = folder
        self.stand_in = StandIn(folder / "stand-in")
        self.ann, self.bob = Remote(folder / "ann", home), Remote(folder / "bob", home)
        self.ann.sweep(2)
        shutil.copytree(self.ann.root, self.bob.root, dirs_exist_ok=True)


class Pair(Clones):
    """Two clones, each with a state and a GPU root of its own, and one shelf."""

    def __init__(self, folder: Path, home: Home, outputs: dict[str, str], place: Place) -> None:
        super().__init__(folder, home)
        self.outputs = outputs
        self.place = place
        for each in (self.ann, self.bob):
            self.configure(each)

    def configure(self, project: Remote, padding: int = 0, **more: Any) -> None:
        """Write the project file; each video has `padding` bytes more."""
        root = self.folder / f"the root of {project.root.name}"
        targets = {
            "gpu": target(["gpu"], root, self.stand_in.installation(padding=padding)),
            "shelf": {"hosts": ["gpu"], "root": str(self.folder / "shelf")},
        }
        settings = {"version": 1, "target": "gpu", "targets": targets, "outputs": self.outputs}
        (project.root / "cosmos-jobs.yaml").write_text(json.dumps({**settings, **more}, indent=1))

    def video(self) -> str:
        """Return where on the shelf the video of one of the runs is."""
        told = orjson.loads(self.place.read(self.place.names("runs")[0]))
        return f"files/{told['output']['sha256']}"

    def videos(self, project: Remote) -> dict[str, bytes]:
        """Return all that is in outputs/runs, but for logs."""
        found = (project.root / "outputs" / "runs").rglob("*")
        files = [each for each in found if each.is_file() and each.name != "log.txt"]
        return {f"{each.parent.name}/{each.name}": each.read_bytes() for each in files}

    def on_shelf(self) -> list[dict[str, Any]]:
        """Return the manifests that are published."""
        return [orjson.loads(self.place.read(each)) for each in self.place.names("runs")]
