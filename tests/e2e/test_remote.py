"""GPU hosts by SSH, as users meet them: every command against real servers on loopback."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_recording import RECORDING
from tests.support import docker_engine
from tests.support.docker_engine import Dockerd
from tests.support.fixtures_ssh import Servers
from tests.support.processes import working_in
from tests.support.project import frames
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home, Server
from tests.support.waiting import until

pytest_plugins = ["tests.support.fixtures_docker"]


class Lab:
    """A project with one target, `gpu`, whose hosts are servers on loopback."""

    def __init__(self, folder: Path, home: Home, servers: Servers) -> None:
        self.root = folder / "the root"
        self.stand_in = StandIn(folder / "stand-in")
        self.project = Remote(folder / "project", home)
        self._start = servers
        self.servers: list[Server] = []

    def open(self, *hosts: str, **settings: Any) -> None:
        """Start hosts that work with the stand-in; `settings` are of the target."""
        self.servers = [self._start(host) for host in hosts]
        self.configure(*hosts, **settings)

    def configure(self, *hosts: str, seconds: float = 0, **settings: Any) -> None:
        """Write the project file; each run takes `seconds`."""
        installation = settings.pop("installation", self.stand_in.installation(seconds))
        self.project.configure(gpu=target(hosts, self.root, installation, **settings))

    def states(self) -> list[str]:
        return [str(each["state"]) for each in self.project.runs()]

    def ids(self) -> list[str]:
        return [str(each["id"]) for each in self.project.runs()]

    def batches(self) -> list[Path]:
        return sorted((self.root / "batches").glob("ba_*"))

    def engines(self) -> list[int]:
        """Return the processes of the engine, which work in a batch's folder."""
        return working_in(self.root)


@pytest.fixture
def lab(tmp_path: Path, ssh_home: Home, ssh_servers: Servers) -> Lab:
    """Return a project that has no host yet."""
    return Lab(tmp_path, ssh_home, ssh_servers)


# --- the real engine ----------------------------------------------------------------------

HANDOVER = {
    "version": 1,
    "name": "handover",
    "videos": {"arms": str(RECORDING)},
    "prompts": {"kitchen": "Two robot arms hand over a cup in a bright kitchen"},
    "weights": {"balanced": [0.25, 0.25, 0.25, 0.25], "edges": {"edge": 1.0}},
    "params": {"resolution": "256", "max_frames": 9, "seed": [1, 2]},
}


@pytest.mark.skipif(not RECORDING.is_dir(), reason=f"the recording is not in {RECORDING}")
@pytest.mark.parametrize("how", ["bare", "docker"])
def test_a_real_recording_is_made_on_two_hosts(
    request: pytest.FixtureRequest, lab: Lab, ssh_servers: Servers, how: str
) -> None:
    installation: dict[str, Any] = {"venv": sys.prefix}
    lines: tuple[str, ...] = ()
    if how == "docker":
        engine: Dockerd = request.getfixturevalue("dockerd")
        lines = (f"SetEnv DOCKER_HOST={engine.host}",)
        installation["docker"] = docker_engine.settings()
    servers = [ssh_servers(name, *lines) for name in ("gpu-1", "gpu-2")]
    lab.configure("gpu-1", "gpu-2", installation=installation, max_batch=1)
    lab.project.job.write_text(json.dumps(HANDOVER))

    first = lab.project.run("apply", "-v", "jobs/small.yaml")
    connected = [server.connections for server in servers]
    second = lab.project.run("apply", "-v", "jobs/small.yaml")

    made = lab.project.root / "outputs" / "handover" / "kitchen"
    names = [f"{w}-seed{s}.mp4" for w in ("balanced", "edges") for s in (1, 2)]
    assert sorted(each.name for each in made.iterdir()) == names
    assert [frames(made / name) for name in names] == [9] * 4
    found = []
    for run in lab.ids():
        folder = lab.project.root / "outputs" / "runs" / run
        found.append(json.loads((folder / "manifest.json").read_text()))
        assert frames(folder / "controls" / "edge.mp4") == 9
    assert {each["target"] for each in found} == {"gpu"}
    assert {each["host"] for each in found} == {"gpu-1", "gpu-2"}
    traffic = [line for line in first.stderr.splitlines() if " connection" in line]
    assert len(traffic) == 2, first.stderr
    assert connected == [1, 1]
    assert "4 up to date" in second.stdout
    assert second.stderr == ""
    assert [server.connections for server in servers] == connected


