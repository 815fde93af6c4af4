"""A real Docker engine of the tests' own, and an image that needs no registry.

Plain helpers: `Dockerd` keeps its socket, data and containers in one folder,
and takes no network. The image is nearly empty: programs come from the host,
by the read-only `volumes()`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Self

IMAGE = "cosmos-jobs-tests:bare"
REPOSITORY = Path(__file__).parents[2]
# Where programs look for the host's; links on most machines.
_SYSTEM = ("bin", "sbin", "lib", "lib64")
_EMPTY = ("dev", "etc", "proc", "run", "sys", "tmp", "usr")
_START_S, _STOP_S = 30, 30


def missing() -> str:
    """Return what a machine lacks to run an engine of its own, nothing if it has all."""
    if not shutil.which("dockerd") or not shutil.which("docker"):
        return "docker is not installed: invoke provision"
    if os.geteuid() != 0:
        return "only root can start a Docker engine"
    return ""


class Dockerd:
    """A Docker engine in a folder; `options` are more options of dockerd.

    The folder's path must be short: there are sockets in it.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.environment = {**os.environ, "DOCKER_HOST": self.host}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the engine, wait until it answers, and see that it has the image."""
        command = [
            # It ends with us, however we end.
            "setpriv",
            "--pdeathsig=TERM",
            "dockerd",
            f"--host={self.host}",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid",
            "--storage-driver=vfs",
            "--iptables=false",
            "--ip-forward=false",
            "--bridge=none",
            *self._options,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()
        if not self.run("images", "--quiet", IMAGE):
            self.run("import", "-", IMAGE, data=_image())
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self._log()
            with contextlib.suppress(subprocess.CalledProcessError):
                self.run("version")
                return
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.05)

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def run(self, *arguments: str, data: bytes | None = None) -> str:
        """Run the client `docker`; return what it prints."""
        done = subprocess.run(
            ["docker", *arguments],
            input=data,
            capture_output=True,
            env=self.environment,
            timeout=60,
            check=True,
        )
        return done.stdout.decode().strip()

    def containers(self) -> list[str]:
        """Return the names of all containers, also of those that do not run."""
        return self.run("ps", "--all", "--format", "{{.Names}}").split()

    def kill(self) -> None:
        """Kill the engine; its containers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        # Its containerd dies with it, but counts as alive until somebody has taken note of that.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask the engine to end, as systemctl stop does; kill it when it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def end(self) -> None:
        """Stop the engine for good: nothing of it is left, nor the folder."""
        if self._process is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                # Else they have ten seconds to end by themselves.
                for name in self.containers():
                    self.run("rm", "--force", name)
        self.stop()
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for mount in self._mounts():
            subprocess.run(["umount", "--lazy", mount], check=False)
        # Never through a mount: volumes are folders of the host.
        if not self._mounts():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> list[int]:
        """Return the processes that name our folder, and those below them: shims, containers."""
        parents: dict[int, int] = {}
        found: set[int] = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(process.name)
                stat = (process / "stat").read_text().rpartition(")")[2].split()
                parents[pid] = int(stat[1])
                if f"{self.folder}/".encode() in (process / "cmdline").read_bytes():
                    found.add(pid)
        found.discard(os.getpid())
        while below := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= below
        return sorted(found)

    def _mounts(self) -> list[str]:
        """Return what is mounted in our folder, the innermost first."""
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        ours = [each for each in mounted if Path(each).is_relative_to(self.folder)]
        return sorted(ours, key=len, reverse=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()


def _image() -> bytes:
    """Return a file system as tar: empty folders, and the host's links into /usr."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in _EMPTY:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for name in _SYSTEM:
            if (there := Path("/") / name).is_symlink():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, str(there.readlink())
                tar.addfile(link)
    return packed.getvalue()


def volumes() -> list[str]:
    """Return volumes with all that this Python, its packages and a shell need."""
    folders = ["/usr", *(f"/{name}" for name in _SYSTEM if _is_folder(Path("/") / name))]
    for each in (sys.base_prefix, sys.prefix, str(REPOSITORY)):
        if not any(Path(each).is_relative_to(folder) for folder in folders):
            folders.append(each)
    return [f"{folder}:{folder}:ro" for folder in folders]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def settings(*more: str) -> dict[str, Any]:
    """Return the entry `docker` of an engine, with `more` volumes; it has no network."""
    return {"image": IMAGE, "volumes": [*volumes(), *more], "args": ["--network=none"]}


PATH = os.pathsep.join((f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin"))
"""Where programs are in a container with `volumes()`."""
