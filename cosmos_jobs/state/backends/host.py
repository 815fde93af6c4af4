"""A state file on a host: read by SSH, and replaced under a `flock` that the connection holds."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_jobs.errors import ConnectionLost, HostError, NoContact, StoreAway, StoreError
from cosmos_jobs.state.backends import RESTORE
from cosmos_jobs.state.backends.base import Content, Unwritten
from cosmos_jobs.targets.hosts.blocking import Background
from cosmos_jobs.targets.hosts.ssh.channel import ConnectionCut, Reply
from cosmos_jobs.targets.hosts.ssh.dialogue import PADDING, Talk
from cosmos_jobs.targets.hosts.ssh.shell import DIGEST, refused
from cosmos_jobs.targets.layout import Folder, Layout

if TYPE_CHECKING:
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

T = TypeVar("T")

FRESH_S = 1.0
LOCK_TIMEOUT_S = 30
HOLD_S = 60
"""How long the lock is held for a client that says nothing: one whose network is gone, too."""

_ANSWER_S = 60.0
_TRIES = 5
_ORDER = 128
_LEFT = 7  # a script's exit code: it got no order in time

# The scripts below are constant: their values stand in front of them, as variables.
_SHOW = (
    DIGEST
    + """\
show() {
  if [ -e "$d/state.json" ]; then
    if [ -n "$mark" ] && [ "$(digest <"$d/state.json")" = "$mark" ]; then echo same
    else echo state && gzip -c1 <"$d/state.json"; fi
  elif [ -e "$d/state.json.bak" ]; then echo gone
  else echo none; fi
}
"""
)

_READ = f"{_SHOW}show"

# `true` and not `:`, with which a shell would end where it cannot write.
_WRITE = (
    _SHOW
    + """\
pad() { printf "%${padding}s" ''; }
fail() { echo failed; pad; exit 1; }
command -v flock >/dev/null || { echo 'flock: there is no flock (util-linux)' >&2; fail; }
mkdir -p "$d" && true >>"$d/lock" || fail
exec 9>>"$d/lock"
if ! flock -w "$wait" 9; then echo busy $(cat "$d/holder"); pad; exit 0; fi
{ echo "$(date +%s)" "$client" >"$d/holder"; } 2>/dev/null
rm -f "$d"/.new.*
show || exit 1
pad
set -- $(timeout "$hold" head -c "$order")
[ "$1" = put ] || exit "$left"
new=$d/.new.$$
trap 'rm -f "$new" "$new.bak"' EXIT
timeout "$hold" head -c "$2" | gzip -dc >"$new" || exit 1
[ "$(digest <"$new")" = "$3" ] || { echo 'state: it arrived damaged' >&2; exit 1; }
sync "$new" 2>/dev/null || sync
if [ -e "$d/state.json" ]; then
  ln "$d/state.json" "$new.bak" 2>/dev/null || cp "$d/state.json" "$new.bak" || exit 1
  mv -f "$new.bak" "$d/state.json.bak" || exit 1
