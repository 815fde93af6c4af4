"""Batches in real containers: what goes in, what comes out, and that none is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cosmos_jobs.config.project import Container, Installation, Target
from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Batch, Command, Life, Server, Status
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.executors.process.executor import ProcessExecutor
from cosmos_jobs.targets.hosts.base import Host
from cosmos_jobs.targets.hosts.local import LocalHost
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.support import docker_engine
from tests.support.docker_engine import Dockerd
from tests.support.fixtures_ssh import Servers
from tests.support.processes import members
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home
from tests.support.waiting import until

if TYPE_CHECKING:  # pytest itself must be the first to import it
    from tests.support.fixtures_docker import Engines

pytest_plugins = ["tests.support.fixtures_docker"]

ONE = Batch("ba_0000000000000001", "any", "local", ("rs_0000000000000001",))
TWO = Batch("ba_0000000000000002", "any", "local", ("rs_0000000000000002",))
THREE = Batch("ba_0000000000000003", "any", "local", ("rs_0000000000000003",))
WARM_SERVER = docker_engine.REPOSITORY / "tests" / "fakes" / "warm_server.py"
LASTS = ("sh", "-c", "touch out/begun; while [ ! -e out/stop ]; do sleep 0.05; done")


class Bench:
    """An executor that works in containers, on a machine that stays connected."""

    def __init__(self, host: Host, root: Path) -> None:
        self.root = root
        self._host = host
        batches = BatchDirectory(host, str(root), client="ann@here", owner="owner1")
        self._executor = ProcessExecutor(batches, Target("local", str(root)), kill_grace_s=1)
        self._runner = asyncio.Runner()

    def submit(
        self,
        *argv: str,
        batch: Batch = ONE,
        env: Mapping[str, str] | None = None,
        image: str = docker_engine.IMAGE,
        cwd: str = "",
        **more: Any,
    ) -> None:
        command = Command(argv, {}, {"OWN": "the engine's"}, cwd)
        self.order(command, batch=batch, env=env, image=image, **more)

    def order(
        self,
        command: Command,
        *,
        batch: Batch = ONE,
        env: Mapping[str, str] | None = None,
        image: str = docker_engine.IMAGE,
        **more: Any,
    ) -> None:
        args = ("--network=none", "--label", 'note=it\'s "so"')
        contained = Container(image, tuple(docker_engine.volumes()), args)
        installation = Installation(container=contained, env=env or {})
        order = Submission(batch, command, installation, **more)
        self._runner.run(self._executor.submit([order]))

    def folder(self, batch: Batch = ONE) -> Path:
        return self.root / "batches" / batch.id

    def poll(self, batch: Batch = ONE) -> Status:
        return self._runner.run(self._executor.poll([batch.id]))[batch.id]

    def wait(self, met: Callable[[Status], object], batch: Batch = ONE) -> Status:
        deadline = time.monotonic() + 30
        while not met(status := self.poll(batch)):
            assert time.monotonic() < deadline, status
            time.sleep(0.03)
        return status

    def began(self, batch: Batch = ONE) -> Status:
        return self.wait(lambda status: "begun" in status.files, batch)

    def ended(self, batch: Batch = ONE) -> Status:
        return self.wait(lambda status: status.life is Life.EXITED, batch)

    def cancel(self, batch: Batch = ONE) -> None:
        self._runner.run(self._executor.cancel([batch.id]))

    def kill_session(self, pid: Path | None = None) -> None:
        """Kill run.sh and the docker client, and nothing in the container."""
        leader = int((pid or self.folder() / "claim" / "pid").read_text().split()[0])
        for each in members(leader):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    def close(self) -> None:
        self._runner.run(self._host.close())
        self._runner.close()


Benches = Callable[..., Bench]


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Benches]:
    """Return how to make an executor, of this machine unless another host is given."""
    made: list[Bench] = []

    def make(name: str = "a root", host: Host | None = None) -> Bench:
        made.append(Bench(host or LocalHost(), tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["local", "ssh"])
def bench(request: pytest.FixtureRequest, dockerd: Dockerd, benches: Benches) -> Bench:
    """Return an executor on this machine, and one on a machine that is reached by SSH."""
    if request.param == "local":
        return benches()
    servers: Servers = request.getfixturevalue("ssh_servers")
    servers("gpu-1", f"SetEnv DOCKER_HOST={dockerd.host}")
    return benches(host=SSHHost("gpu-1", connect_timeout_s=10))


def commands() -> str:
    """Return the command lines of all processes, as everybody on the machine can see them."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(process.read_text(errors="replace"))
    return "\n".join(found)


