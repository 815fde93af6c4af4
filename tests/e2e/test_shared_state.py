"""A state that several machines share, as users meet it: real servers, every command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.test_cli import completed
from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, SECRET, ObjectServer
from tests.support.pair import Clones
from tests.support.remote_project import Remote, target
from tests.support.ssh_server import Home, Proxy, Server
from tests.support.waiting import until


class Sharers(Clones):
    """Two clones that share a state; runs are made on one GPU host."""

    def __init__(self, folder: Path, home: Home, state: dict[str, str]) -> None:
        super().__init__(folder, home)
        self.root = folder / "the root"
        self.state = state
        for each in (self.ann, self.bob):
            self.configure(each, state)

    def stand_in_seconds(self, seconds: float) -> None:
        """Let each run take so long."""
        for each in (self.ann, self.bob):
            self.configure(each, self.state, seconds)

    def configure(self, project: Remote, state: dict[str, str] | None, seconds: float = 0) -> None:
        """Write the project file, with or without a shared state."""
        hosts = target(["gpu"], self.root, self.stand_in.installation(seconds))
        settings: dict[str, Any] = {"version": 1, "target": "gpu", "targets": {"gpu": hosts}}
        settings |= {"state": state} if state else {}
        (project.root / "cosmos-jobs.yaml").write_text(json.dumps(settings, indent=1))


@pytest.fixture
def server(ssh_servers: Servers) -> Server:
    """Return the GPU host."""
    return ssh_servers("gpu")


@pytest.fixture(params=["host", "bucket"])
def team(request: pytest.FixtureRequest, tmp_path: Path, ssh_home: Home, server: Server) -> Sharers:
    """Return a team, with its state on the host or in a bucket."""
    if request.param == "host":
        return Sharers(tmp_path, ssh_home, {"target": "gpu"})
    request.getfixturevalue("objects")
    return Sharers(tmp_path, ssh_home, {"url": f"s3://{BUCKET}/{tmp_path.name}"})


def test_what_one_clone_has_made_another_one_does_not_make_again(team: Sharers) -> None:
    team.ann.run("apply", "jobs/small.yaml")

    assert team.bob.summary("jobs/small.yaml") == {"keep": 2}
    team.bob.run("apply", "jobs/small.yaml")
    assert len(team.stand_in.made()) == 2
    assert not list(team.bob.root.glob("outputs/runs/rs_*"))
    team.bob.run("fetch")
    assert len(list(team.bob.root.glob("outputs/runs/rs_*/output.mp4"))) == 2
    assert team.bob.run("verify").stdout


def test_two_clones_that_apply_at_once_make_each_run_once(team: Sharers) -> None:
    started = [each.start("apply", "jobs/small.yaml") for each in (team.ann, team.bob)]
    said = [each.communicate(timeout=120) for each in started]

    assert [each.returncode for each in started] == [0, 0], said
    assert sorted(team.stand_in.made()) == sorted(str(each["id"]) for each in team.ann.runs())
    assert len(team.stand_in.made()) == 2


def test_a_local_state_is_taken_along(team: Sharers) -> None:
    team.configure(team.ann, None)
    team.ann.run("apply", "jobs/small.yaml")
    local = team.ann.root / ".cosmos-jobs" / "state.json"
    lineage = orjson.loads(local.read_bytes())["meta"]["store"]["lineage"]
    team.configure(team.ann, team.state)

    # To look moves nothing.
    assert team.ann.summary("jobs/small.yaml") == {"keep": 2}
    assert local.exists()
    said = team.ann.run("state", "migrate").stderr

    assert "The state of this project is now" in said
    assert not local.exists()
    assert team.bob.summary("jobs/small.yaml") == {"keep": 2}
    facts = orjson.loads(team.bob.run("state", "show", "--format", "json").stdout)
    assert facts["lineage"] == lineage
    refused = team.ann.run("state", "migrate", exit_code=1).stderr
    assert "to move" in refused
    # A project file that has lost its `state` does not begin anew.
    team.configure(team.ann, None)
    assert "was moved" in team.ann.run("plan", "jobs/small.yaml", exit_code=4).stderr
    # The way back, as it is told there.
    team.configure(team.ann, team.state)
    with local.open("w") as file:
        pulled = team.ann.run("state", "pull")
        file.write(pulled.stdout)
    assert pulled.stderr == ""
    team.configure(team.ann, None)
    assert team.ann.summary("jobs/small.yaml") == {"keep": 2}


def test_two_states_are_never_mixed_up(team: Sharers) -> None:
    team.bob.run("apply", "jobs/small.yaml")
    team.configure(team.ann, None)
    team.ann.run("create", "prompt", "A pier in fog", "clips/a")
    team.configure(team.ann, team.state)

    said = team.ann.run("status").stderr

    assert "is a state of its own" in said
    assert "cosmos-jobs import" in said
    assert "another state" in team.ann.run("state", "migrate", exit_code=1).stderr
    local = team.ann.root / ".cosmos-jobs" / "state.json"
    team.ann.run("import", str(local))
    local.unlink()
    assert "A pier in fog" in team.bob.run("list", "prompts").stdout


def test_a_state_is_pulled_pushed_and_shown(team: Sharers, tmp_path: Path) -> None:
    nothing = team.ann.run("state", "show", exit_code=1).stderr
    assert "there is no state yet" in nothing
    team.ann.run("create", "prompt", "A pier in fog", "clips/a")
    copy = tmp_path / "copy.json"
    copy.write_text(team.ann.run("state", "pull").stdout)
    shown = team.bob.run("state", "show").stdout
    assert "serial   1" in shown
    assert "1 prompt, 0 runs" in shown
    team.bob.run("create", "prompt", "A pier in rain", "clips/a")

    older = team.ann.run("state", "push", str(copy), exit_code=1).stderr
    assert "serial 1, and there is 2" in older
    other = orjson.loads(copy.read_bytes())
    other["meta"]["store"]["lineage"] = "another"
    (tmp_path / "other.json").write_bytes(orjson.dumps(other))
    refused = team.ann.run("state", "push", str(tmp_path / "other.json"), exit_code=1).stderr
    assert "another lineage" in refused
    team.ann.run("state", "push", "--force", str(copy))

    assert "A pier in rain" not in team.bob.run("list", "prompts").stdout
    assert "serial   3" in team.bob.run("state", "show").stdout
    (tmp_path / "none.json").write_text("{}")
    none = team.ann.run("state", "push", str(tmp_path / "none.json"), "--force", exit_code=4)
    assert "not a whole state file" in none.stderr
    assert team.ann.run("state", "lock-info").stdout == "Nobody is writing.\n"


def test_a_damaged_state_is_restored_as_it_is_told(
    team: Sharers, damage_state: Callable[[Sharers], None], tmp_path: Path
) -> None:
    for text in ("fog", "rain"):
        team.ann.run("create", "prompt", f"A pier in {text}", "clips/a")
    damage_state(team)

    told = team.bob.run("status", exit_code=4).stderr
    assert "state pull --backup > old.json" in told
    assert "state push --force old.json" in told
    (tmp_path / "old.json").write_text(team.bob.run("state", "pull", "--backup").stdout)
    team.bob.run("state", "push", "--force", str(tmp_path / "old.json"))

    assert "A pier in fog" in team.ann.run("list", "prompts").stdout


@pytest.fixture
def damage_state(object_server: ObjectServer) -> Callable[[Sharers], None]:
    """Return how to overwrite a team's state."""

    def damage(team: Sharers) -> None:
        if "target" in team.state:
            (team.root / "state" / "state.json").write_bytes(b'{"meta"')
            return
        key = f"{team.state['url'].removeprefix(f's3://{BUCKET}/')}/state.json"
        object_server.client().put_object(Bucket=BUCKET, Key=key, Body=b'{"meta"')

    return damage


