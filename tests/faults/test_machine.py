"""The GPU host fails: its disk, its processes, the files on it, all of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import World, kill, mounted, remount
from tests.support.processes import members
from tests.support.remote_project import Remote
from tests.support.waiting import until


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk up to `leave` bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return filler


def reasons(project: Remote) -> set[str]:
    """Return why the runs that did not succeed did not."""
    return {str(run["reason"]) for run in project.runs() if run["state"] != "succeeded"}


# --- disks ----------------------------------------------------------------------------------


def test_a_full_disk_at_the_upload_is_told_and_then_forgotten(world: World) -> None:
    world.serve()
    project = world.project()
    project.sweep(6)
    with mounted(world.root, "size=1m"):
        filler = fill(world.root, leave=0)

        refused = project.run("apply", exit_code=5)

        assert "No space left on device" in refused.stderr
        assert "no contact" not in refused.stdout
        assert {run["state"] for run in project.runs()} == {"queued"}
        filler.unlink()
        world.converge()
        world.assert_whole()


def test_a_full_disk_at_the_start_of_a_batch_is_told_and_then_forgotten(world: World) -> None:
    world.serve()
    project = world.project()
    project.sweep(1)
    with mounted(world.root, "size=1m"):
        project.run("apply")
        project.sweep(9)
        filler = fill(world.root, leave=0)

        refused = project.run("apply", exit_code=5)

        assert "No space left on device" in refused.stderr
        assert "no contact" not in refused.stdout
        filler.unlink()
        world.converge()
        world.assert_whole()


def test_a_disk_that_fills_as_the_engine_writes_is_the_reason_of_its_runs(world: World) -> None:
    world.serve()
    project = world.project(padding=400_000, max_batch=10)
    project.sweep(10)
    with mounted(world.root, "size=2m"):
        failed = project.run("apply", exit_code=1)
        made = len(world.engine.made())

        assert "the disk of that machine is full" in failed.stdout
        assert all("the disk of that machine is full" in each for each in reasons(project))
        assert 0 < made < 10
        remount(world.root, "size=64m")
        world.converge()
        world.assert_whole()


def test_a_read_only_root_is_told_and_then_forgotten(world: World) -> None:
    world.serve()
    project = world.project()
    project.sweep(6)
    with mounted(world.root, "size=8m,ro"):
        refused = project.run("apply", exit_code=5)

        assert "Read-only file system" in refused.stderr
        assert "no contact" not in refused.stdout
        assert str(world.root) in refused.stderr
        assert {run["state"] for run in project.runs()} == {"queued"}
        remount(world.root, "rw")
        world.converge()
        world.assert_whole()


def test_a_root_that_turns_read_only_is_told_and_then_forgotten(world: World) -> None:
    world.serve()
    project = world.project()
    project.sweep(1)
    with mounted(world.root, "size=8m"):
        project.run("apply")
        remount(world.root, "ro")
        project.sweep(9)

        refused = project.run("apply", exit_code=5)

        assert "Read-only file system" in refused.stderr
        assert "no contact" not in refused.stdout
        remount(world.root, "rw")
        world.converge()
        world.assert_whole()


# --- outputs --------------------------------------------------------------------------------


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize("padding", [0, 9 << 20], ids=["small", "big"])
def test_a_video_that_was_damaged_after_it_was_made_is_never_a_success(
    world: World, padding: int
) -> None:
    world.serve()
    project = world.project(seconds=0.1, padding=padding)
    project.sweep(5)
    client = project.start("apply")
    until(lambda: world.begun() >= 1)
    kill(client)
    world.await_end()
    videos = sorted(world.root.glob("batches/*/out/*/output.mp4"))
    for video, harm in zip(videos, (truncated, emptied, flipped), strict=False):
        video.write_bytes(harm(video.read_bytes()))
    videos[3].unlink()

    failed = project.run("apply", exit_code=1)

    runs = {str(run["id"]): run for run in project.runs()}
    for video in videos[:3]:
        run = runs[video.parent.name]
        assert run["state"] == "failed"
        assert "output.mp4 is not what the engine wrote" in str(run["reason"])
        assert not list(project.root.glob(f"outputs/runs/{run['id']}/*.mp4"))
    assert runs[videos[3].parent.name]["reason"] == "a file is missing: output.mp4"
    assert "Applied: 1 succeeded, 4 failed" in failed.stdout
    world.converge()
    world.assert_whole()


# --- processes ------------------------------------------------------------------------------


def test_a_killed_engine_is_lost_and_its_runs_are_made_by_the_next_apply(world: World) -> None:
    world.serve()
    project = world.project(seconds=0.4)
    project.sweep(3)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)

    world.kill_sessions()
    out, err = client.communicate(timeout=60)

    assert client.returncode == 1, out + err
    assert "its process is gone" in out
    world.converge()
    world.assert_whole()


@pytest.mark.parametrize("which", ["the leader", "all shells"])
def test_a_batch_whose_scripts_are_killed_goes_on_while_its_engine_lives(
    world: World, which: str
) -> None:
    world.serve()
    project = world.project(seconds=0.3)
    project.sweep(5)
    client = project.start("apply")
    until(lambda: world.begun() >= 2)
    (session,) = world.working()
    shells = [each for each in members(session) if Path(f"/proc/{each}/comm").read_text() == "sh\n"]

    for pid in [session] if which == "the leader" else shells:
        os.kill(pid, signal.SIGKILL)
    out, err = client.communicate(timeout=60)

    assert session in shells
    assert client.returncode == 0, out + err
    assert len(world.engine.made()) == 5
    world.assert_whole()


def test_work_of_before_a_reboot_is_lost_and_made_again(world: World) -> None:
    world.serve()
    project = world.project(seconds=0.4)
    project.sweep(3)
    project.run("apply", "--detach")
    until(lambda: world.begun() >= 2)
    world.kill_sessions()
    (claim,) = world.root.glob("batches/*/claim/pid")
    # After a restart the number is another process's: here, ours.
    born = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    claim.write_text(f"{os.getpid()} {born}@00000000-0000-0000-0000-000000000000\n")

    said = project.run("watch", exit_code=1).stdout
    claim.write_text(f"{2**22} 1@00000000-0000-0000-0000-000000000000\n")

    assert "its process is gone: killed, or the machine restarted" in said
    world.configure(project, seconds=0.0)
    world.converge()
    world.assert_whole()


def test_a_batch_that_hangs_fails_at_its_time_limit(world: World) -> None:
    world.serve()
    project = world.project(seconds=60, run_timeout_s=1)
    project.sweep(1)

    failed = project.run("apply", exit_code=1)

    assert "stopped after 1 s, the time limit of its batch" in failed.stdout
    assert "raise run_timeout_s" in failed.stdout
    world.configure(project, seconds=0.0)
    world.converge()
    world.assert_whole()


# --- whole machines -------------------------------------------------------------------------


def test_when_one_of_two_hosts_dies_the_other_makes_all_that_it_was_not_given(
    world: World,
) -> None:
    first, _ = world.machine("gpu-1"), world.machine("gpu-2")
    project = world.project()
    world.configure(project, "gpu-1", "gpu-2", seconds=0.2, max_batch=2)
    project.sweep(20)
    client = project.start("apply", "--connect-timeout", "2")
    until(lambda: world.begun() >= 4 and all(list(d.glob("batches/*")) for d in world.disks))

    first.stop()
    out, err = client.communicate(timeout=60)
    given = {
        line.split()[0]
        for path in world.disks[0].glob("batches/*/runs")
        for line in path.read_text().splitlines()
    }
    left = {str(run["id"]) for run in project.runs() if run["state"] != "succeeded"}

    assert client.returncode == 5, out + err
    assert "no contact with gpu-1 since" in out
    assert left <= given < {str(run["id"]) for run in project.runs()}
    assert left
    assert {run["state"] for run in project.runs()} <= {"succeeded", "queued", "running"}
    world.await_end()
    first.start()
    world.converge()
    world.assert_whole()
    assert len(world.engine.made()) == 20


def test_a_host_that_never_answers_leaves_all_to_the_other(world: World) -> None:
    first, _ = world.machine("gpu-1"), world.machine("gpu-2")
    first.stop()
    project = world.project()
    world.configure(project, "gpu-1", "gpu-2", max_batch=2)
    project.sweep(8)

    done = project.run("apply", "--connect-timeout", "1")

    assert "no contact with gpu-1 since" in done.stderr
    world.assert_whole()


def test_a_host_with_a_full_disk_leaves_all_to_the_other(world: World) -> None:
    world.machine("gpu-1"), world.machine("gpu-2")
    project = world.project()
    world.configure(project, "gpu-1", "gpu-2", max_batch=2)
    project.sweep(8)
    with mounted(world.disks[0], "size=64k"):
        fill(world.disks[0], leave=0)

        done = project.run("apply")

        assert done.stderr.count("No space left on device") <= 2
        world.assert_whole()


def test_when_no_host_answers_nothing_is_begun(world: World) -> None:
    world.serve().stop()
    project = world.project()
    project.sweep(4)

    refused = project.run("apply", "--connect-timeout", "1", exit_code=5)

    assert "no contact with gpu-1 since" in refused.stderr
    assert project.runs() == []
    assert world.server is not None
    world.server.start()
    world.converge()
    world.assert_whole()