def test_a_batch_leaves_its_exit_code_its_files_and_its_log(bench: Bench, dockerd: Dockerd) -> None:
    bench.submit("sh", "-c", 'mkdir out/a; echo "$OWN" > out/a/b; echo said; echo >&2 bad; exit 3')

    status = bench.ended()

    assert (status.exit_code, status.fault) == (3, "")
    assert status.files == ("a/b",)
    assert sorted(status.log.splitlines()) == ["bad", "said"]
    assert (bench.folder() / "out" / "a" / "b").read_text() == "the engine's\n"
    assert dockerd.containers() == []


def test_a_container_says_whose_it_is_and_has_the_root_in_its_place(
    bench: Bench, dockerd: Dockerd
) -> None:
    bench.submit(*LASTS)
    bench.began()

    (told,) = json.loads(dockerd.run("inspect", ONE.id))
    (bench.folder() / "out" / "stop").touch()
    bench.ended()

    assert told["Name"] == f"/{ONE.id}"
    assert told["Config"]["Labels"] == {
        "cosmos-jobs.batch": ONE.id,
        "cosmos-jobs.root": str(bench.root),
        "note": 'it\'s "so"',
    }
    places = {each["Source"]: each["Destination"] for each in told["Mounts"] if each["RW"]}
    assert places == {str(bench.root): str(bench.root)}
    assert told["Config"]["WorkingDir"] == str(bench.folder())
    assert told["Config"]["Cmd"] == list(LASTS)
    assert told["HostConfig"]["AutoRemove"]


def test_a_secret_reaches_the_container_and_no_command_line(bench: Bench, dockerd: Dockerd) -> None:
    secret = "s3cr3t-'\"$(x)"
    bench.submit(
        "sh",
        "-c",
        'printf %s "$TOKEN" | sha256sum > out/seen; echo "using $TOKEN"; ' + LASTS[2],
        env={
            "TOKEN": "${TOKEN}",
            "PLAIN": "x 'y'\n$(z)",
            "HOME": "/nowhere",
            "PATH": docker_engine.PATH,
        },
        secrets={"TOKEN": secret},
    )
    bench.began()

    (told,) = json.loads(dockerd.run("inspect", ONE.id))
    shown = commands()
    (bench.folder() / "out" / "stop").touch()
    status = bench.ended()

    env = told["Config"]["Env"]
    assert {f"TOKEN={secret}", "PLAIN=x 'y'\n$(z)", "HOME=/nowhere"} <= set(env)
    del told["Config"]["Env"]
    assert secret not in json.dumps(told, ensure_ascii=False)
    assert json.dumps(secret)[1:-1] not in json.dumps(told)
    assert ONE.id in shown
    assert secret not in shown
    seen = (bench.folder() / "out" / "seen").read_text().split()[0]
    assert seen == hashlib.sha256(secret.encode()).hexdigest()
    assert status.log == f"using {'*' * len(secret)}"
    files = [each for each in bench.root.rglob("*") if each.is_file()]
    assert [each for each in files if secret in each.read_text(errors="replace")] == []


@pytest.mark.parametrize("name", ["plain", 'it\'s a "root", $(touch hacked) `x`\n: ü'])
def test_a_root_of_any_name_is_mounted(dockerd: Dockerd, benches: Benches, name: str) -> None:
    bench = benches(name)
    bench.submit("sh", "-c", 'pwd; printf %s "$1" > out/got', "sh", "$(touch hacked) it's")

    status = bench.ended()

    assert status.log == str(bench.folder())
    assert (bench.folder() / "out" / "got").read_text() == "$(touch hacked) it's"
    assert not list(bench.root.parent.rglob("hacked"))


