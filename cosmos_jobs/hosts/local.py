"""The machine we are on: its shell by subprocess, its files by copies and hard links."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmos_jobs import files
from cosmos_jobs.errors import HostError
from cosmos_jobs.protocols import Completed

_BATCH = re.compile(r"ba_[0-9a-f]{16}")
# Its sha256; in front of it the mark of a copy that was cut.
_INPUT = re.compile(r"(?:\.[0-9a-f]{12}\.)?([0-9a-f]{64})\.\w+")


_DETACHED: dict[str, Any] = {
    "file_actions": [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ],
    "setsid": True,
}


class LocalHost:
    """The machine that cosmos-jobs itself runs on."""

    name = "localhost"

    def __init__(self) -> None:
        self._children: list[int] = []

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        """Run a POSIX shell script to its end; HostError when it takes longer than `timeout_s`."""
        return await asyncio.to_thread(_run, script, timeout_s)

    async def spawn(self, script: str) -> None:
        """Start a script file in a session of its own."""
        self._reap()
        self._children.append(os.posix_spawn("/bin/sh", ["sh", script], os.environ, **_DETACHED))

    def _reap(self) -> None:
        """Let the dead rest: a child that nobody waits for stays in the process table."""
        self._children = [pid for pid in self._children if os.waitpid(pid, os.WNOHANG) == (0, 0)]

    async def write(self, contents: Mapping[str, bytes]) -> None:
        """Write small files, each whole or not at all."""
        for path, data in contents.items():
            await asyncio.to_thread(files.write, Path(path), data)

    async def read(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Return the contents of those files that exist."""
        return await asyncio.to_thread(_read, paths)

    async def put(self, source: Path, target: str, sha256: str) -> None:
        """Copy a file into place unless it is there; HostError if its content is another."""
        if not Path(target).exists():
            await asyncio.to_thread(_copy, source, Path(target), sha256)

    async def get(self, source: str, target: Path) -> str:
        """Link a file into place; return its sha256."""
        return await asyncio.to_thread(_link, Path(source), target)


def _run(script: str, timeout_s: float) -> Completed:
    try:
        done = subprocess.run(
            ["/bin/sh", "-s"],
            input=script.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"this machine did not answer within {timeout_s:.0f} s") from error
    return Completed(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def _read(paths: Sequence[str]) -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for path in paths if Path(path).is_file()}


def _copy(source: Path, target: Path, sha256: str) -> None:
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        if files.sha256(temporary) != sha256:
            raise HostError(f"{source} has changed since it was planned", hint="apply again")
        temporary.chmod(0o444)


def _link(source: Path, target: Path) -> str:
    files.link(source, target)
    return files.sha256(target)


def sweep(root: Path, batches: Collection[str], inputs: Collection[str]) -> int:
    """Delete the batches and inputs below `root` that are not named; return the bytes freed.

    Only files that cosmos-jobs itself names like this are touched; an input
    is named by its sha256.
    """
    old = [
        each
        for each in root.glob("batches/ba_*")
        if _BATCH.fullmatch(each.name) and each.name not in batches and not each.is_symlink()
    ]
    unused = [
        each
        for each in root.glob("inputs/*")
        if (found := _INPUT.fullmatch(each.name)) and found[1] not in inputs
    ]
    freed = sum(_freed(file) for folder in old for file in folder.rglob("*") if file.is_file())
    freed += sum(_freed(file) for file in unused)
    for folder in old:
        shutil.rmtree(folder)
    for file in unused:
        file.unlink(missing_ok=True)
    return freed


def _freed(path: Path) -> int:
    """Return a file's bytes if this is its last link."""
    stat = path.stat()
    return stat.st_size if stat.st_nlink == 1 else 0
