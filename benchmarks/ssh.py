"""A GPU host over SSH, beside scp and rsync: real servers on loopback, ratios of one run."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row
from cosmos_jobs.core import atomic
from cosmos_jobs.targets.hosts.base import Upload
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.support.ssh_server import Home, Server

BIG = 1_000_000_000
FAR = 100_000_000
ROUND_TRIP_S = 0.1
SMALL, COUNT = 20_000, 500
TIMES = 3

Transfer = Callable[[SSHHost], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Lab:
    """A server, `near` and `far` as names of it, and folders on both sides."""

    home: Home
    root: Path

    @property
    def here(self) -> Path:
        """Our side."""
        return self.root / "here"

    @property
    def there(self) -> Path:
        """The host's side."""
        return self.root / "there"

    def scp(self, source: str, target: str) -> float:
        """Return the seconds that scp takes, with the cipher that is the fastest."""
        return self._timed("scp", "-q", "-c", "aes128-gcm@openssh.com", *self.home.options,
                           source, target)  # fmt: skip

    def rsync(self, *arguments: str) -> float:
        """Return the seconds that rsync takes, with its defaults."""
        return self._timed("rsync", "-e", f"ssh {' '.join(self.home.options)}", *arguments)

    def _timed(self, *command: str) -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True)
        return time.perf_counter() - began


@contextmanager
def lab() -> Iterator[Lab]:
    """Start a server and a network of 100 ms in front of it; HOME is ours meanwhile."""
    before = os.environ["HOME"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = Home(root / "home")
        with Server(root / "sshd") as server, _far(server.port) as port:
            home.add("near", server)
            home.add("far", server, port=port)
            os.environ["HOME"] = str(home.folder)
            made = Lab(home, root)
            made.here.mkdir()
            made.there.mkdir()
            try:
                yield made
            finally:
                os.environ["HOME"] = before


@contextmanager
def _far(port: int) -> Iterator[int]:
    """Run the network in a process of its own: ours has enough to do."""
    command = [sys.executable, "-m", "tests.support.ssh_server", str(port), str(ROUND_TRIP_S)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield int(proxy.stdout.readline())
        finally:
            proxy.kill()


def transfers() -> list[Row]:
    """Measure uploads and downloads; hashing on both sides is within our time."""
    with lab() as made:
        return [*_big(made), *_distant(made), *_many(made)]


def _big(lab: Lab) -> list[Row]:
    source, target = _file(lab.here / "big", BIG), lab.there / "big"
    back = lab.here / "back"
    scp, rsync, ours = {}, {}, {}
    for way, bring in (("put", _put([source], lab.there)), ("get", _get([target], [back]))):
        ends = (f"{source}", f"near:{target}") if way == "put" else (f"near:{target}", f"{back}")
        fresh = target if way == "put" else back
        if way == "get":
            shutil.copyfile(source, target)
        scp[way] = rsync[way] = ours[way] = float("inf")
        # In turns: the machine's other work comes and goes.
        for _ in range(TIMES):
            fresh.unlink(missing_ok=True)
            scp[way] = min(scp[way], lab.scp(*ends))
            fresh.unlink()
            rsync[way] = min(rsync[way], lab.rsync(*ends))
            fresh.unlink()
            ours[way] = min(ours[way], _ours("near", bring))
        fresh.unlink()
    rows = []
    for way, name in (("put", "upload"), ("get", "download")):
        speed = _speed(BIG, ours[way])
        for peer, seconds, aim in (("scp", scp[way], "0.60"), ("rsync", rsync[way], "1.00")):
            what = f"{name} of 1 GB" if peer == "scp" else ""
            beside = f"{peer} {_speed(BIG, seconds)}"
            rows.append(Row(what, speed, beside, seconds / ours[way], aim))
    source.unlink()
    return rows


def _distant(lab: Lab) -> list[Row]:
    source, target, back = _file(lab.here / "far", FAR), lab.there / "far", lab.here / "back"
    up = lab.scp(f"{source}", f"far:{target}")
    target.unlink()
    up_ours = _ours("far", _put([source], lab.there))
    down = lab.scp(f"far:{target}", f"{back}")
    back.unlink()
    down_ours = _ours("far", _get([target], [back]))
    return [
        Row("upload, 100 ms away", _speed(FAR, up_ours), f"scp {_speed(FAR, up)}",
            up / up_ours, "4.00"),
        Row("download, 100 ms away", _speed(FAR, down_ours), f"scp {_speed(FAR, down)}",
            down / down_ours, "4.00"),
    ]  # fmt: skip


def _many(lab: Lab) -> list[Row]:
    folder = lab.here / "many"
    sources = [_file(folder / f"{number:03}.json", SMALL, number) for number in range(COUNT)]
    there, back = lab.there / "many", lab.here / "back"
    put = _put(sources, there)
    get = _get([there / each.name for each in sources], [back / each.name for each in sources])
    times: dict[str, float] = {}

    def note(name: str, seconds: float) -> None:
        times[name] = min(seconds, times.get(name, seconds))

    for _ in range(TIMES):
        note("rsync up", lab.rsync("-a", f"{folder}/", f"near:{there}/"))
        shutil.rmtree(there)
        note("up", _ours("near", put))
        back.unlink() if back.is_file() else shutil.rmtree(back, ignore_errors=True)
        note("rsync down", lab.rsync("-a", f"near:{there}/", f"{back}/"))
        shutil.rmtree(back)
        note("down", _ours("near", get))
        shutil.rmtree(back)
        shutil.rmtree(there)
    return [
        Row(f"{name} of 500 small files", _ms(times[way]), f"rsync -a {_ms(times[f'rsync {way}'])}",
            times[way] / times[f"rsync {way}"], "1.50")
        for name, way in (("upload", "up"), ("download", "down"))
    ]  # fmt: skip


def _ours(address: str, transfer: Transfer) -> float:
    """Return the seconds of a transfer over the connection that a host has anyway."""

    async def body() -> float:
        host = SSHHost(address)
        await host.run(":")
        began = time.perf_counter()
        await transfer(host)
        seconds = time.perf_counter() - began
        await host.close()
        return seconds

    return asyncio.run(body())


def _put(sources: list[Path], folder: Path) -> Transfer:
    uploads = [Upload(each, str(folder / each.name), atomic.sha256(each)) for each in sources]
    return lambda host: host.put(uploads)


def _get(sources: list[Path], targets: list[Path]) -> Transfer:
    wanted = {str(source): target for source, target in zip(sources, targets, strict=True)}
    return lambda host: host.get(wanted)


def _file(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size, 1 << 24):
            file.write(chance.randbytes(min(1 << 24, size - start)))
    return path


def _speed(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e6:.0f} MB/s"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