fi
mv -f "$new" "$d/state.json" || exit 1
sync "$d" 2>/dev/null || true
"""
)

_BACKUP = '[ ! -e "$d/state.json.bak" ] || gzip -c1 <"$d/state.json.bak"'

_HOLDER = '[ ! -e "$d/lock" ] || flock -sn "$d/lock" true || cat "$d/holder"'


class RemoteFile:
    """The file `state/state.json` below `root` on a host, with its backup and lock beside it.

    When a client is killed its lock is free at once; when it is silent, as one
    whose network is gone, after `hold_s`. `client` is told to those who wait.
    """

    fresh_s = FRESH_S

    def __init__(
        self,
        host: SSHHost,
        root: str,
        client: str,
        lock_timeout_s: int = LOCK_TIMEOUT_S,
        hold_s: int = HOLD_S,
    ) -> None:
        self._folder = Layout(root).folder(Folder.STATE)
        self.name = f"{host.name}:{self._folder}/state.json"
        self._host = host
        self._client = client
        self._lock_timeout_s = lock_timeout_s
        self._hold_s = hold_s
        self._background = Background()

    def read(self, mark: str) -> Content | None:
        """Return the file; None when it is still the one with `mark`, its sha256."""
        reply = self._asked(self._script(_READ, mark=mark), "cannot read the state")
        word, _, packed = reply.partition(b"\n")
        return _content(word, _unpacked(packed) if word == b"state" else b"")

    @contextmanager
    def writing(self, mark: str) -> Iterator[_Writing]:
        """Hold the lock: one round trip; another one writes."""
        writing = self._do(self._begin(mark))
        try:
            yield writing
        finally:
            self._do(writing.end())

    def backup(self) -> bytes | None:
        """Return the file before the last write."""
        packed = self._asked(self._script(_BACKUP), "cannot read the backup")
        return _unpacked(packed) if packed else None

    def restoring(self) -> str:
        """Return what to type to get the backup back."""
        return RESTORE

    def holder(self) -> str:
        """Return who holds the lock, and since when."""
        said = self._asked(self._script(_HOLDER), "cannot ask for the lock")
        return _holder(said.decode(errors="replace"))

    def close(self) -> None:
        """Close the connection."""
        if self._background.is_running:
            self._do(self._host.close())
            self._background.stop()

    def put(self, talk: Talk, data: bytes) -> str:
        """Write under the lock, and return the new mark."""
        return self._do(self._put(talk, data))

    def _asked(self, script: str, what: str) -> bytes:
        for _ in range(_TRIES):
            # To read twice does no harm.
            with suppress(Unwritten):
                reply = self._do(self._host.ask(script, timeout_s=_ANSWER_S))
                if reply.code is None:
                    continue
                if reply.code != 0:
                    raise self._refused(what, reply)
                return reply.stdout
        raise StoreAway(f"{self._host.name} is cut off again and again: {what}")

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._background.do(work)
        except (ConnectionCut, ConnectionLost) as error:
            raise Unwritten(f"the connection to {self._host.name} was cut") from error
        except NoContact as error:
            hint = "what runs there goes on; reading commands show the last copy"
            raise StoreAway(f"the state is out of reach: {error.message}", hint=hint) from error
        except HostError as error:
            raise StoreError(error.message, hint=error.hint) from error

    def _script(self, text: str, **values: object) -> str:
        given = {
            "d": self._folder,
            "padding": PADDING,
            "order": _ORDER,
            "hold": self._hold_s,
            "left": _LEFT,
            **values,
        }
        return "".join(f"{name}={quote(str(each))}\n" for name, each in given.items()) + text

    async def _begin(self, mark: str) -> _Writing:
        script = self._script(_WRITE, mark=mark, client=self._client, wait=self._lock_timeout_s)
        async with AsyncExitStack() as stack:
            talk = await stack.enter_async_context(self._host.talk(script))
            async with self._limit(self._lock_timeout_s + _ANSWER_S):
                word, data = await self._opening(talk)
            return _Writing(self, talk, stack.pop_all(), _content(word, data))
        raise AssertionError

    async def _opening(self, talk: Talk) -> tuple[bytes, bytes]:
        """Return the word that the script begins with, and the state that follows it."""
        said = b""
        while b"\n" not in said:
            said += await self._heard(talk)
        word, _, rest = said.partition(b"\n")
        if word.startswith(b"busy"):
            await talk.answer(b"")
            who = _holder(word.decode(errors="replace").removeprefix("busy")) or "another client"
            raise StoreError(
                f"{self.name} is being written by {who}",
                hint="try again in a moment; cosmos-jobs state lock-info tells who writes",
            )
        if word == b"failed":
            raise self._refused("cannot write the state", await talk.answer(b""))
        unpacker, parts = zlib.decompressobj(wbits=31), []
        while word == b"state" and not unpacker.eof:
            parts.append(unpacker.decompress(rest or await self._heard(talk)))
            rest = b""
        return word, b"".join(parts)

    async def _heard(self, talk: Talk) -> bytes:
        if said := await talk.hear():
            return said
        reply = await talk.answer(b"")
        if reply.code is None:
            raise ConnectionCut
        raise self._refused("cannot write the state", reply)

    async def _put(self, talk: Talk, data: bytes) -> str:
        mark, packed = hashlib.sha256(data).hexdigest(), gzip.compress(data, 1)
        order = f"put {len(packed)} {mark}".ljust(_ORDER).encode()
        async with self._limit(self._hold_s + _ANSWER_S):
            reply = await talk.answer(order + packed)
        if reply.code in (None, _LEFT):
            raise ConnectionCut
        if reply.code != 0:
            raise self._refused("cannot write the state", reply)
        return mark

    @asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncIterator[None]:
        """Take a connection that is silent for long for one that is cut."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            self._host.cut()
            raise ConnectionCut from error

    def _refused(self, what: str, reply: Reply) -> StoreError:
        told = refused(self._host.name, what, reply)
        return StoreError(told.message, hint=told.hint)


class _Writing:
    """The lock of a state file, held."""

    def __init__(
        self, file: RemoteFile, talk: Talk, stack: AsyncExitStack, found: Content | None
    ) -> None:
        self._file = file
        self._talk = talk
        self._stack = stack
        self._answered = False
        self.found = found

    def write(self, data: bytes) -> str:
        self._answered = True
        return self._file.put(self._talk, data)

    async def end(self) -> None:
        """Let the lock go, and the shell."""
        if not self._answered:
            with suppress(ConnectionCut, TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await self._talk.answer(b"leave".ljust(_ORDER))
        await self._stack.aclose()


def _content(word: bytes, data: bytes) -> Content | None:
    match word:
        case b"same":
            return None
        case b"state":
            return Content(data, hashlib.sha256(data).hexdigest())
    return Content(None, is_lost=word == b"gone")


def _unpacked(packed: bytes) -> bytes:
    return gzip.decompress(packed)


def _holder(said: str) -> str:
    """Return `SECONDS CLIENT` in words."""
    since, _, client = said.strip().partition(" ")
    if not since.isdigit():
        return ""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(since)))
    return f"{client} since {clock}"
