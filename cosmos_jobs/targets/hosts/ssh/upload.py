"""Files to a host: small ones together as archives, big ones each in ranges."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import secrets
import tarfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from shlex import join, quote

from cosmos_jobs.errors import HostError, TransferError
from cosmos_jobs.targets import layout
from cosmos_jobs.targets.hosts.base import Upload
from cosmos_jobs.targets.hosts.source import SourceChanged, opened
from cosmos_jobs.targets.hosts.ssh import upload_ranges
from cosmos_jobs.targets.hosts.ssh.channel import PACKET, all_of
from cosmos_jobs.targets.hosts.ssh.pool import BIG_UPLOADS, Shells
from cosmos_jobs.targets.hosts.ssh.shell import DAMAGED, folder, name, refused
from cosmos_jobs.targets.hosts.ssh.upload_ranges import Sender

SMALL = 4 << 20
GROUP_BYTES, GROUP_FILES = 16 << 20, 500
_ASKED = 2000

# Prints the numbers of the files that are not there. The others are marked as in use:
# what was not for an hour may be pruned.
_ASK = """\
n=0
for f do
  shift
  if [ -e "$f" ]; then set -- "$@" "$f"; else echo $n; fi
  n=$((n + 1))
done
[ $# = 0 ] || touch -c -- "$@" 2>/dev/null
exit 0
"""

# Files get their modes from the archive.
_UNPACK = """\
clean() {{ cd {folder} && cd {staging} && rm -f -- {names}; cd {folder} && rmdir {staging}; }}
mkdir -p {folder} && mkdir {staging} || exit 1
trap clean EXIT
trap 'exit 1' TERM
head -c {size} | tar -xof - -C {staging} || exit 1
cd {staging} || exit 1
printf '%s\\n' {checks} | sha256sum -c --quiet >&2 || exit {damaged}
sync -f .
mv -f -t {folder} -- {names} || exit 1
"""


async def bring(
    shells: Shells, uploads: Sequence[Upload], host: str, sender: Sender
) -> dict[str, str]:
    """Bring the files that the host lacks; return by target what is wrong with sources.

    Raises ConnectionCut when the connection is lost: then it is to be called again.
    """
    work = _Work(shells, host, sender)
    # A big file asks for itself as it begins: for a few of them that is one round trip less.
    few = len(uploads) <= BIG_UPLOADS and all(map(_is_big, uploads))
    small, big = work.sorted(uploads if few else await _missing(shells, uploads, host))
    # After a refusal those under way go on to their ends: so they clean up after themselves.
    await all_of(*map(work.alone, big), *map(work.together, _groups(small)))
    if work.refusals:
        raise work.refusals[0]
    return work.wrong


class _Work:
    """What a call for uploads does, and what goes wrong with it."""

    def __init__(self, shells: Shells, host: str, sender: Sender) -> None:
        self._shells = shells
        self._host = host
        self._sender = sender
        self.wrong: dict[str, str] = {}
        self.refusals: list[HostError] = []

    def sorted(self, uploads: Iterable[Upload]) -> tuple[list[tuple[int, Upload]], list[Upload]]:
        """Return the small files, with their sizes, and the big ones."""
        small, big = [], []
        for each in uploads:
            with self._noting(each):
                size = _size(each)
                if size < SMALL:
                    small.append((size, each))
                else:
                    big.append(each)
        return small, big

    async def alone(self, upload: Upload) -> None:
        """Bring a big file."""
        async with self._shells.big_uploads:
            with self._noting(upload):
                if not self.refusals:
                    await upload_ranges.bring(self._shells, upload, self._host, self._sender)

    async def together(self, group: list[Upload]) -> None:
        """Bring small files of one folder."""
        with self._noting(group[0]):
            self.wrong |= await _together(self._shells, group, self._host, self._sender.identity)

    @contextmanager
    def _noting(self, upload: Upload) -> Iterator[None]:
        try:
            yield
        except SourceChanged as change:
            self.wrong[upload.target] = str(change)
        except HostError as error:
            self.refusals.append(error)


def _size(upload: Upload) -> int:
    with opened(upload.source) as file:
        return file.seek(0, io.SEEK_END)


def _is_big(upload: Upload) -> bool:
    """Whether a source is big; one that is gone may not be needed at all."""
    return upload.source.is_file() and upload.source.stat().st_size >= SMALL


async def _missing(shells: Shells, uploads: Sequence[Upload], host: str) -> list[Upload]:
    found: list[Upload] = []
    async with shells.shell() as shell:
        for start in range(0, len(uploads), _ASKED):
            some = uploads[start : start + _ASKED]
            reply = await shell.call(f"set -- {join(each.target for each in some)}\n{_ASK}")
            if reply.code != 0:
                raise refused(host, "cannot list files", reply)
            found += [some[int(line)] for line in reply.stdout.split()]
    return found


def _groups(sized: Iterable[tuple[int, Upload]]) -> Iterator[list[Upload]]:
    """Yield files of one folder that go together."""
    ordered = sorted(sized, key=lambda each: (folder(each[1].target), each[1].target))
    for _, same in itertools.groupby(ordered, key=lambda each: folder(each[1].target)):
        group: list[Upload] = []
        total = 0
        for size, each in same:
            group.append(each)
            total += size
            if total >= GROUP_BYTES or len(group) == GROUP_FILES:
                yield group
                group, total = [], 0
        if group:
            yield group


async def _together(
    shells: Shells, group: list[Upload], host: str, identity: str
) -> dict[str, str]:
    """Send small files of one folder as an archive; return what is wrong with sources."""
    place = folder(group[0].target)
    for _ in range(2):
        wrong, right, archive = await asyncio.to_thread(_pack, group)
        if not right:
            return wrong
        script = _UNPACK.format(
            folder=quote(place),
            staging=quote(layout.staging(place, identity, secrets.token_hex(6))),
            names=join(name(each.target) for each in right),
            size=len(archive),
            checks=join(_check(each) for each in right),
            damaged=DAMAGED,
        )
        async with shells.shell() as shell:
            reply = await shell.call(script, _packets(archive))
        if reply.code == 0:
            return wrong
        if reply.code != DAMAGED:
            raise refused(host, f"cannot write {place}", reply)
    raise TransferError(f"{host}: files for {place} arrive damaged, also at a second try")


async def _packets(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PACKET):
        yield data[start : start + PACKET]


def _check(upload: Upload) -> str:
    """Return a line for `sha256sum -c`, which knows lines from names by their escapes."""
    plain = name(upload.target)
    escaped = plain.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == plain else "\\"
    return f"{mark}{upload.sha256}  {escaped}"


def _pack(group: Iterable[Upload]) -> tuple[dict[str, str], list[Upload], bytes]:
    """Return what is wrong, what is right, and an archive of the latter, read-only there."""
    wrong: dict[str, str] = {}
    right = []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for each in group:
            try:
                content = _content(each)
            except SourceChanged as change:
                wrong[each.target] = str(change)
                continue
            entry = tarfile.TarInfo(name(each.target))
            entry.size, entry.mode, entry.mtime = len(content), 0o444, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
            right.append(each)
    return wrong, right, buffer.getvalue()


def _content(upload: Upload) -> bytes:
    with opened(upload.source) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != upload.sha256:
        raise SourceChanged.since_planned(upload.source)
    return content
