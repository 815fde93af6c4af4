"""Real OpenSSH servers on loopback, homes that know them, and a network that can be broken.

Plain helpers, for tests and benchmarks: `sshd` is started with a folder, keys
and a port of its own, and everything is used through `HOME=<a Home's folder>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

SSHD = "/usr/sbin/sshd"
USER = "root" if os.geteuid() == 0 else os.environ.get("USER", "root")
# sshd refuses to start as root without it.
_PRIVILEGE_SEPARATION = Path("/run/sshd")
_CHUNK = 1 << 18
_PORTS = range(20_000, 32_000)
_LOCKS: deque[int] = deque()
_MOST_LOCKS = 100


def missing() -> str:
    """Return what a machine lacks to run these servers, nothing if it has all."""
    if not Path(SSHD).exists() or not shutil.which("ssh-keygen"):
        return "openssh-server is not installed: invoke provision"
    return ""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody takes before we listen on it.

    It is none that the system gives to connections by itself, and tests of other
    processes are kept from it by a lock, until we have asked for a hundred more.
    """
    folder = Path(tempfile.gettempdir()) / f"cosmos-jobs-tests-{os.getuid()}-ports"
    folder.mkdir(mode=0o700, exist_ok=True)
    if len(_LOCKS) == _MOST_LOCKS:
        os.close(_LOCKS.popleft())
    while True:
        port = random.choice(_PORTS)
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _LOCKS.append(lock)
            return port
        os.close(lock)


def new_key(path: Path, kind: str = "ed25519") -> Path:
    """Make a key pair, replacing the one at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public(key: Path) -> str:
    """Return type and base64 of a key's public half, without the comment."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


