"""A script on a host that says something, waits for an answer, and then ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from cosmos_jobs.targets.hosts.ssh.channel import PACKET, Reply, Shell

PADDING = 64
"""So many bytes have to follow what is to be heard at once: a shell keeps back as many as its
mark has, until it is sure that they are none."""


class Talk:
    """What a script says is heard as it comes; it gets one answer on its standard input.

    It must read all of the answer, and may end without one only if it gets none.
    """

    def __init__(self, shell: Shell, script: str) -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        call = shell.call(script, self._answers(), self._said.put_nowait, self._ended.set)
        self._call = asyncio.create_task(call)
        self._call.add_done_callback(lambda _: self._said.put_nowait(b""))

    async def hear(self) -> bytes:
        """Return what it says next; nothing once it is over, or the connection is."""
        return await self._said.get()

    async def answer(self, data: bytes) -> Reply:
        """Answer, perhaps with nothing, and wait for the script's end; ConnectionCut."""
        if not self._answer.done():
            self._answer.set_result(data)
        return await self._call

    async def end(self) -> None:
        """End it, if it has not ended."""
        self._call.cancel()
        await asyncio.gather(self._call, return_exceptions=True)

    async def _answers(self) -> AsyncIterator[bytes]:
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((self._answer, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        # One that has ended reads nothing: its shell would take that for the next script.
        data = b"" if self._ended.is_set() else self._answer.result()
        for start in range(0, len(data), PACKET):
            yield data[start : start + PACKET]
