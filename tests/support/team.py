"""A team: a project in a bare repository, a GPU host on loopback, clones of people and of CI."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from os import kill
from pathlib import Path
from signal import SIGTERM
from typing import Any

import orjson

from tests.integration.test_changes import Repository
from tests.support.ci_workflows import Comments, Runner
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home


class Team:
    """What a team has in common; `ann` is a clone with a job of two runs, already pushed."""

    def __init__(self, folder: Path, home: Home, gpu: str, seconds: float = 0) -> None:
        self.folder = folder
        self.home = home
        self.root = folder / "the root"
        self.stand_in = StandIn(folder / "stand-in")
        self.comments = Comments(folder / "programs")
        self._gpu = target([gpu], self.root, self.stand_in.installation(seconds))
        self._hub = folder / "films.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self._hub)], check=True)
        self.ann = self.clone("ann")
        self.configure()
        self.ann.sweep(2)
        self.git = Repository(self.ann.root)
        self.git.write(".gitignore", "/.cosmos-jobs\n/outputs\n/reports\n")
        self.push()

    def configure(self, **more: Any) -> None:
        """Write ann's project file."""
        settings = {"version": 1, "target": "gpu", "targets": {"gpu": self._gpu}, **more}
        self.ann.root.joinpath("cosmos-jobs.yaml").write_bytes(orjson.dumps(settings, option=2))

    def push(self, branch: str = "") -> None:
        """Commit what ann has, on a new `branch` if one is named, and push it."""
        if branch:
            self.git.git("switch", "--quiet", "--create", branch)
        push(self.git)

    def clone(self, name: str) -> Remote:
        """Return a clone of somebody, at `main`."""
        return Remote(self._cloned(name, "main"), self.home)

    def runner(self, name: str = "runner", branch: str = "") -> Runner:
        """Return a new machine of CI, which has nothing but a clone, at ann's branch else."""
        checkout = self._cloned(name, branch or self.git.git("branch", "--show-current"))
        return Runner(self.folder / name, checkout, self.comments.folder)

    def secrets(self) -> dict[str, str]:
        """Return what the action needs to reach the GPU host, as its inputs."""
        return {
            "ssh_key": self.home.key.read_text().replace("\n", "\r\n"),
            "known_hosts": self.home.known_hosts.read_text(),
            "ssh_config": self.ssh_config(),
        }

    def ssh_config(self) -> str:
        """Return lines of `~/.ssh/config` that say where hosts are, and name no key."""
        lines = self.home.config.read_text().splitlines()
        return "\n".join(each for each in lines if "IdentityFile" not in each)

    def end_agents(self) -> None:
        """End the agents that a step has started and that no step has ended."""
        for path in self.folder.glob("*/temp/ENV"):
            for pid in re.findall(r"SSH_AGENT_PID=(\d+)", path.read_text()):
                with suppress(ProcessLookupError):
                    kill(int(pid), SIGTERM)

    def _cloned(self, name: str, branch: str) -> Path:
        checkout = self.folder / name / "films"
        # An empty repository has no branch to check out.
        at = ["--branch", branch] if any((self._hub / "objects").glob("??")) else []
        subprocess.run(["git", "clone", "-q", *at, str(self._hub), str(checkout)], check=True)
        return checkout


def push(repository: Repository) -> None:
    """Commit all, and push the branch."""
    repository.commit()
    repository.git("push", "--quiet", "--set-upstream", "origin", "HEAD")
