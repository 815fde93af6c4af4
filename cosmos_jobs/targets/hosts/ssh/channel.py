"""Shells on a host: channels of one connection that run scripts one after the other.

A channel costs two round trips and a login shell's start, a script in an open
shell one round trip. Data can follow a script: what the script does not read
would be taken for the next one, so each begins with a secret of its shell, and
a shell that reads anything else ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncssh import SSHClientChannel, SSHClientConnection

PACKET = 1 << 15
# Constant, and read by any login shell alike: sh, zsh, fish, csh.
_REMOTE = (
    "exec sh -c 'IFS= read -r k; while read -r t n m; do"
    ' [ "$t" = "$k" ] || exit 99;'
    # A script ends with its mark: one that was cut on the way does not.
    ' s=$(head -c "$n"); case "$s" in *"$m") ;; *) exit 99;; esac;'
    ' (eval "${s%"$m"}"); printf "\\n%s %03d" "$m" "$?"; printf "\\n%s" "$m" >&2;'
    " done'"
)
_CODE = len(" 000")


class ConnectionCut(Exception):
    """The connection is gone: whether a script had an effect is not known."""


@dataclass(slots=True)
class Counts:
    """What a host's connections have cost so far; bytes are those of scripts, data and replies."""

    connections: int = 0
    channels: int = 0
    sent: int = 0
    received: int = 0

    def __str__(self) -> str:
        each = "s" if self.connections != 1 else ""
        channels = f"{self.connections} connection{each}, {self.channels} channels"
        return f"{channels}, {_size(self.sent)} sent, {_size(self.received)} received"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a script printed; `code` is None when its shell died without a status."""

    code: int | None
    stdout: bytes
    stderr: bytes


@dataclass(slots=True)
class _Call:
    """A script that runs or waits for its turn; `take` gets what it prints, as it comes."""

    mark: bytes
    take: Callable[[bytes], None] | None
    done: asyncio.Future[int | None]
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    code: int | None = None
    out_ended: bool = False
    err_ended: bool = False


class Shell:
    """One channel. Scripts may be sent before earlier ones are done; replies keep the order."""

    def __init__(self, connection: SSHClientConnection, counts: Counts, window: int) -> None:
        self.window = window
        self._connection = connection
        self._counts = counts
        self._channel: SSHClientChannel[bytes] | None = None
        self._calls: deque[_Call] = deque()
        self._sending = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._secret = secrets.token_hex(16)
        self._status: int | None = None
        self.alive = True

    async def open(self) -> None:
        """Open the channel; asyncssh.ChannelOpenError when the host allows no more."""
        session: Any = self  # asyncssh asks for the methods below, not for its class
        self._channel, _ = await self._connection.create_session(
            lambda: session, _REMOTE, encoding=None, window=self.window, max_pktsize=PACKET,
            request_pty=False,
        )  # fmt: skip
        self._counts.channels += 1
        self._channel.set_write_buffer_limits(high=1 << 19)
        # What a login shell says as it starts goes to a script that nobody waits for.
        call = self._new_call(None)
        self._calls.append(call)
        await self._write(f"{self._secret}\n".encode() + self._request(call, b":"))

    async def call(
        self,
        script: str,
        data: AsyncIterable[bytes] | None = None,
        take: Callable[[bytes], None] | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Run a script, which has to read all of `data` from its standard input.

        With `take` the output goes there piece by piece. `ended` is told when
        the script has ended, be there data left or not. Raises ConnectionCut
        when the connection is lost meanwhile.
        """
        call = self._new_call(take)
        call.done.add_done_callback(lambda _: ended())
        async with self._sending:
            self._calls.append(call)
            if not self.alive:
                self._fail()
            await self._write(self._request(call, script.encode()))
            if data is not None:
                async for block in data:
                    if not self.alive:
                        break
                    await self._write(block)
        code = await call.done
        if code is None and self._connection.is_closed():
            raise ConnectionCut
        return Reply(code, bytes(call.out), bytes(call.err))

    def _new_call(self, take: Callable[[bytes], None] | None) -> _Call:
        done = asyncio.get_running_loop().create_future()
        return _Call(secrets.token_hex(16).encode(), take, done)

    def _request(self, call: _Call, script: bytes) -> bytes:
        body = script + b"\n" + call.mark
        return f"{self._secret} {len(body)} {call.mark.decode()}\n".encode() + body

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        if self.alive and self._channel is not None:
            # A channel that the host is closing is told of in a moment, by connection_lost.
            with contextlib.suppress(BrokenPipeError):
                self._channel.write(data)
                self._counts.sent += len(data)

    @property
    def idle(self) -> bool:
        """Whether it is alive and has nothing to do."""
        return self.alive and not self._calls and not self._sending.locked()

    def kill(self) -> None:
        """Close the channel; what runs in it is told to end."""
        if self.alive and self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.terminate()
            self._channel.abort()
        self.connection_lost(None)

    # What asyncssh calls.

    def connection_made(self, channel: SSHClientChannel[bytes]) -> None:
        """Take the channel."""
        self._channel = channel

    def session_started(self) -> None:
        """Nothing to do: the first line is written once the channel is open."""

    def pause_writing(self) -> None:
        """Wait before writing more."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Write on."""
        self._writable.set()

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def exit_status_received(self, status: int) -> None:
        """Keep the status of a shell that ended by itself."""
        self._status = status

    def exit_signal_received(self, *_: object) -> None:
        """Leave the status unknown."""

    def xon_xoff_requested(self, *_: object) -> None:
        """Nothing to do without a terminal."""

    def data_received(self, data: bytes, kind: int | None) -> None:
        """Give output to the script that it belongs to."""
        self._counts.received += len(data)
        while data and (call := self._reading(kind)):
            data = self._out(call, data) if kind is None else self._err(call, data)
            if call.out_ended and call.err_ended:
                self._calls.popleft()
                if not call.done.done():
                    call.done.set_result(call.code)

    def _reading(self, kind: int | None) -> _Call | None:
        for call in self._calls:
            if not (call.out_ended if kind is None else call.err_ended):
                return call
        return None

    def _out(self, call: _Call, data: bytes) -> bytes:
        """Take output up to the mark; return what is behind it."""
        end = b"\n" + call.mark
        longest = len(end) + _CODE
        if call.take is not None and not call.out and self._goes_on(data, longest):
            call.take(data)
            return b""
        start = max(0, len(call.out) - longest)
        call.out += data
        at = call.out.find(end, start)
        stop = at + longest
        if at < 0 or len(call.out) < stop:
            # The mark may be cut in two: of what is passed on, hold back as much.
            self._pass_on(call, len(call.out) - longest)
            return b""
        call.code, call.out_ended = int(call.out[stop - _CODE : stop]), True
        rest = bytes(call.out[stop:])
        del call.out[at:]
        self._pass_on(call, at)
        return rest

    def _goes_on(self, data: bytes, longest: int) -> bool:
        """Return at little cost whether nothing of a mark is in the data.

        As long as no other script has been sent, nothing comes behind a mark.
        """
        return len(self._calls) == 1 and b"\n" not in data[-longest:]

    def _pass_on(self, call: _Call, count: int) -> None:
        if call.take is not None and count > 0:
            call.take(bytes(call.out[:count]))
            del call.out[:count]

    def _err(self, call: _Call, data: bytes) -> bytes:
        end = b"\n" + call.mark
        call.err += data
        at = call.err.find(end)
        if at < 0:
            return b""
        rest = bytes(call.err[at + len(end) :])
        del call.err[at:]
        call.err_ended = True
        return rest

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait."""
        self.alive = False
        self._writable.set()
        self._fail()

    def _fail(self) -> None:
        while self._calls:
            call = self._calls.popleft()
            if not call.done.done():
                call.done.set_result(call.code if call.out_ended else self._status)


async def all_of(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return all results; the first error ends the rest, and is raised as it is."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
