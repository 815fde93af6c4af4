"""A project whose targets are real OpenSSH servers on loopback, driven by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.project import Project, film
from tests.support.ssh_server import Home, Server

FAKES = Path(__file__).parents[1] / "fakes"


class StandIn:
    """An environment with the stand-in for the preview engine, and the ledger of what it made."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "stand in"
        self.video = folder / "stand in.mp4"
        self.ledger = folder / "ledger"
        film(self.video, seed=1, frames=2)
        program = self.venv / "bin" / "python"
        program.parent.mkdir(parents=True)
        text = (FAKES / "preview_python").read_text()
        program.write_text(text.replace("@PYTHON@", sys.executable))
        program.chmod(0o755)

    def installation(self, seconds: float = 0.0, padding: int = 0) -> dict[str, Any]:
        """Return the entry of a target's `engines`.

        Each run takes `seconds`, and its video has `padding` bytes more.
        """
        return {
            "venv": str(self.venv),
            "env": {
                "STAND_IN_SECONDS": str(seconds),
                "STAND_IN_PADDING": str(padding),
                "STAND_IN_VIDEO": str(self.video),
                "STAND_IN_LEDGER": str(self.ledger),
            },
        }

    def lines(self, what: str) -> list[tuple[str, str]]:
        """Return run and batch of each time that a run was begun, or made."""
        text = self.ledger.read_text() if self.ledger.exists() else ""
        words = (line.split() for line in text.splitlines())
        return [(run, batch) for _, each, run, batch in words if each == what]

    def made(self) -> list[str]:
        """Return a run's id each time that it was made."""
        return [run for run, _ in self.lines("made")]


class Remote(Project):
    """A project with clips, whose programs live in a home that knows the servers."""

    def __init__(self, root: Path, home: Home) -> None:
        super().__init__(root)
        self.home = home
        self.job.parent.mkdir(parents=True, exist_ok=True)
        for seed, name in enumerate(("a", "b")):
            if not (clip := root / "clips" / name / "color.mp4").exists():
                film(clip, seed)

    def configure(self, **targets: Mapping[str, Any]) -> None:
        """Write cosmos-jobs.yaml with these targets; JSON is YAML."""
        settings = {"version": 1, "target": next(iter(targets)), "targets": targets}
        (self.root / "cosmos-jobs.yaml").write_text(json.dumps(settings, indent=1))

    def sweep(self, runs: int, prompt: str = "A pier at golden hour", **more: Any) -> None:
        """Write a job of `runs` runs, one a seed."""
        job = {
            "version": 1,
            "name": "small",
            "videos": {"a": "clips/a"},
            "prompts": {"golden": prompt},
            "weights": {"edges": {"edge": 1.0}},
            "params": {"resolution": "256", "seed": list(range(1, runs + 1))},
            **more,
        }
        self.job.write_text(json.dumps(job))

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the program in the project's folder, at home."""
        return super().start(*arguments, env={**self.home.environment, **(env or {})})


def target(
    hosts: Sequence[str], root: Path, installation: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the settings of a target that has the engine preview."""
    return {
        "hosts": list(hosts),
        "root": str(root),
        "engines": {"preview": installation},
        **more,
    }


def serve(folder: Path, home: Home, alias: str, *lines: str) -> Server:
    """Start a server that `home` knows as `alias`; `lines` go into its sshd_config."""
    server = Server(folder, lines).start()
    home.add(alias, server)
    return server
