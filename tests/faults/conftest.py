"""A GPU host that things happen to, and what must be true of it afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures_ssh import Proxies, Servers
from tests.support.processes import alive, members
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home, Proxy, Server
from tests.support.waiting import until

LOCKS = ("gpus/*.lock", "gpus/*.queue", "runs/.lock")
MB = 1 << 20
BIG = 40 * MB
BOX = slice(0, 4), slice(4, 8), slice(8, None)
RUN_AGAIN = ("failed", "lost", "cancelled")


class World:
    """One GPU host at `root`, in a yard with things that are nobody's business.

    `disks` are the folders that stand for its root: more than one where
    several hosts, each with a disk of its own, have the same root.
    """

    def __init__(self, folder: Path, home: Home, servers: Servers, proxies: Proxies) -> None:
        self.folder = folder
        self.home = home
        self.engine = StandIn(folder / "engine")
        self.yard = folder / "yard"
        self.root = self.yard / "gpu root"
        self.disks = [self.root]
        self.projects: list[Remote] = []
        self._servers, self._proxies = servers, proxies
        self.server: Server | None = None
        for name in (
            "gpu",  # the first word of root
            "root/batches/ba_0123456789abcdef/batch.json",
            "inputs/precious.mp4",
            "batches/ba_0123456789abcdef/out/rs_0123456789abcdef/output.mp4",
            "batches/ba_0123456789abcdef/claim/pid",
            "runs/rs_0123456789abcdef",
            "gpus/0.lock",
        ):
            canary = self.yard / name
            canary.parent.mkdir(parents=True, exist_ok=True)
            canary.write_text("1 not yours")
        self._before = _listing(self.yard, self.root.name)

    def serve(self, *lines: str, alias: str = "gpu-1") -> Server:
        """Start the host's server."""
        self.server = self._servers(alias, *lines)
        return self.server

    def machine(self, alias: str) -> Server:
        """Start the server of a host that has a disk of its own at root."""
        if self.disks == [self.root]:
            self.disks.clear()
        disk = self.folder / f"disk-{alias}"
        for folder in (disk, self.root):
            folder.mkdir(exist_ok=True)
        self.disks.append(disk)
        enter = self.folder / f"enter-{alias}"
        inside = 'mount --bind "$0" "$1" && exec sh -c "$SSH_ORIGINAL_COMMAND"'
        line = shlex.join(
            ["exec", "unshare", "--mount", "sh", "-c", inside, str(disk), str(self.root)]
        )
        enter.write_text(f"#!/bin/sh\n{line}\n")
        enter.chmod(0o755)
        if subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
            lacking("cannot give a host a disk of its own: unshare --mount is refused")
        return self.serve(f"ForceCommand {enter}", alias=alias)

    def network(self, alias: str = "far-gpu") -> Proxy:
        """Put a network in front of the server, and lead an alias through it."""
        return self._proxies(alias, self.server or self.serve())

    def project(self, name: str = "project", **settings: Any) -> Remote:
        """Return a new project that runs on the host; `settings` are for `configure`."""
        made = Remote(self.folder / name, self.home)
        self.projects.append(made)
        self.configure(made, **settings)
        return made

    def configure(
        self,
        project: Remote,
        *hosts: str,
        seconds: float = 0.02,
        padding: int = 0,
        **more: Any,
    ) -> None:
        """Write a project's cosmos-jobs.yaml."""
        hosts = hosts or ("gpu-1",)
        installation = self.engine.installation(seconds, padding)
        settings = {"gpus": 1, "max_batch": 5, **more}
        project.configure(h100=target(hosts, self.root, installation, **settings))

    # --- what happens -----------------------------------------------------------------------

    def begun(self) -> int:
        """Return how many runs the engine has begun."""
        return len(self.engine.lines("begin"))

    def await_end(self) -> None:
        """Wait until the batches that were started have ended."""
        until(lambda: all((each / "exit").exists() for each in self.batches()))

    def batches(self) -> list[Path]:
        """Return the folders of the batches that were started."""
        return [each.parent for disk in self.disks for each in disk.glob("batches/*/claim")]

    def working(self) -> list[int]:
        """Return the sessions of the batches that have not ended."""
        claims = [each / "claim" / "pid" for each in self.batches() if not (each / "exit").exists()]
        return [int(each.read_text().split()[0]) for each in claims if each.exists()]

    def kill_sessions(self) -> None:
        """Kill every process of the batches that are at work."""
        for session in self.working():
            for pid in members(session):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self) -> dict[int, str]:
        """Return the living processes that have to do with the root or its batches."""
        return {pid: words for pid, words in _processes() if str(self.root) in words}

    # --- what must be true --------------------------------------------------------------------

    def converge(self) -> None:
        """Apply each project once more: that must be enough."""
        for project in self.projects:
            project.run("apply")

    def assert_whole(self) -> None:
        """Nothing is missing, nothing was done twice without a reason, nothing is left behind."""
        attempts: dict[str, dict[str, Mapping[str, Any]]] = {}
        for project in self.projects:
            runs = project.runs()
            assert {run["state"] for run in runs} == {"succeeded"}
            assert project.summary() == {"keep": len(runs)}
            for run in runs:
                self._assert_video(project, run)
                for attempt in _attempts(run):
                    attempts.setdefault(str(run["id"]), {})[attempt["batch"]] = attempt
            self._assert_tidy(project)
        self._assert_once(attempts)
        self._assert_nothing_left()
        assert _listing(self.yard, self.root.name) == self._before

    def _assert_video(self, project: Remote, run: Mapping[str, Any]) -> None:
        """The video is, byte by byte, what the engine made of this run."""
        path = project.root / "outputs" / "runs" / str(run["id"]) / "output.mp4"
        content, video = path.read_bytes(), self.engine.video.read_bytes()
        assert run["output"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert content.startswith(video)
        size, kind, box = (content[len(video) :][part] for part in BOX)
        assert (int.from_bytes(size, "big"), kind) == (len(box) + 8, b"free")
        asked, end = json.JSONDecoder().raw_decode(box.decode("latin-1"))
        assert asked["id"] == run["id"]
        assert box[end:] == hashlib.shake_256(box[:end]).digest(len(box) - end)
        for place in project.root.glob("outputs/small/**/*.mp4"):
            assert place.stat().st_size > 0

    def _assert_once(self, attempts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Each run was begun once, or an attempt says why it was begun again."""
        begun: dict[str, list[str]] = {}
        for run, batch in self.engine.lines("begin"):
            begun.setdefault(run, []).append(batch)
        assert begun.keys() == attempts.keys()
        for run, batches in begun.items():
            known = attempts[run]
            assert max(Counter(batches).values()) == 1, f"{run} was begun twice in a batch"
            assert set(batches) <= known.keys(), f"{run} was begun in a batch nobody knows of"
            ended = Counter(str(known[batch]["state"]) for batch in batches)
            assert ended["succeeded"] == 1, (run, known)
            for batch in batches:
                state, reason = known[batch]["state"], known[batch].get("reason")
                assert state == "succeeded" or (state in RUN_AGAIN and reason), (run, known)

    def _assert_nothing_left(self) -> None:
        """No process is left, and each lock can be had."""
        until(lambda: not self.processes(), why=lambda: f"left: {self.processes()}")
        for disk in self.disks:
            for lock in (each for name in LOCKS for each in disk.glob(name)):
                had = subprocess.run(["flock", "-n", str(lock), "true"], check=False)
                assert had.returncode == 0, f"{lock} is held"
            for batch in disk.glob("batches/*"):
                ended = [each for each in ("exit", "cancel", "refused") if (batch / each).exists()]
                pid = batch / "claim" / "pid"
                gone = pid.exists() and not members(int(pid.read_text().split()[0]))
                assert ended or gone, f"{batch} has not ended"

    def _assert_tidy(self, project: Remote) -> None:
        """Nothing half done is left in the project."""
        left = [
            str(each.relative_to(project.root))
            for folder in ("outputs", ".cosmos-jobs")
            for each in (project.root / folder).rglob(".*")
            if each.name not in (".gitignore",)
        ]
        assert left == []


def _attempts(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = run["attempts"]
    assert isinstance(found, list)
    return found


def _listing(folder: Path, root: str) -> dict[str, tuple[int, bytes]]:
    """Return all files of a folder but those below `root` with their mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != root:
            content = path.read_bytes() if path.is_file() else b""
            found[str(name)] = path.lstat().st_mode, content
    return found


def _processes() -> Iterator[tuple[int, str]]:
    """Yield the living processes, each with its command line, environment and folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid() or not alive(pid):
            continue
        with suppress(OSError):
            words = [(folder / name).read_bytes().decode() for name in ("cmdline", "environ")]
            yield pid, "\n".join([*words, str((folder / "cwd").readlink())])


def fatten(clip: Path, size: int, seed: int) -> None:
    """Make a clip big, by a box that players skip."""
    data = random.Random(seed).randbytes(size)
    clip.write_bytes(clip.read_bytes() + (size + 8).to_bytes(4, "big") + b"free" + data)


def dice() -> random.Random:
    """Return what decides when faults happen: each time the same, or as FAULTS_DICE says."""
    return random.Random(int(os.environ.get("FAULTS_DICE", "4")))


def kill(client: subprocess.Popen[str]) -> None:
    """Kill a client as `kill -9` does."""
    client.send_signal(signal.SIGKILL)
    client.communicate()


def lacking(reason: str) -> None:
    """Skip a test for what this machine lacks; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lacking(f"cannot mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system's options."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture
def world(
    tmp_path: Path, ssh_home: Home, ssh_servers: Servers, ssh_proxies: Proxies
) -> Iterator[World]:
    """Return a GPU host; what still lives on it after the test is killed."""
    made = World(tmp_path, ssh_home, ssh_servers, ssh_proxies)
    yield made
    for pid in made.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
