"""The client ends, is stopped, or is not alone."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.faults.conftest import BIG, World, dice, fatten, kill
from tests.support.remote_project import Remote
from tests.support.waiting import until

ARRIVING = "outputs/runs/.rs_*/.*.mp4"


@pytest.mark.campaign(part="remote-kills")
def test_kills_lose_nothing_and_run_nothing_twice(world: World, times: int) -> None:
    world.serve()
    project = world.project(seconds=0.3)
    project.sweep(40)
    chance = dice()
    struck = 0
    for _ in range(times):
        client = project.start("apply")
        time.sleep(chance.uniform(0.3, 1.2))
        struck += client.poll() is None
        kill(client)

    assert struck > times / 2
    world.converge()
    world.assert_whole()


def test_a_client_that_is_killed_as_it_fetches_leaves_no_rubbish(world: World) -> None:
    world.serve()
    project = world.project(padding=BIG)
    project.sweep(1)
    client = project.start("apply")
    until(lambda: any(part.stat().st_size for part in project.root.glob(ARRIVING)))

    kill(client)

    assert list(project.root.glob(ARRIVING))
    world.converge()
    world.assert_whole()


def test_a_client_that_is_killed_as_it_uploads_goes_on_where_it_was(world: World) -> None:
    proxy = world.network()
    project = world.project()
    world.configure(project, "far-gpu")
    fatten(project.root / "clips" / "a" / "color.mp4", BIG, seed=1)
    project.sweep(1)
    client = project.start("apply")
    until(lambda: proxy.up > BIG / 3)

    kill(client)
    arrived = list(world.root.glob("inputs/[!.]*.mp4"))
    world.converge()

    assert arrived == []
    # What had arrived was not sent a second time.
    assert proxy.up < 1.4 * BIG
    world.assert_whole()
    assert len(list(world.root.glob("inputs/*"))) == 1


def both(first: Remote, second: Remote) -> list[tuple[int, str]]:
    """Apply two projects at once; return their exit codes and what they said."""
    clients = [project.start("apply") for project in (first, second)]
    said = [client.communicate(timeout=100) for client in clients]
    return [
        (client.returncode, out + err) for client, (out, err) in zip(clients, said, strict=True)
    ]


@pytest.mark.parametrize("sizes", [(5, 5), (3, 7)])
def test_two_projects_with_the_same_job_make_each_run_once(
    world: World, sizes: tuple[int, int]
) -> None:
    world.serve()
    pair = [world.project(f"of-{size}-{n}", max_batch=size) for n, size in enumerate(sizes)]
    for project in pair:
        project.sweep(14)

    ended = both(*pair)

    assert [code for code, _ in ended] == [0, 0], ended
    assert len(world.engine.made()) == 14
    world.assert_whole()


def test_two_projects_that_are_killed_again_and_again_make_each_run_once(world: World) -> None:
    world.serve()
    pair = [world.project(f"of-{size}", max_batch=size) for size in (3, 7)]
    for project in pair:
        project.sweep(30)
    chance = dice()
    for _ in range(3):
        clients = [project.start("apply") for project in pair]
        for client in chance.sample(clients, 2):
            time.sleep(chance.uniform(0.4, 0.8))
            kill(client)

    ended = both(*pair)

    assert [code for code, _ in ended] == [0, 0], ended
    world.converge()
    assert len(world.engine.made()) == 30
    world.assert_whole()


def test_two_projects_whose_jobs_overlap_make_each_run_once(world: World) -> None:
    world.serve()
    first, second = world.project("ann", max_batch=5), world.project("bob", max_batch=4)
    first.sweep(12)
    second.sweep(0, params={"resolution": "256", "seed": list(range(7, 19))})

    ended = both(first, second)

    assert [code for code, _ in ended] == [0, 0], ended
    assert len(world.engine.made()) == 18
    world.assert_whole()


def test_two_applies_of_a_project_make_each_run_once(world: World) -> None:
    world.serve()
    project = world.project(max_batch=3)
    project.sweep(14)

    ended = both(project, project)

    assert [code for code, _ in ended] == [0, 0], ended
    assert len(world.engine.made()) == 14
    world.assert_whole()


def test_ctrl_c_leaves_remote_work_at_it_and_watch_ends_it(world: World) -> None:
    world.serve()
    project = world.project(seconds=0.2)
    project.sweep(12)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)

    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=60)
    begun = world.begun()
    until(lambda: world.begun() > begun)
    watched = project.run("watch")

    assert client.returncode == 130, err
    assert "re-attach: cosmos-jobs watch" in err
    assert "stop them: cosmos-jobs cancel --all" in err
    assert "Traceback" not in err
    assert "succeeded" in watched.stdout
    world.converge()
    world.assert_whole()


@pytest.mark.parametrize("how", ["ctrl-c", "cancel"])
def test_what_no_machine_was_given_yet_is_given_to_none(world: World, how: str) -> None:
    for alias in ("gpu-1", "gpu-2"):
        world.machine(alias)
    project = world.project()
    world.configure(project, "gpu-1", "gpu-2", seconds=0.3, max_batch=1)
    project.sweep(30)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)

    if how == "ctrl-c":
        client.send_signal(signal.SIGINT)
    else:
        kill(client)
        project.run("cancel", "--all")
    client.communicate(timeout=60)
    given = {each.name for disk in world.disks for each in disk.glob("batches/ba_*")}
    project.run("watch")

    states = [str(each["state"]) for each in project.runs()]
    assert set(states) == {"cancelled", "succeeded"}
    assert states.count("cancelled") > 10
    assert len(given) < 20
    world.converge()
    world.assert_whole()


def test_ctrl_c_in_an_upload_withdraws_what_was_not_begun(world: World) -> None:
    proxy = world.network()
    project = world.project()
    world.configure(project, "far-gpu")
    fatten(project.root / "clips" / "a" / "color.mp4", BIG, seed=1)
    project.sweep(8)
    client = project.start("apply")
    until(lambda: proxy.up > BIG / 4)

    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=60)

    assert client.returncode == 130, err
    assert "Stopped. What was made is kept; the same command goes on." in err
    assert world.begun() == 0
    assert world.processes() == {}
    world.converge()
    world.assert_whole()


def test_detached_work_is_watched_and_fetched(world: World) -> None:
    world.serve()
    project = world.project(seconds=0.2)
    project.sweep(8)

    project.run("apply", "--detach")
    begun = world.begun()
    project.run("fetch")
    project.run("watch")
    project.run("fetch")

    assert begun < 8
    assert {run["state"] for run in project.runs()} == {"succeeded"}
    world.assert_whole()


def test_cancelled_work_leaves_nothing_and_is_made_by_the_next_apply(world: World) -> None:
    world.serve()
    project = world.project(seconds=0.3)
    project.sweep(12)
    project.run("apply", "--detach")
    until(lambda: world.begun() >= 1)

    said = project.run("cancel", "--all").stdout
    left = world.processes()

    assert left == {}
    assert "Stopped" in said
    assert {run["state"] for run in project.runs()} <= {"cancelled", "succeeded"}
    world.configure(project, seconds=0.0)
    world.converge()
    world.assert_whole()


def test_cancel_reaches_the_hosts_that_answer_and_leaves_nothing_stuck(world: World) -> None:
    servers = {alias: world.machine(alias) for alias in ("gpu-1", "gpu-2")}
    project = world.project()
    world.configure(project, *servers, seconds=0.5, max_batch=1)
    project.sweep(20)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)
    kill(client)
    servers["gpu-1"].stop()

    refused = project.run("cancel", "--all", "--connect-timeout", "1", exit_code=5)

    states = {str(each["id"]): str(each["state"]) for each in project.runs()}
    lanes = json.loads(project.run("status", "--format", "json").stdout)["in_flight"]
    assert "no contact with gpu-1" in refused.stderr
    assert {each["host"] for each in lanes} == {"gpu-1"}
    assert "cancelled" in states.values()
    servers["gpu-1"].start()
    world.converge()
    world.assert_whole()


def test_a_detached_apply_says_so_when_the_host_does_not_take_the_work(world: World) -> None:
    world.serve()
    project = world.project()
    project.sweep(2)
    world.root.mkdir(exist_ok=True)
    obstacle = world.root / "batches"
    obstacle.write_text("in the way")

    refused = project.run("apply", "--detach", exit_code=5)

    assert "gpu-1 cannot start" in refused.stderr
    assert world.begun() == 0
    obstacle.unlink()
    project.run("apply", "--detach")
    until(lambda: world.begun() >= 2)
    world.converge()
    world.assert_whole()


def test_runs_on_a_host_that_left_the_project_hold_up_no_other_and_can_be_given_up(
    world: World,
) -> None:
    for alias in ("gpu-1", "gpu-2"):
        world.machine(alias)
    project = world.project()
    world.configure(project, "gpu-1", "gpu-2", seconds=0.3, max_batch=1)
    project.sweep(12)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)
    kill(client)
    world.configure(project, "gpu-2", max_batch=1)

    waiting = project.run("apply", exit_code=5)
    given_up = project.run("cancel", "--all")
    project.run("apply")

    assert "`gpu-1` is no longer a host of" in waiting.stderr
    assert "cosmos-jobs cancel --all" in waiting.stderr
    assert "Stopped" in given_up.stdout
    assert {str(each["state"]) for each in project.runs()} == {"succeeded"}