def test_without_a_network_the_last_copy_is_read(
    tmp_path: Path, ssh_home: Home, objects: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(objects.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        team = Sharers(tmp_path, ssh_home, {"url": f"s3://{BUCKET}/{tmp_path.name}"})
        team.ann.run("create", "prompt", "A pier in fog", "clips/a")
        copy = team.ann.root / ".cosmos-jobs" / "cache" / "state.copy"
        hours = copy.stat().st_mtime - 3 * 3600
        os.utime(copy, (hours, hours))
        proxy.off()

        read = team.ann.run("list", "prompts")
        refused = team.ann.run("watch", "--connect-timeout", "1", exit_code=4)
        unknown = team.bob.run("list", "prompts", exit_code=4)

        assert "A pier in fog" in read.stdout
        assert "as it was 3 hours ago" in read.stderr
        assert "out of reach" in refused.stderr
        assert "out of reach" in unknown.stderr
        proxy.on = True
        assert "hours ago" not in team.ann.run("list", "prompts").stderr


def test_a_host_that_does_not_answer_is_told_with_the_age_of_the_copy(
    tmp_path: Path, ssh_home: Home, server: Server
) -> None:
    team = Sharers(tmp_path, ssh_home, {"target": "gpu"})
    team.ann.run("create", "prompt", "A pier in fog", "clips/a")
    server.stop()

    read = team.ann.run("list", "prompts")

    assert "A pier in fog" in read.stdout
    assert "no contact with gpu" in read.stderr
    assert "as it was less than a minute ago" in read.stderr


def test_ids_are_completed_without_asking_the_host(
    tmp_path: Path, ssh_home: Home, server: Server
) -> None:
    team = Sharers(tmp_path, ssh_home, {"target": "gpu"})
    team.ann.run("create", "prompt", "A pier in fog", "clips/a")
    prompt = orjson.loads(team.ann.run("list", "prompts", "--format", "json").stdout)[0]["id"]
    server.stop()

    assert completed(team.ann, "show", "ps_") == [prompt]


def test_no_credentials_are_left_anywhere(
    tmp_path: Path, ssh_home: Home, server: Server, objects: ObjectServer
) -> None:
    team = Sharers(tmp_path, ssh_home, {"url": f"s3://{BUCKET}/{tmp_path.name}"})
    said = team.ann.run("apply", "-v", "jobs/small.yaml")
    said_too = team.ann.run("state", "show")

    written = [each for each in tmp_path.rglob("*") if each.is_file() and not each.is_symlink()]
    assert [each for each in written if SECRET.encode() in each.read_bytes()] == []
    assert SECRET not in f"{said.stdout}{said.stderr}{said_too.stdout}{said_too.stderr}"
    state = objects.client().get_object(Bucket=BUCKET, Key=f"{tmp_path.name}/state.json")
    assert SECRET.encode() not in state["Body"].read()


def test_without_the_library_it_is_told_what_to_install(
    tmp_path: Path, ssh_home: Home, objects: ObjectServer
) -> None:
    team = Sharers(tmp_path, ssh_home, {"url": f"s3://{BUCKET}/{tmp_path.name}"})
    (tmp_path / "absent" / "boto3").mkdir(parents=True)
    (tmp_path / "absent" / "boto3" / "__init__.py").write_text("raise ImportError('not here')")

    process = team.ann.start("status", env={"PYTHONPATH": str(tmp_path / "absent")})
    _, err = process.communicate(timeout=60)

    assert process.returncode == 4
    assert 'pip install "cosmos-jobs[s3]"' in err


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "credentials"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "nonsense"),
        ({}, "bucket"),
    ],
)
def test_a_store_that_lets_nobody_in_is_told(
    tmp_path: Path,
    ssh_home: Home,
    objects: ObjectServer,
    environment: dict[str, str],
    words: str,
) -> None:
    team = Sharers(tmp_path, ssh_home, {"url": "s3://no-such-bucket/films"})

    process = team.ann.start("status", env=environment)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 4, err
    assert words in err
    assert "Traceback" not in err


