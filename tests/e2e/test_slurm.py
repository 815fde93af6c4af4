"""A Slurm cluster as users meet it: every command against a real one, here and over SSH."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_models import FRAMES, MODELS, Studio
from tests.support.fixtures_ssh import Servers
from tests.support.project import Project, frames
from tests.support.remote_project import Remote, StandIn, target
from tests.support.slurm_cluster import Cluster
from tests.support.ssh_server import Home

pytest_plugins = ["tests.support.fixtures_slurm"]

KILLS = 10


class Lab:
    """A project whose target `cluster` is the tests' own Slurm, by the login node or on it."""

    def __init__(self, folder: Path, home: Home, cluster: Cluster) -> None:
        self.root = folder / "the root"
        self.stand_in = StandIn(folder / "stand-in")
        self.project = Remote(folder / "project", home)
        self.cluster = cluster

    def configure(
        self, hosts: Sequence[str], seconds: float = 0, slurm: dict[str, Any] | None = None
    ) -> None:
        settings = target(hosts, self.root, self.stand_in.installation(seconds), max_batch=5)
        if not hosts:
            del settings["hosts"]
        self.project.configure(cluster={**settings, "executor": "slurm", "slurm": slurm or {}})

    def states(self) -> Counter[str]:
        return Counter(str(each["state"]) for each in self.project.runs())

    def arrays(self) -> list[int]:
        """Return how many batches are in each array that Slurm has taken."""
        taken = (each.parent / "batches" for each in self.root.glob("arrays/*/job"))
        return sorted(len(each.read_text().split()) for each in taken)


@pytest.fixture
def lab(tmp_path: Path, ssh_home: Home, slurm: Cluster) -> Lab:
    """Return a project that has no target yet."""
    return Lab(tmp_path, ssh_home, slurm)


def login(servers: Servers, cluster: Cluster) -> str:
    """Start a login node; return its alias."""
    servers("login", f"SetEnv SLURM_CONF={cluster.config}")
    return "login"


def test_an_apply_on_the_login_node_makes_real_videos(slurm: Cluster, project: Project) -> None:
    settings = {"executor": "slurm", "root": "shared", "slurm": {"gres": "gpu:h100:1"}}
    (project.root / "cosmos-jobs.yaml").write_text(
        json.dumps({"version": 1, "target": "cluster", "targets": {"cluster": settings}})
    )

    said = project.run("apply", "--yes", "jobs/small.yaml").stdout
    again = project.run("apply", "jobs/small.yaml").stdout

    assert "8 succeeded" in said, said
    assert "Nothing to do" in again
    videos = list((project.root / "outputs" / "small").rglob("*.mp4"))
    assert [frames(each) for each in videos] == [3] * 8
    for path in project.root.glob("outputs/runs/*/manifest.json"):
        manifest = json.loads(path.read_text())
        assert manifest["node"] == "node"
        assert manifest["slurm_job"].partition("_")[0].isdigit()


def test_an_apply_through_a_login_node_fetches_what_the_cluster_made(
    lab: Lab, ssh_servers: Servers
) -> None:
    lab.configure([login(ssh_servers, lab.cluster)])
    lab.project.sweep(12)

    lab.project.run("apply", "jobs/small.yaml")

    assert lab.states() == {"succeeded": 12}
    assert Counter(lab.stand_in.made()) == Counter(str(each["id"]) for each in lab.project.runs())
    assert len(list(lab.project.root.glob("outputs/small/**/*.mp4"))) == 12


@pytest.mark.parametrize("engine", MODELS)
def test_the_models_run_on_a_cluster(
    tmp_path: Path, ssh_home: Home, ssh_servers: Servers, slurm: Cluster, engine: str
) -> None:
    studio = Studio(tmp_path, ssh_home, ssh_servers)
    studio.open(
        f"SetEnv SLURM_CONF={slurm.config}",
        executor="slurm",
        slurm={"gres": "gpu:h100:1", "cpus": 2},
    )
    params = {**FRAMES[engine], "seed": [1, 2]}
    studio.job(engine, videos={"a": "clips/a"}, params=params)

    studio.project.run("apply", "jobs/small.yaml")

    assert studio.states() == {"succeeded": 2}
    for manifest, found in studio.made():
        assert found["prompt"] == manifest["prompt"]["text"]
        assert found["params"]["seed"] == manifest["run"]["params"]["seed"]
        assert (manifest["node"], manifest["commit"] != "") == ("node", True)


