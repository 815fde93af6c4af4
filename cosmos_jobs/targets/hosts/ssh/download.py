"""Files from a host: small ones together in one reply, big ones as streams that can go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import join, quote

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import HostError, TransferError
from cosmos_jobs.targets.hosts.source import cannot_write
from cosmos_jobs.targets.hosts.ssh.channel import ConnectionCut, Reply, Shell, all_of
from cosmos_jobs.targets.hosts.ssh.pool import Shells
from cosmos_jobs.targets.hosts.ssh.shell import DIGEST, refused

SMALL = 8 << 20
GROUP_BYTES, GROUP_FILES = 32 << 20, 500
BUFFER = 1 << 20
STREAMS = 3  # each with a second shell that digests

# Prints the sizes of the files that exist, and 0 for each that does not in between.
_SIZES = """\
for f do
  shift
  if [ -f "$f" ]; then echo 1; set -- "$@" "$f"; else echo 0; fi
done
[ $# = 0 ] || stat -L -c %s -- "$@"
"""

_SUM = re.compile(rb"^\\?([0-9a-f]{64}) ", re.MULTILINE)


class Fetch:
    """Files that are to be fetched, and the digests of those that have been."""

    def __init__(self, host: str, wanted: Mapping[str, Path]) -> None:
        self._host = host
        self._left = dict(wanted)
        self._streams: dict[str, _Stream] = {}
        self._tries: dict[str, int] = {}
        self.digests: dict[str, str] = {}

    async def go_on(self, shells: Shells) -> None:
        """Fetch what is left; ConnectionCut when the connection is lost meanwhile."""
        while self._left:
            sizes = await self._sizes(shells)
            for path in set(self._left) - set(sizes):
                del self._left[path]
            small = [path for path, size in sizes.items() if size <= SMALL]
            big = [path for path, size in sizes.items() if size > SMALL]
            streams = asyncio.Semaphore(STREAMS)
            await all_of(
                *(self._small(shells, some, sizes) for some in _groups(small, sizes)),
                *(self._big(shells, path, streams) for path in big),
            )

    async def _sizes(self, shells: Shells) -> dict[str, int]:
        found: dict[str, int] = {}
        paths = list(self._left)
        async with shells.shell() as shell:
            for start in range(0, len(paths), GROUP_FILES):
                some = paths[start : start + GROUP_FILES]
                reply = await shell.call(f"set -- {join(some)}\n{_SIZES}")
                if reply.code != 0:
                    raise self._failed(some[0], reply)
                words = reply.stdout.split()
                there = [path for path, bit in zip(some, words, strict=False) if bit == b"1"]
                found |= dict(zip(there, map(int, words[len(some) :]), strict=True))
        return found

    async def _small(self, shells: Shells, paths: Sequence[str], sizes: Mapping[str, int]) -> None:
        names = join(paths)
        async with shells.shell() as shell:
            reply = await shell.call(f"cat -- {names} && echo && sha256sum -b -- {names}")
        if reply.code != 0:
            told = reply.stderr.decode(errors="replace")
            raise self._failed(next((path for path in paths if path in told), paths[0]), reply)
        contents, at = [], 0
        for path in paths:
            contents.append(reply.stdout[at : at + sizes[path]])
            at += sizes[path]
        sums = [each.decode() for each in _SUM.findall(reply.stdout, at)]
        for path, content, digest in zip(paths, contents, sums, strict=False):
            if hashlib.sha256(content).hexdigest() != digest:
                self._damaged(path)
            else:
                try:
                    await asyncio.to_thread(atomic.write, self._left[path], content)
                except OSError as error:
                    raise cannot_write(self._left[path], error) from error
                self._done(path, digest)
        for path in paths[len(sums) :]:
            self._damaged(path)

    async def _big(self, shells: Shells, path: str, streams: asyncio.Semaphore) -> None:
        async with streams:
            stream = self._streams.get(path)
            if stream is None:
                try:
                    stream = self._streams[path] = _Stream(self._left[path])
                except OSError as error:
                    raise cannot_write(self._left[path], error) from error
            digesting = asyncio.create_task(self._digest(shells, path))
            try:
                async with shells.shell(wide=True) as shell:
                    reply = await stream.fill(shell, path)
                if reply.code != 0:
                    raise self._failed(path, reply)
                digest = await digesting
            finally:
                digesting.cancel()
                await asyncio.gather(digesting, return_exceptions=True)
            del self._streams[path]
            try:
                if stream.digest == digest:
                    await stream.keep()
                    self._done(path, digest)
                else:
                    self._damaged(path)
            finally:
                stream.drop()

    async def _digest(self, shells: Shells, path: str) -> str:
        async with shells.shell() as shell:
            reply = await shell.call(f"{DIGEST}digest < {quote(path)}")
        return reply.stdout.decode().strip()

    def _done(self, path: str, digest: str) -> None:
        del self._left[path]
        self.digests[path] = digest

    def _damaged(self, path: str) -> None:
        """Let a file be fetched once more; the second time it is an error."""
        self._tries[path] = self._tries.get(path, 0) + 1
        if self._tries[path] == 2:
            raise TransferError(f"{self._host}: {path} arrives damaged, also at a second try")

    def _failed(self, path: str, reply: Reply) -> HostError:
        error = refused(self._host, f"cannot read {path}", reply)
        # A shell that was killed says nothing about the file.
        return error if reply.code is None else TransferError(error.message, hint=error.hint)

    def drop(self) -> None:
        """Remove what is unfinished."""
        for stream in self._streams.values():
            stream.drop()
        self._streams.clear()


def _groups(paths: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield files that come in one reply."""
    group: list[str] = []
    size = 0
    for path in paths:
        group.append(path)
        size += sizes[path]
        if size >= GROUP_BYTES or len(group) == GROUP_FILES:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Stream:
    """A big file that arrives: written and digested as it does, and gone on with after a cut."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
        self._file = self._temporary.open("xb", buffering=BUFFER)
        self._sha256 = hashlib.sha256()
        self._received = 0
        self._error: OSError | None = None

    async def fill(self, shell: Shell, path: str) -> Reply:
        """Receive what is missing; what arrived before a cut stays."""
        script = f"dd bs=256k iflag=skip_bytes skip={self._received} status=none < {quote(path)}"
        try:
            reply = await shell.call(script, take=self._take)
        except ConnectionCut:
            if self._error is None:
                raise
        if self._error is not None:
            raise cannot_write(self._target, self._error) from self._error
        return reply

    def _take(self, data: bytes) -> None:
        # In the event loop: a thread costs more here than it brings, for it
        # waits for the loop, and the loop for it, at every piece.
        if self._error is not None:
            return
        self._sha256.update(data)
        self._received += len(data)
        try:
            self._file.write(data)
        except OSError as error:
            # Raised here it would end the connection, and nobody would know why.
            self._error = error

    @property
    def digest(self) -> str:
        """The sha256 of all that arrived."""
        return self._sha256.hexdigest()

    async def keep(self) -> None:
        """Make it the target, synced."""
        try:
            self._file.flush()
            await asyncio.to_thread(os.fsync, self._file.fileno())
            self._temporary.replace(self._target)
            await asyncio.to_thread(atomic.sync, self._target.parent)
        except OSError as error:
            raise cannot_write(self._target, error) from error

    def drop(self) -> None:
        """Remove what is unfinished."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)