# --- to leave, to come back ---------------------------------------------------------------


def test_work_goes_on_without_us_and_watch_ends_it(lab: Lab) -> None:
    lab.open("gpu-1", seconds=0.5)
    lab.project.sweep(4)

    began = time.monotonic()
    left = lab.project.run("apply", "--detach").stdout
    took_s = time.monotonic() - began
    made = len(lab.stand_in.made())
    status = lab.project.run("status").stdout
    flight = json.loads(lab.project.run("status", "--format", "json").stdout)
    watched = lab.project.run("watch").stdout

    assert "Follow them: cosmos-jobs watch" in left
    assert made < 4, f"apply --detach took {took_s} s"
    (batch,) = lab.batches()
    assert "gpu-1" in status
    assert batch.name in status
    assert [(each["host"], each["batch"]) for each in flight["in_flight"]] == [
        ("gpu-1", batch.name)
    ]
    assert sum(flight["jobs"]["small"].values()) == 4
    assert "4 succeeded" in watched
    assert "Nothing is in flight" in lab.project.run("watch").stdout
    assert sorted(lab.stand_in.made()) == sorted(lab.ids())


def test_another_store_gets_what_a_host_has_made_already(lab: Lab, tmp_path: Path) -> None:
    lab.open("gpu-1")
    lab.project.sweep(2)
    lab.project.run("apply")
    other = Remote(tmp_path / "another", lab.project.home)
    other.configure(gpu=target(["gpu-1"], lab.root, lab.stand_in.installation()))
    other.sweep(2)

    other.run("apply")

    assert [each["state"] for each in other.runs()] == ["succeeded", "succeeded"]
    assert len(list((other.root / "outputs" / "small").rglob("*.mp4"))) == 2
    assert len(lab.stand_in.lines("begin")) == 2