@pytest.fixture
def far_team(
    tmp_path: Path,
    ssh_home: Home,
    server: Server,
    objects: ObjectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Sharers, Proxy]]:
    """Return a team with its state in a bucket, behind a network that can be cut."""
    with Proxy(objects.port, round_trip_s=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        team = Sharers(tmp_path, ssh_home, {"url": f"s3://{BUCKET}/{tmp_path.name}"})
        team.stand_in_seconds(1)
        yield team, proxy


def wait_for_work(team: Sharers) -> None:
    until(lambda: team.stand_in.lines("begin"))


def test_an_outage_of_the_state_is_waited_out(far_team: tuple[Sharers, Proxy]) -> None:
    team, proxy = far_team
    applying = team.ann.start("apply", "jobs/small.yaml")
    wait_for_work(team)
    proxy.off()
    time.sleep(1)
    proxy.on = True
    out, err = applying.communicate(timeout=120)

    assert applying.returncode == 0, f"{out}{err}"
    assert [each["state"] for each in team.ann.runs()] == ["succeeded"] * 2
    assert len(team.stand_in.made()) == 2


def test_work_goes_on_when_the_state_is_gone_for_long(far_team: tuple[Sharers, Proxy]) -> None:
    team, proxy = far_team
    applying = team.ann.start("apply", "--connect-timeout", "3", "jobs/small.yaml")
    wait_for_work(team)
    proxy.off()
    out, err = applying.communicate(timeout=120)

    assert applying.returncode == 4, f"{out}{err}"
    assert "out of reach" in err
    assert "Traceback" not in err
    proxy.on = True
    team.ann.run("apply", "jobs/small.yaml")
    assert [each["state"] for each in team.bob.runs()] == ["succeeded"] * 2
    assert len(team.stand_in.made()) == 2