def test_a_batch_knows_its_image_and_works_in_the_folder_of_its_command(
    bench: Bench, dockerd: Dockerd
) -> None:
    bench.submit("pwd", cwd="/tmp")

    status = bench.ended()

    image = dockerd.run("image", "inspect", "--format", "{{.Id}}", docker_engine.IMAGE)
    assert (status.log, status.facts) == ("/tmp", {"image": image})


# --- warm servers -------------------------------------------------------------------------


def warm(bench: Bench, batch: Batch, *lines: tuple[str, ...], key: str = "a model") -> None:
    """Have a server work a batch, in a container that is its own."""
    env = {"LEDGER": str(bench.root / "ledger"), "TOKEN": "${TOKEN}", "PATH": docker_engine.PATH}
    work = "".join(json.dumps(line) + "\n" for line in lines).encode()
    server = Server((sys.executable, str(WARM_SERVER), "60"), key, 60)
    command = Command(("false",), {"batch.jsonl": work}, server=server)
    bench.order(command, batch=batch, env=env, secrets={"TOKEN": "s3cr3t"})


def test_a_server_in_a_container_works_many_batches(bench: Bench, dockerd: Dockerd) -> None:
    warm(bench, ONE, ("say", "one of $TOKEN"), ("write", "a", "A"))
    first = bench.ended()
    (before,) = dockerd.containers()
    (told,) = json.loads(dockerd.run("inspect", before))
    warm(bench, TWO, ("say", "two"), ("exit", "3"))
    second = bench.ended(TWO)

    loads = (bench.root / "ledger").read_text().splitlines()
    kept = dockerd.containers()
    bench.submit("true", batch=THREE)
    bench.ended(THREE)

    assert (first.exit_code, first.log, first.files) == (0, "one of ******", ("a",))
    assert (second.exit_code, second.log) == (3, "two")
    assert (len(loads), kept) == (1, [before])
    assert before.startswith("cosmos-jobs-")
    labels = told["Config"]["Labels"]
    assert labels["cosmos-jobs.server"] == "cpu"
    assert labels["cosmos-jobs.root"] == str(bench.root)
    assert dockerd.containers() == []


def test_another_model_takes_the_place_of_a_server_in_a_container(
    bench: Bench, dockerd: Dockerd
) -> None:
    warm(bench, ONE)
    bench.ended()
    before = dockerd.run("ps", "--quiet")
    warm(bench, TWO, ("say", "two"), key="another model")

    assert bench.ended(TWO).log == "two"
    assert len(dockerd.containers()) == 1
    assert dockerd.run("ps", "--quiet") != before


@pytest.mark.parametrize("client_is_lost", [False, True])
def test_cancelling_ends_the_container_of_a_server_at_work(
    bench: Bench, dockerd: Dockerd, client_is_lost: bool
) -> None:
    warm(bench, ONE, ("await", "stop"))
    bench.wait(lambda status: "awaiting" in status.files)
    if client_is_lost:
        bench.kill_session(bench.root / "warm" / "cpu" / "pid")
        time.sleep(1)
        alive = bench.poll().life
    else:
        alive = bench.poll().life

    bench.cancel()

    assert alive is Life.RUNNING
    assert dockerd.containers() == []
    assert bench.poll().life is Life.CANCELLED


def test_a_server_that_has_lost_its_client_goes_on(bench: Bench, dockerd: Dockerd) -> None:
    warm(bench, ONE, ("await", "stop"), ("say", "done"))
    bench.wait(lambda status: "awaiting" in status.files)
    bench.kill_session(bench.root / "warm" / "cpu" / "pid")
    (bench.folder() / "out" / "stop").touch()
    first = bench.ended()
    warm(bench, TWO, ("say", "two"))

    assert (first.exit_code, first.log) == (0, "done")
    assert bench.ended(TWO).log == "two"
    assert len((bench.root / "ledger").read_text().splitlines()) == 1


