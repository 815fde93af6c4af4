"""A big file to a host: in ranges over several shells, and gone on with after a cut.

It grows as `.<identity>.<name>` in its folder. After a cut the host says by
digests which blocks of it are there, so that only the others are sent; ranges
come in any order, so its size says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from filelock import FileLock, Timeout

from cosmos_jobs.core import atomic
from cosmos_jobs.errors import HostError, TransferError
from cosmos_jobs.targets import layout
from cosmos_jobs.targets.hosts.base import Upload
from cosmos_jobs.targets.hosts.source import SourceChanged, cannot_write, opened
from cosmos_jobs.targets.hosts.ssh.channel import PACKET, Reply, Shell, all_of
from cosmos_jobs.targets.hosts.ssh.pool import Shells
from cosmos_jobs.targets.hosts.ssh.shell import DAMAGED, DIGEST, folder, name, refused

BLOCK = 1 << 20  # what a digest is asked of when an upload goes on
# What a shell takes at a time: a range costs the host three processes, and
# there should be enough of them for all shells to end together.
_SHORTEST, _LONGEST = 4 << 20, 32 << 20
_RANGES = 50
SENDERS = 6  # one more shell digests, and one is left for scripts
_WRITE = 1 << 16

# Prints the digests of the blocks that are there.
_BEGIN = """\
if [ -e {target} ]; then touch -c {target} 2>/dev/null; echo there; exit; fi
mkdir -p {folder} || exit 1
: >> {part} || exit 1
size=$(stat -c %s {part}) || exit 1
if [ "$size" -gt {size} ]; then rm -f {part}; size=0; fi
at=0
while [ $((at * {block})) -lt "$size" ]; do
  dd if={part} bs={block} skip=$at count=1 status=none | digest
  at=$((at + 1))
done
"""

_RANGE = """\
dd of={part} bs={write} seek={seek} count={count} \\
  iflag=fullblock,count_bytes conv=notrunc status=none
