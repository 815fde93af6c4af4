"""The shells of one connection: opened when needed, lent, and used again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cosmos_jobs.errors import HostError
from cosmos_jobs.targets.hosts.ssh.channel import ConnectionCut, Counts, Shell

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

LIMIT = 8  # OpenSSH allows 10 channels (MaxSessions); others may use the connection too.
BIG_UPLOADS = 2  # one is prepared or finished while the other is sent
# A host sends a window's bytes before it waits for us. More than the network
# holds at a time does not fit into the processor's cache, and is slower.
_NARROW, _WIDEST = 4 << 20, 64 << 20
_FASTEST_PER_S = 500e6
_HOSTS_WINDOW = 2 << 20  # OpenSSH's, for what we send
_AT_LEAST = 2


class Shells:
    """The shells of one connection: opened when needed, used again, at most LIMIT at once."""

    def __init__(self, connection: SSHClientConnection, counts: Counts, name: str) -> None:
        self.connection = connection
        self._counts = counts
        self._name = name
        self._free = asyncio.Semaphore(LIMIT)
        self._idle: list[Shell] = []
        self._open = 0
        self._lent = 0
        self._window = 0
        self._limit = LIMIT
        self.big_uploads = asyncio.Semaphore(BIG_UPLOADS)

    @property
    def channels_worth(self) -> int:
        """How many channels it takes to send as fast as the way allows, each with a host's window.

        More than that only cost processes.
        """
        return max(_AT_LEAST, self._window // _HOSTS_WINDOW)

    @contextlib.asynccontextmanager
    async def shell(self, *, wide: bool = False) -> AsyncIterator[Shell]:
        """Lend a shell, when one is free; a `wide` one is fit for much output on a long way."""
        while True:
            await self._free.acquire()
            if shell := await self._take(wide=wide):
                break
        async with self._lending(shell):
            yield shell

    @contextlib.asynccontextmanager
    async def spare(self) -> AsyncIterator[Shell | None]:
        """Lend a shell if there is one that nobody misses: who has one already may ask."""
        if self._lent >= self._limit - 1 or self._free.locked():
            yield None
            return
        await self._free.acquire()
        shell = await self._take()
        if shell is None:
            yield None
            return
        async with self._lending(shell):
            yield shell

    @contextlib.asynccontextmanager
    async def _lending(self, shell: Shell) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # One that still has something to do will never be asked for it.
            if shell.idle:
                self._idle.append(shell)
            else:
                shell.kill()
                self._open -= 1
            self._lent -= 1
            self._free.release()

    async def _take(self, *, wide: bool = False) -> Shell | None:
        """Return a shell for a place that was free, None if the host allows no more."""
        import asyncssh

        self._lent += 1
        try:
            if shell := self._from_idle(self._window if wide else 0):
                return shell
            try:
                return await self._new()
            except asyncssh.ChannelOpenError as error:
                if self.connection.is_closed():
                    raise ConnectionCut from error
                if shell := self._from_idle(0):
                    return shell
                if not self._open:
                    raise HostError(f"{self._name} opens no channel: {error.reason}") from error
        except BaseException as error:
            self._lent -= 1
            self._free.release()
            if isinstance(error, (OSError, asyncssh.Error)):
                raise ConnectionCut from error
            raise
        # The host allows fewer than we thought: this place stays taken.
        self._lent -= 1
        self._limit -= 1
        return None

    def _from_idle(self, window: int) -> Shell | None:
        self._open -= sum(not each.alive for each in self._idle)
        self._idle = [each for each in self._idle if each.alive]
        for shell in reversed(self._idle):
            if shell.window >= window:
                self._idle.remove(shell)
                return shell
        return None

    async def _new(self) -> Shell:
        shell = Shell(self.connection, self._counts, self._window or _NARROW)
        self._open += 1
        began = time.monotonic()
        try:
            await shell.open()
        except BaseException:
            self._open -= 1
            raise
        if not self._window:
            # To open a channel and to start a program are a round trip each.
            round_trip_s = (time.monotonic() - began) / 2
            self._window = int(min(_WIDEST, max(_NARROW, round_trip_s * _FASTEST_PER_S)))
        return shell