class Server:
    """An OpenSSH server in a folder of its own, always on the same port.

    `lines` of sshd_config come first, and so win over ours. `authorized` takes
    the text of public keys.
    """

    def __init__(self, folder: Path, lines: Iterable[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.log = folder / "sshd.log"
        self._lines = tuple(lines)
        self._process: subprocess.Popen[bytes] | None = None
        self.host_key = new_key(folder / "host_ed25519")
        (folder / "authorized_keys").touch()

    def authorize(self, key: Path) -> None:
        """Let the key in."""
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(f"{public(key)}\n")

    def start(self, lines: Iterable[str] = ()) -> Self:
        """Start the server, with further `lines` until it is stopped."""
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, parents=True, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text("\n".join([*lines, *self._lines, *self._config()]) + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
            )
        self._wait()
        return self

    def _config(self) -> tuple[str, ...]:
        return (
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "Subsystem sftp internal-sftp",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PidFile none",
            "MaxStartups 100:30:200",
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError), self._dial() as client:
                client.recv(4)
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def _dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def stop(self) -> None:
        """Kill the server and its connections; what was started over them goes on."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)  # nobody gets in while we count
        for pid in _connections(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, lines: Iterable[str] = ()) -> None:
        """Stop and start the server."""
        self.stop()
        self.start(lines)

    def change_host_key(self, kind: str = "ed25519") -> None:
        """Give the server another host key, from its next start on."""
        self.host_key = new_key(self.folder / f"host_{kind}", kind)

    def drop(self) -> None:
        """Cut the connections; the server goes on."""
        assert self._process is not None
        for pid in _connections(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def connections(self) -> int:
        """How many connections have been let in since the log began."""
        return self.log.read_text(errors="replace").count("Accepted publickey")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _connections(server: int) -> list[int]:
    """Return the processes of sshd below `server`, which is not one of them."""
    parents: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            pid, _, name = head.partition(" (")
            parents[int(pid)] = (int(tail.split()[1]), name)
    found, wanted = [], {server}
    while wanted:
        wanted = {
            pid
            for pid, (parent, name) in parents.items()
            if parent in wanted and name.startswith("sshd")
        }
        found += sorted(wanted)
    return found


class Home:
    """A home folder whose `.ssh` has a client key, and knows the servers by aliases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ssh = folder / ".ssh"
        self.ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.key = new_key(self.ssh / "id_ed25519")
        self.config = self.ssh / "config"
        self.known_hosts = self.ssh / "known_hosts"
        self.config.touch()
        self.known_hosts.touch(mode=0o600)

    def add(
        self,
        alias: str,
        server: Server,
        *lines: str,
        port: int | None = None,
        known: bool = True,
    ) -> None:
        """Make `alias` lead to a server, by way of `port` where a proxy stands in front of it."""
        server.authorize(self.key)
        self.configure(
            f"Host {alias}",
            *lines,
            "HostName 127.0.0.1",
            f"Port {port or server.port}",
            f"User {USER}",
            f"IdentityFile {self.key}",
        )
        if known:
            self.trust(port or server.port, server.host_key)

    def configure(self, *lines: str) -> None:
        """Append lines to `.ssh/config`."""
        with self.config.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def trust(self, port: int, key: Path) -> None:
        """Append a host key to `.ssh/known_hosts`."""
        with self.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {public(key)}\n")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that lives here."""
        return {**os.environ, "HOME": str(self.folder), "SSH_AUTH_SOCK": ""}

    @property
    def options(self) -> list[str]:
        """What the programs ssh and scp need, which look for the home in /etc/passwd."""
        known = f"UserKnownHostsFile={self.known_hosts}"
        return ["-F", str(self.config), "-o", known, "-o", "BatchMode=yes"]


class Proxy:
    """A network in front of 127.0.0.1:`port`, which delays, counts, cuts and stalls.

    It runs in a thread, on `self.port`. `up` and `down` count the bytes that it
    has passed on towards the server and towards the client.
    """

    def __init__(self, port: int, round_trip_s: float = 0, listen: int = 0) -> None:
        self._target = port
        self._delay_s = round_trip_s / 2
        self._listen = listen
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._links: set[asyncio.Task[None]] = set()
        self._open: asyncio.Event = asyncio.Event()
        self._budget: dict[str, int | None] = {"up": None, "down": None}
        self.port = 0
        self.passed = {"up": 0, "down": 0}
        self.accepted = 0
        self.on = True

    @property
    def up(self) -> int:
        """Bytes passed on to the server."""
        return self.passed["up"]

    @property
    def down(self) -> int:
        """Bytes passed on to the client."""
        return self.passed["down"]

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._do(self._serve())
        return self

    def cut_after(self, count: int, way: str = "up") -> None:
        """Cut every connection once `count` more bytes have passed; then all works again."""
        self._do(self._set(way, count))

    def cut_all(self) -> None:
        """Cut the connections that there are now."""
        self._do(self._cut())

    def stall(self) -> None:
        """Pass nothing on any more, and close nothing."""
        self._do(self._gate(opened=False))

    def flow(self) -> None:
        """Pass on again what a stall held."""
        self._do(self._gate(opened=True))

    def off(self) -> None:
        """Cut everything and hang up on whoever calls, until `self.on` is True again."""
        self.on = False
        self.cut_all()

    def stop(self) -> None:
        """Cut everything and stop listening."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._listen, limit=_CHUNK
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _set(self, way: str, count: int) -> None:
        self._budget[way] = count

    async def _gate(self, *, opened: bool) -> None:
        if opened:
            self._open.set()
        else:
            self._open.clear()

    async def _cut(self) -> None:
        links = [*self._links]
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            if self.on:
                await self._link(reader, writer)
        except (asyncio.CancelledError, OSError, EOFError):
            pass
        finally:
            self._links.discard(task)
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = asyncio.ensure_future(
            asyncio.open_connection("127.0.0.1", self._target, limit=_CHUNK)
        )
        try:
            there, back = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Cut while it was being opened: nobody else would close it.
            with contextlib.suppress(OSError):
                (await opening)[1].transport.abort()
            raise
        ways = [
            asyncio.create_task(each)
            for each in (
                *self._way("up", reader, back),
                *self._way("down", there, writer),
            )
        ]
        try:
            # The first way to end ends the connection: what was delayed has arrived by then.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First of all: it may be cut a second time meanwhile.
            back.transport.abort()
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _way(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Iterator[Coroutine[Any, Any, None]]:
        if not self._delay_s:
            yield self._pump(way, reader, writer)
            return
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        yield self._fill(reader, line)
        yield self._drain(way, line, writer)

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._pass(way, data, writer)

    async def _fill(
        self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        while data := await reader.read(_CHUNK):
            line.put_nowait((time.monotonic() + self._delay_s, data))
        await asyncio.sleep(self._delay_s)

    async def _drain(
        self, way: str, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await line.get()
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await self._pass(way, data, writer)

    async def _pass(self, way: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        budget = self._budget[way]
        if budget is not None:
            data = data[:budget]
            self._budget[way] = budget - len(data)
        writer.write(data)
        self.passed[way] += len(data)
        await writer.drain()
        if self._budget[way] == 0:
            self._budget[way] = None
            current = asyncio.current_task()
            for link in self._links:
                if link is not current:
                    link.cancel()


def main(arguments: Sequence[str]) -> None:
    """Run a proxy in a process of its own: PORT ROUND_TRIP_S; the port it got is printed."""
    proxy = Proxy(int(arguments[0]), float(arguments[1])).start()
    sys.stdout.write(f"{proxy.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    proxy.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