"""

# Reads what to digest next, while it is still being sent; the last line is 0 0.
_FINISH = """\
found=$(while read -r skip count && [ "$count" != 0 ]; do
  dd if={part} bs={block} skip=$skip count=$count status=none
done | digest)
[ "$found" = {sha256} ] || exit {damaged}
sync {part} 2>/dev/null
chmod 0444 {part} && mv -f {part} {target}
"""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who brings files: `identity` names its unfinished parts, which a later process goes on with.

    Its processes keep out of each other's way by files in the folder `locks`,
    which is the project's own: in one that others can write to, such as /tmp,
    they could keep us waiting for ever. Without it, it is the only process.
    """

    identity: str
    locks: Path | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a big file goes, and its unfinished part beside it."""

    host: str
    upload: Upload
    size: int
    part: str

    def script(self, template: str, **values: object) -> str:
        """Fill a script in; every path is quoted."""
        return DIGEST + template.format(
            target=quote(self.upload.target),
            folder=quote(folder(self.upload.target)),
            part=quote(self.part),
            size=self.size,
            sha256=self.upload.sha256,
            block=BLOCK,
            write=_WRITE,
            damaged=DAMAGED,
            **values,
        )

    def refused(self, reply: Reply) -> HostError:
        """Return the error for a script that could not write."""
        return refused(self.host, f"cannot write {folder(self.upload.target)}", reply)


async def bring(shells: Shells, upload: Upload, host: str, sender: Sender) -> None:
    """Bring one file unless the host has it; SourceChanged when it is not what was planned."""
    part = layout.part(folder(upload.target), sender.identity, name(upload.target))
    async with _only_we(sender, upload.sha256):
        for _ in range(2):
            with opened(upload.source) as source:
                size = os.fstat(source.fileno()).st_size
                if await _transfer(shells, _Place(host, upload, size, part), source.fileno()):
                    return
            if await asyncio.to_thread(atomic.sha256, upload.source) != upload.sha256:
                raise SourceChanged.since_planned(upload.source)
    raise TransferError(f"{host}: {upload.target} arrives damaged, also at a second try")


async def _transfer(shells: Shells, place: _Place, source: int) -> bool:
    """Send what is missing; return whether the host has the right content then."""
    sending = _Sending(place, source)
    helpers = min(SENDERS, shells.channels_worth, -(-place.size // _SHORTEST)) - 1
    try:
        async with shells.shell() as shell:
            there, reply, *_ = await all_of(
                _lead(shell, sending),
                _digest_behind(shells, sending),
                *(_help(shells, sending) for _ in range(helpers)),
            )
            if there:
                return True
            if reply is None:
                reply = await shell.call(place.script(_FINISH), sending.lines())
            if reply.code not in (0, DAMAGED):
                raise place.refused(reply)
    except (HostError, SourceChanged):
        await _remove(shells, place)
        raise
    if reply.code == DAMAGED:
        await _remove(shells, place)
    return bool(reply.code == 0)


async def _lead(shell: Shell, sending: _Sending) -> bool:
    """Ask what is there, and send what is not; return whether all of it was."""
    reply = await shell.call(sending.place.script(_BEGIN))
    if reply.code != 0:
        raise sending.place.refused(reply)
    there = reply.stdout.strip() == b"there"
    if not there:
        have = await asyncio.to_thread(_matching, sending.source, reply.stdout.decode().split())
        sending.ranges = _ranges(sending.place.size, have)
    sending.begun.set()
    await _sender(shell, sending)
    return there


async def _help(shells: Shells, sending: _Sending) -> None:
    """Send too, with a shell that is opened while the host is still asked what it has."""
    async with shells.spare() as extra:
        if extra is not None:
            await sending.begun.wait()
            await _sender(extra, sending)


async def _digest_behind(shells: Shells, sending: _Sending) -> Reply | None:
    """Have the file digested as it grows, and put into place; None if no shell is to be had."""
    async with shells.spare() as extra:
        if extra is None:
            return None
        await sending.begun.wait()
        if not sending.ranges:
            return None
        return await extra.call(sending.place.script(_FINISH), sending.lines())


class _Sending:
    """The ranges of a file that are to be sent, and how far it is complete."""

    def __init__(self, place: _Place, source: int) -> None:
        self.place = place
        self.source = source
        self.begun = asyncio.Event()
        self.ranges: list[tuple[int, int]] = []
        self._begun_ranges = 0
        self._done: set[int] = set()
        self._more = asyncio.Event()

    def next(self) -> tuple[int, int] | None:
        """Return the next range to send."""
        if self._begun_ranges == len(self.ranges):
            return None
        self._begun_ranges += 1
        return self.ranges[self._begun_ranges - 1]

    def sent(self, start: int) -> None:
        """Take note that a range has been written."""
        self._done.add(start)
        self._more.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what can be digested: where it starts and its length, in blocks."""
        at, end = 0, -(-self.place.size // BLOCK) * BLOCK
        while at < end:
            until = min((start for start, _ in self.ranges if start not in self._done), default=end)
            if until > at:
                yield f"{at // BLOCK} {(until - at) // BLOCK}\n".encode()
                at = until
            else:
                self._more.clear()
                await self._more.wait()
        yield b"0 0\n"


def _ranges(size: int, have: frozenset[int]) -> list[tuple[int, int]]:
    """Return the (start, end) of what is missing, in pieces that are not too long."""
    longest = min(_LONGEST, max(_SHORTEST, size // _RANGES))
    ranges: list[tuple[int, int]] = []
    for start in range(0, size, BLOCK):
        if start // BLOCK in have:
            continue
        end = min(start + BLOCK, size)
        if ranges and ranges[-1][1] == start and end - ranges[-1][0] <= longest:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges


def _matching(source: int, digests: list[str]) -> frozenset[int]:
    """Return the numbers of the blocks that have these digests here too."""
    blocks = (os.pread(source, BLOCK, number * BLOCK) for number in range(len(digests)))
    return frozenset(
        number
        for number, (block, digest) in enumerate(zip(blocks, digests, strict=True))
        if hashlib.sha256(block).hexdigest() == digest
    )


async def _sender(shell: Shell, sending: _Sending) -> None:
    """Send ranges through one shell, the next one while the host still writes the last."""
    await all_of(*(_one_by_one(shell, sending) for _ in range(2)))


async def _one_by_one(shell: Shell, sending: _Sending) -> None:
    place = sending.place
    while (piece := sending.next()) is not None:
        start, end = piece
        script = place.script(_RANGE, seek=start // _WRITE, count=end - start)
        reply = await shell.call(script, _read(sending, start, end))
        if reply.code != 0:
            raise place.refused(reply)
        sending.sent(start)


async def _read(sending: _Sending, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        # A packet at a time: asyncssh would copy the rest of a longer piece again and again.
        piece = os.pread(sending.source, min(PACKET, end - start), start)
        if not piece:
            raise SourceChanged.since_planned(sending.place.upload.source)
        start += len(piece)
        yield piece


async def _remove(shells: Shells, place: _Place) -> None:
    async with shells.shell() as shell:
        await shell.call(place.script("rm -f {part}"))


@contextlib.asynccontextmanager
async def _only_we(sender: Sender, sha256: str) -> AsyncIterator[None]:
    """Keep other processes of this client from sending the same file into the same part."""
    if sender.locks is None:
        yield
        return
    path = sender.locks / f"{sender.identity}-{sha256}.lock"
    lock = FileLock(path, thread_local=False)
    while not _taken(lock, path):
        await asyncio.sleep(0.2)
    try:
        yield
    finally:
        lock.release()


def _taken(lock: FileLock, path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    return True
