"""The machine we are on: its shell by subprocess, its files by copies and hard links."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets import layout
from cosmos_jobs.targets.hosts.base import Completed, Upload
from cosmos_jobs.targets.hosts.source import SourceChanged, cannot_write, opened
from cosmos_jobs.targets.layout import Folder, Name

MIN_AGE_S = 3600
"""Younger inputs may have been brought for a batch that is about to come."""

_BATCH, _INPUT = re.compile(layout.BATCH), re.compile(layout.INPUT)


class LocalHost:
    """The machine that cosmos-jobs itself runs on."""

    name = "localhost"
    traffic = None

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        """Run a POSIX shell script to its end; HostError when it takes longer than `timeout_s`."""
        return await asyncio.to_thread(_run, script, timeout_s)

    async def put(self, uploads: Sequence[Upload]) -> Mapping[str, str]:
        """Copy files into place unless they are there; return what is wrong with their sources."""
        return await asyncio.to_thread(_put, uploads)

    async def get(self, files: Mapping[str, Path]) -> Mapping[str, str]:
        """Link those of the files that exist into place; return their sha256."""
        return await asyncio.to_thread(_get, files)

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


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


def _put(uploads: Sequence[Upload]) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for upload in uploads:
        target = Path(upload.target)
        try:
            if target.exists():
                # What was not in use for an hour may be pruned.
                with suppress(PermissionError):
                    os.utime(target)
            else:
                _copy(upload, target)
        except SourceChanged as change:
            wrong[upload.target] = str(change)
        except OSError as error:
            words = f"this machine: cannot write {target.parent}: {error.strerror}"
            raise HostError(words) from error
    return wrong


def _copy(upload: Upload, target: Path) -> None:
    with opened(upload.source) as source, atomic.replacing(target) as temporary:
        with temporary.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        if atomic.sha256(temporary) != upload.sha256:
            raise SourceChanged.since_planned(upload.source)
        temporary.chmod(0o444)


def _get(wanted: Mapping[str, Path]) -> dict[str, str]:
    found = {}
    for source, target in wanted.items():
        if Path(source).is_file():
            try:
                atomic.link(Path(source), target)
            except OSError as error:
                raise cannot_write(target, error) from error
            found[source] = atomic.sha256(target)
    return found


def sweep(root: Path, batches: Collection[str], inputs: Collection[str]) -> int:
    """Delete the batches and inputs below `root` that are not named; return the bytes freed.

    Only files that cosmos-jobs itself names like this are touched; an input
    is named by its sha256. What the batches read stays, and while there are
    any, what is young: it may be for one that is about to come.
    """
    old = [
        each
        for each in root.glob(f"{Folder.BATCHES}/ba_*")
        if _BATCH.fullmatch(each.name) and each.name not in batches and not each.is_symlink()
    ]
    young = time.time() - MIN_AGE_S
    read = {
        sha256 for each in batches for sha256 in _lines(root / Folder.BATCHES / each / Name.INPUTS)
    }
    read.update(inputs)
    unused = [
        each
        for each in root.glob(f"{Folder.INPUTS}/*")
        if (found := _INPUT.fullmatch(each.name))
        and found[1] not in read
        and not (batches and each.stat().st_ctime > young)
    ]
    freed = sum(_freed(file) for folder in old for file in folder.rglob("*") if file.is_file())
    freed += sum(_freed(file) for file in unused)
    for folder in old:
        shutil.rmtree(folder)
    for file in unused:
        file.unlink(missing_ok=True)
    return freed


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none when it is not there yet."""
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def _freed(path: Path) -> int:
    """Return a file's bytes if this is its last link."""
    stat = path.stat()
    return stat.st_size if stat.st_nlink == 1 else 0
