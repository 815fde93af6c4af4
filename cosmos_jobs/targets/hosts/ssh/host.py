"""A machine that is reached by SSH: one connection, found again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cosmos_jobs.core.backoff import Backoff
from cosmos_jobs.errors import ConnectionLost, HostError, NoContact
from cosmos_jobs.targets.hosts.base import Completed, Upload
from cosmos_jobs.targets.hosts.ssh import connect, download, upload
from cosmos_jobs.targets.hosts.ssh.channel import ConnectionCut, Counts, Reply
from cosmos_jobs.targets.hosts.ssh.dialogue import Talk
from cosmos_jobs.targets.hosts.ssh.pool import Shells
from cosmos_jobs.targets.hosts.ssh.upload_ranges import Sender

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

Result = TypeVar("Result")

# asyncio tells of each write to a connection that was just lost, on stderr; so do we, once.
logging.getLogger("asyncio").addFilter(lambda record: "socket.send()" not in str(record.msg))

_PAUSES = Backoff(0.5, 15.0, spread=0.5)
# So many connections in a row that carry less than this: the work never ends.
_FUTILE, _HARDLY_ANYTHING = 10, 16 << 20


class SSHHost:
    """The host at `address`: `[user@]host[:port]`, or an alias of ~/.ssh/config.

    An outage may last `connect_timeout_s`, then calls raise NoContact. `say`
    gets a line for people when contact is lost and found. `identity`, 12
    hexadecimal digits, names this client's partial uploads: with the same one
    a later process goes on with them, and others at work keep out of its way by
    files in the folder `locks`.
    """

    def __init__(
        self,
        address: str,
        *,
        connect_timeout_s: float = 60,
        say: Callable[[str], None] = lambda line: None,
        identity: str = "",
        locks: Path | None = None,
    ) -> None:
        self.name = address
        self._sender = Sender(identity or secrets.token_hex(6), locks)
        self._address = connect.parse(address)
        self._connect_timeout_s = connect_timeout_s
        self._say = say
        self._counts = Counts()
        self._shells: Shells | None = None
        self._chain: list[SSHClientConnection] = []
        self._opening: asyncio.Task[Shells] | None = None

    @property
    def traffic(self) -> Counts:
        """What the connections have cost so far."""
        return replace(self._counts)

    async def run(self, script: str, *, timeout_s: float = 60) -> Completed:
        """Run a POSIX shell script to its end; it is never run a second time by itself.

        Raises ConnectionLost when the connection is cut meanwhile, or nothing
        comes over it for `timeout_s`: it may have had an effect. NoContact when
        the script alone takes longer than that.
        """
        reply = await self.ask(script, timeout_s=timeout_s)
        return Completed(
            reply.code,
            reply.stdout.decode(errors="replace"),
            reply.stderr.decode(errors="replace"),
        )

    async def ask(self, script: str, *, timeout_s: float = 60) -> Reply:
        """Run a script as `run` does; return the bytes that it printed."""
        began, heard = time.time(), self._counts.received
        shells = await self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                async with shells.shell() as shell:
                    return await shell.call(f"exec </dev/null\n{script}")
        except TimeoutError as error:
            reason = f"it did not answer within {timeout_s:.0f} s"
            if self._counts.received > heard:
                raise self._no_contact(reason, began) from error
            # A connection that is stalled may be noticed by nobody else for long.
            shells.connection.abort()
            raise self._lost(reason, began) from error
        except ConnectionCut as error:
            raise self._lost("the connection was lost", began) from error

    @contextlib.asynccontextmanager
    async def talk(self, script: str) -> AsyncIterator[Talk]:
        """Begin a script that says something and waits for an answer.

        In here ConnectionLost is raised when the connection is cut. A script that
        was not answered sees its input end.
        """
        began = time.time()
        shells = await self._connected()
        try:
            async with shells.shell() as shell:
                talk = Talk(shell, script)
                try:
                    yield talk
                finally:
                    await talk.end()
        except ConnectionCut as error:
            raise self._lost("the connection was lost", began) from error

    def cut(self) -> None:
        """Take the connection for dead: the next call opens another one."""
        if self._shells is not None:
            self._shells.connection.abort()

    async def put(self, uploads: Sequence[Upload]) -> Mapping[str, str]:
        """Bring the files that the host lacks; after a cut it goes on with what is missing."""
        wanted = {each.target: each for each in uploads}
        if not wanted:
            return {}
        return await self._through_cuts(
            lambda shells: upload.bring(shells, [*wanted.values()], self.name, self._sender)
        )

    async def get(self, files: Mapping[str, Path]) -> Mapping[str, str]:
        """Fetch those of the files that exist; after a cut it goes on with what is missing."""
        fetch = download.Fetch(self.name, files)
        try:
            await self._through_cuts(fetch.go_on)
        finally:
            fetch.drop()
        return fetch.digests

    async def close(self) -> None:
        """Let go of the machine; what runs there goes on."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        connect.close(self._chain)
        for each in self._chain:
            await each.wait_closed()
        self._chain, self._shells = [], None

    async def accept_new_host_key(self) -> tuple[str, ...]:
        """Write down the host keys that are not known yet, also those of jump hosts.

        Return what was accepted. A key that differs from a known one is refused.
        """
        since = time.time()
        try:
            return await connect.accept(await connect.route(self._address))
        except Exception as error:
            if not connect.transient(error):
                raise
            raise self._no_contact(connect.words(error), since) from error

    async def _connected(self) -> Shells:
        """Return the shells of a connection that is open, opened anew if need be."""
        if self._shells is not None and not self._shells.connection.is_closed():
            return self._shells
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        # A crowd shares one attempt: who gives up does not end it for the others.
        return await asyncio.shield(self._opening)

    async def _open(self) -> Shells:
        met, dead = self._shells is not None, self._chain
        connect.close(dead)
        if met:
            self._say(f"{self.name}: connection lost; {self._trying()}")
        self._chain = await self._dial(met)
        self._shells = Shells(self._chain[-1], self._counts, self.name)
        self._counts.connections += 1
        return self._shells

    async def _dial(self, met: bool) -> list[SSHClientConnection]:
        """Return an open connection; try for as long as an outage may last."""
        since, end = time.time(), time.monotonic() + self._connect_timeout_s
        for number in itertools.count():
            left = end - time.monotonic()
            try:
                opened = await connect.connect(await connect.route(self._address), max(1.0, left))
            except Exception as error:
                if not connect.transient(error):
                    raise
                if not met and connect.unknown_name(error):
                    raise HostError(
                        f"there is no machine called {self.name}",
                        hint="look into ~/.ssh/config and at hosts in cosmos-jobs.yaml",
                    ) from error
                pause = _PAUSES.pause(number)
                if time.monotonic() + pause >= end:
                    raise self._no_contact(connect.words(error), since) from error
                if not met and number == 0:
                    self._say(f"{self.name}: {connect.words(error)}; {self._trying()}")
                await asyncio.sleep(pause)
            else:
                if met or number:
                    self._say(f"{self.name}: connected")
                return opened
        raise AssertionError

    def _trying(self) -> str:
        return f"trying again for {self._connect_timeout_s:.0f} s"

    async def _through_cuts(self, work: Callable[[Shells], Awaitable[Result]]) -> Result:
        """Do the work, again after each cut, unless hardly anything passes in between."""
        since, futile = time.time(), 0
        while True:
            shells = await self._connected()
            before = self._counts.sent + self._counts.received
            try:
                return await work(shells)
            except ConnectionCut as error:
                moved = self._counts.sent + self._counts.received - before
                futile = futile + 1 if moved < _HARDLY_ANYTHING else 0
                if futile == _FUTILE:
                    raise self._no_contact("it is cut again and again", since) from error

    def _lost(self, reason: str, since: float) -> ConnectionLost:
        told = self._no_contact(reason, since)
        return ConnectionLost(told.message, hint=told.hint)

    def _no_contact(self, reason: str, since: float) -> NoContact:
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
        return NoContact(
            f"no contact with {self.name} since {clock}: {reason}",
            hint="what runs there goes on; cosmos-jobs doctor tells what is wrong",
        )
