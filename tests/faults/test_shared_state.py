"""A shared state loses nothing and applies nothing twice, whatever becomes of connections."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cosmos_jobs.state.store import Store
from tests.support.fixtures_ssh import Proxies, Servers
from tests.support.object_server import BUCKET, ObjectServer
from tests.support.ssh_server import Proxy
from tests.support.state_files import Kept, count_many

WRITERS = 8
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["remote", "objects"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Kept, Proxy]]:
    """Return a place for a state behind a network that can be cut."""
    if request.param == "remote":
        servers: Servers = request.getfixturevalue("ssh_servers")
        proxies: Proxies = request.getfixturevalue("ssh_proxies")
        server = servers("gpu", "MaxStartups 1000")
        yield Kept("remote", str(tmp_path / "root"), "far"), proxies("far", server)
        return
    objects: ObjectServer = request.getfixturevalue("objects")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    with Proxy(objects.port) as proxy:
        for name, value in objects.environment(proxy.port).items():
            patch.setenv(name, value)
        yield Kept("objects", f"s3://{BUCKET}/{tmp_path.name}"), proxy


def start(kept: Kept, times: int, writers: int = WRITERS) -> list[BaseProcess]:
    started: list[BaseProcess] = []
    for number in range(writers):
        writer = SPAWN.Process(target=count_many, args=(kept, number, times))
        writer.start()
        started.append(writer)
    return started


@pytest.mark.campaign(part="writers")
def test_eight_writers_lose_nothing_while_their_connections_are_cut(
    far: tuple[Kept, Proxy], times: int
) -> None:
    kept, proxy = far
    writers = start(kept, times)
    chance = random.Random(7)
    while any(each.is_alive() for each in writers):
        # By what has passed, not by the clock: so much is done between two cuts on any machine.
        due = proxy.up + chance.randrange(20_000, 300_000)
        while proxy.up < due and any(each.is_alive() for each in writers):
            time.sleep(0.02)
        match chance.choice(["now", "up", "down"]):
            case "now":
                proxy.cut_all()
            case way:
                # In the middle of something: an order, a state, an answer.
                proxy.cut_after(chance.randrange(1, 4_000), way)

    assert [each.exitcode for each in writers] == [0] * WRITERS
    known = Store(kept.open()).snapshot()
    own = {f"writer-{number}": str(times) for number in range(WRITERS)}
    assert dict(known.jobs) == {"all": str(WRITERS * times), **own}
    assert known.serial == WRITERS * times


@pytest.mark.campaign(part="killed-writers")
def test_a_killed_writer_keeps_nobody_from_writing(far: tuple[Kept, Proxy], times: int) -> None:
    kept, _ = far
    writers = start(kept, 10_000, writers=times)
    chance = random.Random(7)
    for victim in writers:
        time.sleep(chance.uniform(0.2, 1.5))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
    for each in writers:
        each.join()

    count_many(kept, WRITERS, 1)

    known = dict(Store(kept.open()).snapshot().jobs)
    assert int(known.pop("all")) == sum(map(int, known.values()))
    assert known[f"writer-{WRITERS}"] == "1"
