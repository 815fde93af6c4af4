"""The network fails: servers that stop, connections that are cut, and silence."""

from __future__ import annotations

import threading
import time

import pytest

from tests.faults.conftest import BIG, MB, World, dice, fatten
from tests.support.waiting import until


def test_a_server_that_restarts_in_the_middle_of_an_upload_is_found_again(world: World) -> None:
    proxy = world.network()
    project = world.project()
    world.configure(project, "far-gpu")
    fatten(project.root / "clips" / "a" / "color.mp4", BIG, seed=1)
    project.sweep(2)
    assert world.server is not None

    client = project.start("apply")
    until(lambda: proxy.up > 4 * MB)
    world.server.stop()
    arrived = list(world.root.glob("inputs/[!.]*.mp4"))
    proxy_up = proxy.up
    time.sleep(0.3)
    world.server.start()
    out, err = client.communicate(timeout=60)

    assert (arrived, proxy_up < BIG) == ([], True)
    assert client.returncode == 0, out + err
    assert "far-gpu: connection lost; trying again for 60 s" in err
    assert "far-gpu: connected" in err
    # What had arrived was not sent a second time.
    assert proxy.up < 1.5 * BIG
    world.assert_whole()
    assert len(list((world.root / "inputs").iterdir())) == 1


def test_a_server_that_restarts_while_the_engine_runs_is_found_again(world: World) -> None:
    server = world.serve()
    project = world.project(seconds=0.1)
    project.sweep(12)

    client = project.start("apply")
    until(lambda: world.begun() >= 2)
    server.stop()
    time.sleep(3)
    server.start()
    back = time.monotonic()
    out, err = client.communicate(timeout=60)

    assert client.returncode == 0, out + err
    assert "gpu-1: connection lost; trying again for 60 s" in err
    # All is made by now; how long the outage was does not delay what follows.
    assert time.monotonic() - back < 10
    world.assert_whole()


def test_a_server_that_restarts_in_the_middle_of_a_download_is_found_again(world: World) -> None:
    proxy = world.network()
    project = world.project()
    world.configure(project, "far-gpu", padding=BIG)
    project.sweep(2)
    assert world.server is not None

    client = project.start("apply")
    until(lambda: proxy.down > 4 * MB)
    world.server.stop()
    arrived = list(project.root.glob("outputs/runs/*/output.mp4"))
    time.sleep(0.3)
    world.server.start()
    out, err = client.communicate(timeout=60)

    assert len(arrived) < 2
    assert client.returncode == 0, out + err
    assert proxy.down < 2.5 * BIG
    world.assert_whole()


@pytest.mark.campaign(part="cuts")
def test_cuts_after_any_number_of_bytes_lose_nothing(world: World, times: int) -> None:
    proxy = world.network()
    project = world.project()
    world.configure(project, "far-gpu", seconds=0.0, padding=150_000)
    fatten(project.root / "clips" / "a" / "color.mp4", 6 * MB, seed=2)
    chance = dice()
    ended = threading.Event()
    cuts: list[int] = []

    def cut_again_and_again() -> None:
        while len(cuts) < times and not ended.is_set():
            # Little goes up once the clip is there.
            way, most = chance.choice([("up", 4.4), ("down", 5.2), ("down", 5.2)])
            count, links = int(10 ** chance.uniform(3.3, most)), proxy.accepted
            proxy.cut_after(count, way)
            while proxy.accepted == links and not ended.wait(0.005):
                pass
            cuts.append(count)

    cutter = threading.Thread(target=cut_again_and_again)
    cutter.start()
    runs = 0
    try:
        while len(cuts) < times and runs < 200:
            runs += 20
            project.sweep(runs)
            client = project.start("apply")
            out, err = client.communicate(timeout=120)
            # An end with runs in flight is told, and the next apply goes on.
            assert client.returncode in (0, 5), out + err
            assert ("no contact with far-gpu" in err) == (client.returncode == 5), out + err
            assert "Traceback" not in err, err
            assert "socket.send()" not in err, err[:3000]
    finally:
        ended.set()
        cutter.join()

    assert len(cuts) == times
    world.converge()
    world.assert_whole()


def test_a_stalled_connection_is_noticed_and_made_anew(world: World) -> None:
    proxy = world.network()
    world.home.config.write_text(
        "Host *\nServerAliveInterval 1\nServerAliveCountMax 2\n" + world.home.config.read_text()
    )
    project = world.project()
    world.configure(project, "far-gpu", seconds=0.1)
    project.sweep(10)

    client = project.start("apply")
    until(lambda: world.begun() >= 2)
    proxy.stall()
    until(lambda: proxy.accepted > 1)
    proxy.flow()
    out, err = client.communicate(timeout=60)

    assert client.returncode == 0, out + err
    assert "far-gpu: connection lost; trying again for 60 s" in err
    world.assert_whole()
