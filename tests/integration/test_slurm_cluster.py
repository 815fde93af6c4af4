"""The tests' own Slurm cluster: it behaves as one, and nothing of it is left behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fixtures_ssh import Servers
from tests.support.processes import alive
from tests.support.slurm_cluster import NOBODY, REPOSITORY, Cluster
from tests.support.ssh_server import Home
from tests.support.waiting import until

if TYPE_CHECKING:  # pytest itself must be the first to import it
    from tests.support.fixtures_slurm import Clusters

pytest_plugins = ["tests.support.fixtures_slurm"]

# Starts a cluster with a job, tells its folder, and never ends it.
FORGETFUL = """
import sys, tempfile, time
from pathlib import Path
from tests.support.slurm_cluster import Cluster

cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-"))).start()
cluster.run("sbatch", "--output=/dev/null", f"--wrap=echo $$ > {sys.argv[1]}; sleep 600")
print(cluster.folder, flush=True)
time.sleep(600)
"""


def submit(cluster: Cluster, script: str, *options: str, before: tuple[str, ...] = ()) -> str:
    sbatch = ("sbatch", "--parsable", "--output=/dev/null", "--chdir=/", f"--wrap={script}")
    return cluster.run(*before, *sbatch, *options)


def comes_to(cluster: Cluster, job: str, state: str) -> None:
    until(lambda: cluster.jobs()[job] == state)


def processes(folder: Path) -> set[int]:
    """Return the daemons, and whoever else names the folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(folder).encode() in named and alive(int(process.name)):
                found.add(int(process.name))
    return found


def number(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


def test_jobs_get_the_gpus_that_they_ask_for(slurm: Cluster, tmp_path: Path) -> None:
    script = f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/seen"

    job = submit(slurm, script, "--gres=gpu:h100:2")

    comes_to(slurm, job, "COMPLETED")
    assert (tmp_path / "seen").read_text() == "0,1\n"


def test_the_cluster_is_found_over_ssh(
    slurm: Cluster, ssh_home: Home, ssh_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_servers("login", f"SetEnv SLURM_CONF={slurm.config}")
    monkeypatch.delenv("SLURM_CONF")
    command = ["ssh", *ssh_home.options, "login", "sinfo --noheader --format=%R"]

    partitions = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    assert partitions.stdout.split() == ["gpu", "short"]


def test_others_have_jobs_too_and_only_root_cancels_them(slurm: Cluster) -> None:
    ours, theirs = submit(slurm, "sleep 600"), submit(slurm, "sleep 600", before=NOBODY)
    comes_to(slurm, theirs, "RUNNING")

    with pytest.raises(subprocess.CalledProcessError, match="scancel"):
        slurm.run(*NOBODY, "scancel", ours)
    slurm.run("scancel", theirs)

    comes_to(slurm, theirs, "CANCELLED")
    assert slurm.jobs()[ours] == "RUNNING"


def test_jobs_outlive_the_controller(slurm: Cluster) -> None:
    job = submit(slurm, "sleep 600")
    comes_to(slurm, job, "RUNNING")
    slurm.stop_controller()

    slurm.start_controller()

    assert slurm.jobs()[job] == "RUNNING"


def test_a_node_set_down_stays_down_and_its_job_starts_anew(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(slurm, f"echo =$SLURM_RESTART_COUNT >> {tmp_path}/begun; sleep 600")
    until((tmp_path / "begun").exists)
    slurm.set_node("down")
    assert (slurm.node(), slurm.jobs()[job]) == ("down", "PENDING")

    slurm.set_node("resume")

    until(lambda: (tmp_path / "begun").read_text() == "=\n=1\n")


def test_calm_undoes_what_tests_do(clusters: Clusters) -> None:
    cluster = clusters()
    job = submit(cluster, "trap '' TERM; sleep 600", "--array=0-5%2")
    comes_to(cluster, f"{job}_1", "RUNNING")
    cluster.set_node("down")
    cluster.kill_controller()

    cluster.calm()

    assert cluster.node() == "idle"
    assert {*cluster.jobs().values()} == {"CANCELLED"}


def test_clusters_know_nothing_of_each_other(slurm: Cluster, clusters: Clusters) -> None:
    other = clusters("MaxArraySize=3", "PartitionName=short Nodes=node MaxTime=5")
    submit(other, "true", "--job-name=elsewhere")

    assert "elsewhere" not in slurm.run("squeue", "--states=all", "--format=%j")
    assert other.run("sinfo", "--noheader", "--format=%R %l") == "gpu infinite\nshort 5:00"
    assert "MaxArraySize            = 3" in other.run("scontrol", "show", "config")


def test_nothing_is_left_of_a_cluster_that_has_ended(clusters: Clusters, tmp_path: Path) -> None:
    cluster = clusters()
    script = f"echo $$ > {tmp_path}/job; setsid sh -c 'echo $$ > {tmp_path}/away; sleep 600'"
    submit(cluster, script)
    pids = {number(tmp_path / "job"), number(tmp_path / "away"), *processes(cluster.folder)}

    cluster.end()

    assert not cluster.folder.exists()
    until(lambda: not any(alive(pid) for pid in pids))


def test_nothing_is_left_when_the_tests_are_killed(slurm_here: None, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORGETFUL, str(tmp_path / "job")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        job = number(tmp_path / "job")
        assert {"slurmctld", "slurmd", "munged"} <= {each.stem for each in folder.glob("*.log")}
        tests.kill()

    until(lambda: not folder.exists())
    until(lambda: not alive(job) and not processes(folder))