def test_a_canary_that_fails_starts_nothing_else(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(4, "They FAIL")
    bad = lab.project.run("apply", "--canary", "1", exit_code=1).stdout
    tried = len(lab.stand_in.lines("begin"))
    lab.project.sweep(4)

    good = lab.project.run("apply", "--canary", "1").stdout

    assert tried == 1
    assert "A canary did not succeed: 3 others were not started." in bad
    assert "4 succeeded" in good
    assert len(lab.stand_in.made()) == 4


def test_a_log_is_streamed_while_it_is_written(lab: Lab) -> None:
    lab.open("gpu-1", seconds=0.7)
    lab.project.sweep(3)
    lab.project.run("apply", "--detach")
    run = lab.ids()[0]

    with lab.project.start("logs", run[:8], "-f") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        made = len(lab.stand_in.made())
        # Not `communicate`: it would not see what `readline` has read ahead.
        rest, err = process.stdout.read(), process.stderr.read()
    lab.project.run("watch")
    later = lab.project.run("logs", run).stdout

    assert (process.returncode, err) == (0, "")
    assert first == "progress 1 of 3\n"
    assert made < 3
    assert rest.splitlines() == ["progress 2 of 3", "progress 3 of 3"]
    assert later.splitlines()[-1] == "progress 3 of 3"


def test_fetch_collects_what_is_made_and_brings_back_what_was_deleted(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(2)
    lab.project.run("apply", "--detach")
    until(lambda: len(lab.stand_in.made()) == 2 and (lab.batches()[0] / "exit").exists())
    lab.project.run("fetch")
    videos = sorted((lab.project.root / "outputs").rglob("output.mp4"))
    before = [each.read_bytes() for each in videos]
    for each in (lab.project.root / "outputs").rglob("*.mp4"):
        each.unlink()

    said = lab.project.run("fetch", "small").stdout

    assert said == "Fetched 2 videos made before.\n"
    assert lab.states() == ["succeeded", "succeeded"]
    assert [each.read_bytes() for each in videos] == before
    assert len(list((lab.project.root / "outputs" / "small").rglob("*.mp4"))) == 2
    assert len(lab.stand_in.lines("begin")) == 2
    assert "2 up to date" in lab.project.run("apply").stdout
    shutil.rmtree(lab.root)
    videos[0].unlink()
    gone = lab.project.run("fetch", "small")
    assert "1 video could not be had" in gone.stderr
    assert gone.stdout == ""


# --- where time is short: continuous integration --------------------------------------------


def test_a_watch_ends_after_its_time_and_the_next_goes_on(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(3, "They HANG")
    lab.project.run("apply", "--detach")

    late = lab.project.run("watch", "--timeout", "1s", "--format", "json", exit_code=124)
    said = lab.project.run("watch", "--timeout", "1", exit_code=124).stdout
    engines = lab.engines()
    lab.project.run("cancel", "--all")

    summary = json.loads(late.stdout.splitlines()[-1])
    assert (summary["exit_code"], summary["in_flight"]) == (124, 3)
    assert "Follow them: cosmos-jobs watch" in said
    assert engines
    assert len(lab.stand_in.lines("begin")) == 1


def test_a_watch_that_is_done_in_time_ends_as_ever(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(2)
    lab.project.run("apply", "--detach")

    done = lab.project.run("watch", "--timeout", "5m", "--format", "json")

    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["type"] for each in told[:1] + told[-1:]] == ["version", "summary"]
    assert told[-1]["states"]["succeeded"] == 2
    assert lab.project.run("watch", "--format", "json").stdout.count("\n") == 2


@pytest.mark.parametrize("said", ["0", "5 minutes", "-1", "x y"])
def test_a_time_that_is_none_is_refused(lab: Lab, said: str) -> None:
    lab.open("gpu-1")

    refused = lab.project.run("watch", f"--timeout={said}", exit_code=2)

    assert "no time: write 90s, 50m or 5h30m" in refused.stderr


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_a_cancelled_job_of_ci_leaves_the_work_and_the_next_picks_it_up(
    lab: Lab, signals: list[signal.Signals]
) -> None:
    lab.open("gpu-1", seconds=0.7)
    lab.project.sweep(5)
    client = lab.project.start("apply")
    until(lambda: lab.stand_in.made())

    for number in signals:
        client.send_signal(number)
    out, err = client.communicate(timeout=30)
    made = len(lab.stand_in.made())
    until(lambda: len(lab.stand_in.made()) > made)
    lab.project.run("apply")

    assert client.returncode == 130, out + err
    assert "Traceback" not in err
    assert "go on at gpu-1" in err or "goes on at gpu-1" in err
    assert made < 5
    assert lab.states() == ["succeeded"] * 5
    assert len(lab.stand_in.lines("begin")) == 5
    assert len(set(lab.stand_in.made())) == len(lab.stand_in.made()) == 5


# --- to stop, to try again ----------------------------------------------------------------


@pytest.mark.parametrize("what", ["run", "job", "all"])
def test_cancel_ends_what_is_meant(lab: Lab, what: str) -> None:
    lab.open("gpu-1", max_batch=1)
    lab.project.sweep(2, "They HANG")
    lab.project.run("apply", "--detach")
    until(lambda: lab.stand_in.lines("begin"))
    ((run, _),) = lab.stand_in.lines("begin")
    names = {"run": [run], "job": ["small"], "all": ["--all"]}[what]

    said = lab.project.run("cancel", *names).stdout
    one = lab.states()
    others = lab.engines()
    if what == "run":
        lab.project.run("cancel", "--all")

    assert said == f"Stopped {'1 run' if what == 'run' else '2 runs'}.\n"
    assert one.count("cancelled") == (1 if what == "run" else 2)
    assert bool(others) == (what == "run")
    assert lab.states() == ["cancelled", "cancelled"]
    assert lab.engines() == []


@pytest.mark.parametrize("what", ["run", "job"])
def test_retry_runs_again_what_failed_and_nothing_else(lab: Lab, what: str) -> None:
    lab.open("gpu-1", installation={"venv": "/opt/none"})
    lab.project.sweep(2)
    failed = lab.project.run("apply", exit_code=1).stdout
    lab.configure("gpu-1")

    lab.project.run("retry", lab.ids()[0] if what == "run" else "small")

    assert "the program /opt/none/bin/python is not there" in failed
    assert "install it, or correct `venv`; check it: cosmos-jobs doctor" in failed
    assert sorted(lab.states()) == sorted(
        ["succeeded", "failed"] if what == "run" else ["succeeded", "succeeded"]
    )
    assert len(lab.stand_in.lines("begin")) == (1 if what == "run" else 2)
    assert "Nothing to retry" in lab.project.run("retry", lab.ids()[0]).stdout


def test_retry_goes_where_the_runs_were_last(lab: Lab) -> None:
    lab.open("gpu-1", installation={"venv": "/opt/none"})
    settings = json.loads((lab.project.root / "cosmos-jobs.yaml").read_text())["targets"]
    lab.project.configure(local={}, **settings)
    lab.project.sweep(1)
    lab.project.run("apply", "--target", "gpu", exit_code=1)

    lab.project.run("retry", "small", exit_code=1)
    lab.project.run("retry", "small", "--target", "local")

    attempts = lab.project.runs()[0]["attempts"]
    assert isinstance(attempts, list)
    assert [each["target"] for each in attempts] == ["gpu", "gpu", "local"]
    assert "Nothing to retry" in lab.project.run("retry", "small").stdout


def test_logs_go_on_where_another_process_left_them(lab: Lab) -> None:
    lab.open("gpu-1", seconds=0.5)
    lab.project.sweep(6)
    client = lab.project.start("apply", "--logs")
    until(lambda: len(lab.stand_in.made()) >= 2)

    # What was told is noted there; a busy machine tells it late.
    until((lab.project.root / ".cosmos-jobs" / "cache" / "logs.json").exists)
    client.send_signal(signal.SIGINT)
    _, first = client.communicate(timeout=30)
    second = lab.project.run("watch", "--logs").stderr

    told = [line.split("  ", 1)[1] for line in first.splitlines() if line.startswith("ba_")]
    rest = [line.split("  ", 1)[1] for line in second.splitlines() if line.startswith("ba_")]
    assert told
    assert rest
    assert [*told, *rest] == [f"progress {number} of 6" for number in range(1, 7)]
    assert lab.states() == ["succeeded"] * 6


# --- what is left on a host ---------------------------------------------------------------


def test_prune_removes_from_a_host_what_nobody_needs(lab: Lab) -> None:
    lab.open("gpu-1", max_batch=1)
    lab.project.sweep(2)
    lab.project.run("apply")
    kept, going = lab.batches()
    (kept / "needed" / "000000000000").touch()
    (uploaded,) = (lab.root / "inputs").iterdir()
    (lab.root / "ours.txt").touch()

    young = lab.project.run("prune", "--remote", "--dry-run").stdout
    (kept / "needed" / "000000000000").unlink()
    both = lab.project.run("prune", "--remote", "--dry-run").stdout
    os.utime(uploaded, (time.time() - 7200, time.time() - 7200))
    (kept / "needed" / "000000000000").touch()
    lab.project.run("prune", "--remote", "--yes")
    one = lab.batches(), uploaded.exists()
    (kept / "needed" / "000000000000").unlink()
    lab.project.run("prune", "--remote", "--target", "gpu", "--yes")

    assert going.name in young
    assert kept.name not in young
    assert uploaded.name not in young
    assert kept.name in both
    assert uploaded.name not in both
    assert one == ([kept], True), "what a batch that is needed came from stays with it"
    assert (lab.batches(), uploaded.exists()) == ([], False)
    assert (lab.root / "ours.txt").exists()
    assert "2 up to date" in lab.project.run("apply").stdout


@pytest.mark.parametrize("lost", ["store", "store and outputs"])
def test_a_lost_store_is_rebuilt_without_running_anything(lab: Lab, lost: str) -> None:
    lab.open("gpu-1")
    lab.project.sweep(3)
    lab.project.run("apply")
    before = {each["id"]: each["output"] for each in lab.project.runs()}
    shutil.rmtree(lab.project.root / ".cosmos-jobs")
    if lost == "store and outputs":
        shutil.rmtree(lab.project.root / "outputs")

    said = lab.project.run("adopt", "gpu").stdout

    assert "Adopted 3 runs." in said
    assert {each["id"]: each["output"] for each in lab.project.runs()} == before
    assert "3 up to date" in lab.project.run("apply").stdout
    assert len(list((lab.project.root / "outputs" / "small").rglob("*.mp4"))) == 3
    assert len(lab.stand_in.lines("begin")) == 3


def test_what_failed_is_adopted_once(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(2, "They FAIL")
    lab.project.run("apply", exit_code=1)
    shutil.rmtree(lab.project.root / ".cosmos-jobs")
    shutil.rmtree(lab.project.root / "outputs", ignore_errors=True)

    first = lab.project.run("adopt")
    before = lab.project.runs()
    second = lab.project.run("adopt").stdout

    assert "Adopted 2 runs." in first.stdout
    for run in lab.ids():
        assert f"failed  {run}  small/golden/edges-seed" in first.stderr
    assert "Retry: cosmos-jobs retry" in first.stdout
    assert "Adopted 0 runs." in second
    assert lab.states() == ["failed", "failed"]
    assert lab.project.runs() == before


# --- trust --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["apply", "adopt"])
@pytest.mark.parametrize("name", ["{canary}", "../../../canary", "a/../../../../canary"])
def test_a_host_writes_nothing_outside_the_outputs(lab: Lab, how: str, name: str) -> None:
    canary = lab.project.root / "canary"
    canary.write_text("whole")
    installation = lab.stand_in.installation()
    lab.open("gpu-1", installation=installation)
    lab.project.sweep(1)
    if how == "adopt":
        # The batch ends while nobody looks, and then the store is lost.
        installation["env"]["STAND_IN_SECONDS"] = "1"
    installation["env"]["STAND_IN_NAMES"] = json.dumps([name.format(canary=canary)])
    lab.configure("gpu-1", installation=installation)

    if how == "adopt":
        lab.project.run("apply", "--detach")
        until(lambda: list(lab.root.glob("batches/*/exit")))
        shutil.rmtree(lab.project.root / ".cosmos-jobs")
        lab.project.run("adopt", "gpu")
    else:
        said = lab.project.run("apply", exit_code=1)
        assert "the machine names a file that cannot be taken" in said.stdout + said.stderr

    assert canary.read_text() == "whole"
    assert lab.states() == ["failed"]
    assert not list((lab.project.root / "outputs" / "runs").rglob("*.mp4"))


def test_a_run_that_a_host_lies_about_leaves_the_others_alone(lab: Lab) -> None:
    lab.open("gpu-1")
    lab.project.sweep(1)
    lab.project.run("apply")
    installation = lab.stand_in.installation()
    installation["env"]["STAND_IN_NAMES"] = '["../other/output.mp4"]'
    lab.configure("gpu-1", installation=installation)
    lab.project.sweep(2)

    lab.project.run("apply", exit_code=1)

    assert sorted(lab.states()) == ["failed", "succeeded"]


def test_a_host_that_nobody_knows_is_refused_until_it_is_accepted(
    lab: Lab, ssh_servers: Servers
) -> None:
    server = ssh_servers("gpu-1", known=False)
    lab.configure("gpu-1")
    lab.project.sweep(1)

    refused = lab.project.run("apply", exit_code=5).stderr
    doctor = lab.project.run("doctor", "gpu", "--accept-new-host-key").stdout
    lab.project.run("apply")

    assert "cosmos-jobs doctor --accept-new-host-key" in refused
    assert "SHA256:" in refused
    assert "accepted" in doctor
    assert "Nothing is missing" in doctor
    assert lab.states() == ["succeeded"]
    server.stop()


# --- names --------------------------------------------------------------------------------


def test_names_and_texts_are_data_on_a_host_too(lab: Lab) -> None:
    lab.root = lab.root.with_name('it\'s the "root" $(touch hacked) `touch hacked`; ü')
    lab.open("gpu-1")
    clips = lab.project.root / "clips" / 'a\'s "clip" $(touch hacked)'
    (lab.project.root / "clips" / "a").rename(clips)
    text = 'It\'s "so" $(touch hacked)\n`touch hacked`; touch hacked \\ -- ü\n'
    lab.project.sweep(2, text, videos={"a": str(clips.relative_to(lab.project.root))})

    lab.project.run("apply", "--detach")
    lab.project.run("watch")

    assert lab.states() == ["succeeded", "succeeded"]
    (batch,) = lab.batches()
    told = [json.loads(line) for line in (batch / "runs.jsonl").read_text().splitlines()]
    assert {each["prompt"] for each in told} == {text.rstrip()}
    assert not list(lab.project.root.parent.rglob("hacked"))
    # Where a shell begins that comes by SSH.
    assert not (Path(pwd.getpwuid(os.geteuid()).pw_dir) / "hacked").exists()