def test_a_crash_of_a_server_in_a_container_is_its_exit_code(
    bench: Bench, dockerd: Dockerd
) -> None:
    warm(bench, ONE, ("say", "so far"), ("die", "9"))

    status = bench.ended()

    assert (status.exit_code, status.log) == (9, "so far")
    assert dockerd.containers() == []


def test_a_server_whose_program_the_image_lacks_says_so(bench: Bench, dockerd: Dockerd) -> None:
    server = Server(("/opt/none/bin/python",), "a model", 60)
    bench.order(Command(("false",), {}, server=server))

    status = bench.ended()

    assert status.exit_code == 127
    assert "/opt/none/bin/python" in failures.explain(status)
    assert dockerd.containers() == []


def test_a_server_that_was_cancelled_while_docker_was_away_makes_way_for_the_next(
    dockerd: Dockerd, benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    warm(bench, ONE, ("await", "stop"))
    bench.wait(lambda status: "awaiting" in status.files)
    bench.kill_session(bench.root / "warm" / "cpu" / "pid")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    bench.cancel()
    bench.submit("true", batch=TWO)
    bench.ended(TWO)
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    left = dockerd.containers()

    bench.submit("true", batch=THREE)
    ended = bench.ended(THREE)

    assert len(left) == 1
    assert ended.exit_code == 0
    assert dockerd.containers() == []


# --- to end them --------------------------------------------------------------------------


def test_cancelling_ends_our_container_and_no_other(
    bench: Bench, dockerd: Dockerd, benches: Benches
) -> None:
    mounts = [part for each in docker_engine.volumes() for part in ("--volume", each)]
    foreign = ("run", "--detach", "--name=theirs", "--network=none", *mounts, docker_engine.IMAGE)
    dockerd.run(*foreign, "sleep", "60")
    other = benches("another root")
    other.submit(*LASTS, batch=TWO)
    bench.submit(*LASTS)
    bench.began()
    other.began(TWO)

    bench.cancel()

    assert sorted(dockerd.containers()) == [TWO.id, "theirs"]
    assert bench.poll().life is Life.CANCELLED
    assert other.poll(TWO).life is Life.RUNNING
    other.cancel(TWO)
    assert dockerd.containers() == ["theirs"]


def test_an_engine_that_is_told_to_end_may_do_it_itself(bench: Bench, dockerd: Dockerd) -> None:
    bench.submit("sh", "-c", 'trap "touch out/tidy; exit 0" TERM; touch out/begun; sleep 60 & wait')
    bench.began()

    bench.cancel()

    status = bench.poll()
    assert (status.life, sorted(status.files)) == (Life.CANCELLED, ["begun", "tidy"])
    assert dockerd.containers() == []


@pytest.mark.parametrize("deaf", [False, True])
def test_a_time_limit_holds_for_the_container_too(
    bench: Bench, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    monkeypatch.setattr(launcher, "KILL_AFTER_S", 1)
    trap = "trap '' TERM" if deaf else "trap 'exit 9' TERM"
    bench.submit("sh", "-c", f"{trap}; while :; do sleep 0.1; done", limit_s=1)

    status = bench.ended()

    assert status.fault == "timeout 1"
    assert dockerd.containers() == []


# --- a container that outlives its client -------------------------------------------------


def test_a_batch_whose_client_was_killed_runs_as_long_as_its_container(
    bench: Bench, dockerd: Dockerd
) -> None:
    bench.submit(*LASTS)
    bench.began()
    bench.kill_session()
    bench.submit("touch", "out/begun", batch=TWO)
    waiting = bench.wait(lambda status: status.waits_for, TWO)
    time.sleep(1.5)

    alive, second = bench.poll().life, bench.poll(TWO)
    (bench.folder() / "out" / "stop").touch()
    ended = bench.ended(TWO)

    assert alive is Life.RUNNING
    assert waiting.waits_for == f"the machine, used by {ONE.id} of ann@here"
    assert (second.life, second.started) == (Life.RUNNING, None)
    assert bench.poll().life is Life.GONE
    assert (ended.exit_code, ended.files) == (0, ("begun",))
    assert dockerd.containers() == []


def test_a_container_whose_client_was_killed_can_be_cancelled(
    bench: Bench, dockerd: Dockerd
) -> None:
    bench.submit(*LASTS)
    bench.began()
    bench.kill_session()

    bench.cancel()

    assert bench.poll().life is Life.CANCELLED
    assert dockerd.containers() == []


def test_a_container_that_was_cancelled_while_docker_was_away_makes_way_for_the_next(
    dockerd: Dockerd, benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benches()
    bench.submit(*LASTS)
    bench.began()
    bench.kill_session()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    bench.cancel()
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    left = dockerd.containers()

    bench.submit("touch", "out/begun", batch=TWO)
    ended = bench.ended(TWO)

    assert left == [ONE.id]
    assert ended.exit_code == 0
    assert dockerd.containers() == []


# --- what is missing ----------------------------------------------------------------------


def test_a_missing_image_is_told(bench: Bench, dockerd: Dockerd) -> None:
    bench.submit("true", image="none/such:1.0")

    status = bench.ended()

    assert (status.exit_code, status.fault) == (127, "no-image none/such:1.0")
    assert "docker pull none/such:1.0" in failures.explain(status)


def test_docker_that_does_not_answer_is_told(
    benches: Benches, monkeypatch: pytest.MonkeyPatch, docker_here: None
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    bench = benches()
    bench.submit("true")

    status = bench.ended()

    assert status.exit_code == 127
    assert status.fault.startswith("no-docker Cannot connect to the Docker daemon")
    assert "start it, or join the group `docker`" in failures.explain(status)


def test_a_program_that_the_image_lacks_is_told(bench: Bench, dockerd: Dockerd) -> None:
    bench.submit("/opt/none/bin/python", "-m", "x")

    status = bench.ended()

    assert status.exit_code == 127
    assert "/opt/none/bin/python" in failures.explain(status)
    assert dockerd.containers() == []


# --- the whole way ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_docker_that_goes_away_in_the_middle_costs_one_attempt(
    dockerds: Engines, ssh_home: Home, ssh_servers: Servers, tmp_path: Path, how: str
) -> None:
    engine = dockerds()
    ssh_servers("gpu-1", f"SetEnv DOCKER_HOST={engine.host}")
    stand_in = StandIn(tmp_path / "stand-in")
    installation = stand_in.installation(seconds=5)
    installation["env"]["PATH"] = docker_engine.PATH
    folder = stand_in.venv.parent
    installation["docker"] = docker_engine.settings(f"{folder}:{folder}")
    installation["docker"]["args"].append("--stop-timeout=1")
    project = Remote(tmp_path / "project", ssh_home)
    project.configure(gpu=target(["gpu-1"], tmp_path / "the root", installation))
    project.sweep(2)

    apply = project.start("apply")
    until(lambda: stand_in.lines("begin"))
    if how == "stopped":
        engine.stop()
    else:
        engine.kill()
    out, err = apply.communicate(timeout=60)
    failed = [str(each["reason"]) for each in project.runs() if each["state"] == "failed"]
    engine.start()
    left = engine.containers()
    installation["env"]["STAND_IN_SECONDS"] = "0"
    project.configure(gpu=target(["gpu-1"], tmp_path / "the root", installation))
    project.run("apply")

    assert apply.returncode == 1, out + err
    assert failed
    assert all("Docker" in reason or "killed" in reason for reason in failed), failed
    assert left == []
    assert [each["state"] for each in project.runs()] == ["succeeded", "succeeded"]
    attempts: list[tuple[str, str]] = [
        (str(run["id"]), attempt["batch"])
        for run in project.runs()
        for attempt in run["attempts"]  # type: ignore[attr-defined]
    ]
    # A container may live on for a while without Docker: what it makes then is an attempt too.
    for what in ("begin", "made"):
        assert set(stand_in.lines(what)) <= set(attempts)
        assert len(stand_in.lines(what)) == len(set(stand_in.lines(what)))
    assert engine.containers() == []