def test_why_batches_wait_is_shown(lab: Lab) -> None:
    lab.configure([], seconds=20, slurm={"max_running": 1})
    lab.project.sweep(10)
    # The cluster remembers those of earlier tests for a while.
    before = lab.cluster.jobs().keys()

    lab.project.run("apply", "--detach", "jobs/small.yaml")
    watch = lab.project.start("watch")
    deadline = time.monotonic() + 60
    while "JobArrayTaskLimit" not in (said := lab.project.run("status").stdout):
        assert time.monotonic() < deadline, said
        time.sleep(1)
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=60)
    cancelled = lab.project.run("cancel", "--all", "--yes").stdout

    assert "others of its array: max_running" in said
    assert "Stopped 10 runs" in cancelled
    assert lab.states() == {"cancelled": 10}
    ended = {state for job, state in lab.cluster.jobs().items() if job not in before}
    assert "CANCELLED" in ended
    assert ended <= {"CANCELLED", "COMPLETED"}


def test_a_cluster_gets_all_arrays_at_once(lab: Lab) -> None:
    lab.configure([], seconds=30, slurm={"array_limit": 2, "max_running": 1})
    lab.project.sweep(25)
    client = lab.project.start("apply", "--yes", "jobs/small.yaml")
    deadline = time.monotonic() + 60
    while len(sizes := lab.arrays()) < 3:
        assert time.monotonic() < deadline, sizes
        time.sleep(0.1)

    client.send_signal(signal.SIGINT)
    client.communicate(timeout=60)
    lab.project.run("cancel", "--all", "--yes")

    assert sizes == [1, 2, 2]
    assert lab.stand_in.made() == []


def test_work_on_a_cluster_goes_on_without_us(lab: Lab, ssh_servers: Servers) -> None:
    lab.configure([login(ssh_servers, lab.cluster)], seconds=0.5)
    lab.project.sweep(5)
    client = lab.project.start("apply", "jobs/small.yaml")
    deadline = time.monotonic() + 60
    while not lab.stand_in.lines("begin"):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=60)
    lab.project.run("watch")

    assert client.returncode == 130, out + err
    assert lab.states() == {"succeeded": 5}
    assert len(lab.stand_in.made()) == 5


def test_what_slurm_takes_back_is_made_again_by_the_same_apply(lab: Lab) -> None:
    lab.configure([], seconds=1, slurm={"max_running": 1})
    lab.project.sweep(5)
    client = lab.project.start("apply", "--yes", "jobs/small.yaml")
    deadline = time.monotonic() + 60
    while not lab.stand_in.lines("begin"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (job,) = (each for each, state in lab.cluster.jobs().items() if state == "RUNNING")

    lab.cluster.run("scontrol", "requeue", job)
    out, err = client.communicate(timeout=120)

    assert client.returncode == 0, out + err
    assert lab.states() == {"succeeded": 5}
    shown = json.loads(lab.project.run("list", "runs", "--format", "json").stdout)
    tries = [[each["state"] for each in run["attempts"]] for run in shown]
    assert ["lost", "succeeded"] in tries
    assert set(Counter(lab.stand_in.made()).values()) == {1}


def test_ten_kills_lose_nothing_and_run_nothing_twice(slurm: Cluster, project: Project) -> None:
    settings = {"executor": "slurm", "root": "shared", "max_batch": 8}
    settings["slurm"] = {"gres": "gpu:h100:1", "max_running": 4}
    (project.root / "cosmos-jobs.yaml").write_text(
        json.dumps({"version": 1, "target": "cluster", "targets": {"cluster": settings}})
    )
    job = {
        "version": 1,
        "name": "small",
        "videos": {"a": "clips/a", "b": "clips/b"},
        "prompts": {"golden": "A pier at golden hour"},
        "weights": {"edges": {"edge": 1.0}},
        "params": {"resolution": "256", "max_frames": 1, "seed": list(range(100))},
    }
    project.job.write_text(json.dumps(job))
    dice = random.Random(6)
    struck = 0
    for _ in range(KILLS):
        client = project.start("apply", "--yes", "jobs/small.yaml")
        time.sleep(dice.uniform(0.2, 6))
        struck += client.poll() is None
        client.send_signal(signal.SIGKILL)
        client.communicate()

    for _ in range(2):
        last = project.run("apply", "--yes", "jobs/small.yaml")

    assert struck >= KILLS / 2
    assert "Nothing to do: 200 runs" in last.stdout
    made = Counter(
        each.parent.name for each in project.root.glob("shared/batches/*/out/*/manifest.json")
    )
    assert len(made) == 200
    assert set(made.values()) == {1}
    assert {run["state"] for run in project.runs()} == {"succeeded"}
    assert [len(run["attempts"]) for run in project.runs()] == [1] * 200  # type: ignore[arg-type]
