"""Published outputs when something goes wrong: nothing is lost, run again or waited for."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from tests.e2e.test_ci import cases, events, of
from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, ObjectServer
from tests.support.output_remotes import Objects
from tests.support.pair import Pair
from tests.support.ssh_server import Home, Proxy

AWAY = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
STATE = {"target": "shelf"}


@pytest.fixture
def pair(tmp_path: Path, ssh_home: Home, ssh_servers: Servers, objects: ObjectServer) -> Pair:
    """Return two clones with their shelf in a bucket, each with six runs to make."""
    ssh_servers("gpu")
    url = f"s3://{BUCKET}/{tmp_path.name}"
    pair = Pair(tmp_path, ssh_home, {"url": url}, Objects(objects, tmp_path.name))
    for each in (pair.ann, pair.bob):
        each.sweep(6)
    return pair


@pytest.fixture
def slow(objects: ObjectServer) -> Iterator[Proxy]:
    """Return a way to the object store that can be stalled."""
    with Proxy(objects.port) as proxy:
        yield proxy


def through(proxy: Proxy) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}


def ended(process: subprocess.Popen[str], timeout_s: float = 120) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a program; it must end."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def test_a_disk_that_is_full_makes_nothing_anew(pair: Pair) -> None:
    for each in (pair.ann, pair.bob):
        pair.configure(each, padding=300_000)
    pair.ann.run("apply")

    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (200_000, 200_000))
    bob = subprocess.run(
        [sys.executable, "-m", "cosmos_jobs", "apply"],
        cwd=pair.bob.root,
        env={**os.environ, **pair.bob.home.environment},
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )

    assert bob.returncode == 4, bob.stderr
    assert "cannot write" in bob.stderr
    assert len(pair.stand_in.made()) == 6
    assert "6 published" in pair.bob.run("apply").stdout
    assert len(pair.stand_in.made()) == 6


def test_an_outage_after_the_plan_makes_nothing_anew(pair: Pair, slow: Proxy) -> None:
    pair.ann.run("apply")
    pair.bob.sweep(7)

    with pair.bob.start("apply", "--connect-timeout", "10", env=through(slow)) as bob:
        assert bob.stdout
        first = bob.stdout.readline()
        slow.off()
        code, out, err = ended(bob)

    assert first.startswith("jobs/small.yaml")
    assert code == 4, err
    assert "Applied: 1 succeeded, 6 published and not fetched." in out
    assert "published outputs are out of reach" in err
    assert len(pair.stand_in.made()) == 7
    slow.on = True
    assert pair.bob.summary() == {"keep": 7}


def test_what_was_made_anew_is_published_later_and_not_lost(pair: Pair) -> None:
    for each in (pair.ann, pair.bob):
        pair.configure(each, state=STATE)
    pair.ann.run("apply")
    first = {each["output"]["size"] for each in pair.on_shelf()}
    pair.configure(pair.ann, padding=3000, state=STATE)
    away = pair.ann.start("apply", "--force", "--connect-timeout", "2", env=AWAY)
    assert ended(away)[0] == 4
    forced = pair.videos(pair.ann)

    # The older ones are published: nobody takes them for what was made since.
    assert "is another output" in pair.bob.run("fetch").stderr
    assert pair.videos(pair.bob) == {}
    assert "up to date" in pair.ann.run("apply").stdout
    assert {each["output"]["size"] for each in pair.on_shelf()}.isdisjoint(first)
    pair.bob.run("fetch")
    assert pair.videos(pair.bob) == forced
    assert pair.videos(pair.ann) == forced
    pair.ann.run("verify")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_what_is_fetched_from_a_place_that_stalls(
    pair: Pair, slow: Proxy, times: int
) -> None:
    pair.ann.run("apply")
    with pair.bob.start("apply", env=through(slow)) as bob:
        assert bob.stdout
        bob.stdout.readline()
        slow.stall()
        time.sleep(2)
        for _ in range(times):
            bob.send_signal(signal.SIGINT)
            time.sleep(0.5)
        code, _, err = ended(bob, 45)
    slow.flow()

    # The second may come when Python is about to end, which then is as the signal has it.
    assert code in (130, -signal.SIGINT)
    assert "Traceback" not in err
    assert "6 published" in pair.bob.run("apply").stdout


def test_who_is_killed_has_only_the_rest_to_fetch(pair: Pair, slow: Proxy) -> None:
    for each in (pair.ann, pair.bob):
        each.sweep(24)
    pair.ann.run("apply")
    with pair.bob.start("apply", env=through(slow)) as bob:
        while not pair.bob.runs():
            assert bob.poll() is None
        bob.kill()
    known = len(pair.bob.runs())
    before = [*pair.bob.root.glob("outputs/runs/rs_*/output.mp4")]
    whole = {each: each.stat().st_mtime_ns for each in before}

    assert f"{24 - known} published" in pair.bob.run("apply").stdout or known == 24
    assert {each: each.stat().st_mtime_ns for each in before} == whole
    assert len(pair.stand_in.made()) == 24


def test_watch_and_detach_do_not_wait_for_uploads(pair: Pair, slow: Proxy) -> None:
    slow.stall()
    # An outage is waited for that long: these end before one of it could be over.
    patience = ("--connect-timeout", "300")
    detached = ended(pair.ann.start("apply", "--detach", *patience, "--force", env=through(slow)))
    followed = ended(pair.ann.start("watch", "--timeout", "15", *patience, env=through(slow)))
    slow.flow()

    assert detached[0] == 0, detached
    assert followed[0] in (0, 124), followed
    pair.ann.run("fetch")
    assert len(pair.on_shelf()) == 6


def test_a_run_that_was_blocked_before_does_not_end_a_detached_apply(pair: Pair) -> None:
    pair.ann.run("apply")
    state = pair.ann.root / ".cosmos-jobs" / "state.json"
    known = orjson.loads(state.read_bytes())
    blocked = next(iter(known["runs"].values()))
    blocked |= {"state": "blocked", "reason": "guardrail"}
    del blocked["output"]
    state.write_bytes(orjson.dumps(known))
    pair.ann.sweep(7)

    said = pair.ann.run("apply", "--detach").stdout

    assert "1 blocked" in said
    pair.ann.run("watch")
    assert pair.ann.run("apply", exit_code=1).stdout


def test_what_upscales_the_run_of_another_one_has_its_video(pair: Pair) -> None:
    for each in (pair.ann, pair.bob):
        pair.configure(each, state=STATE)
        each.sweep(2)
    pair.ann.run("apply")
    job = json.loads(pair.bob.job.read_text())
    pair.bob.job.write_text(json.dumps({**job, "upscale": True}))

    said = pair.bob.run("apply").stdout

    assert "2 succeeded, 2 up to date" in said


def test_a_job_file_without_its_clips_is_fetched_where_the_state_is_shared(pair: Pair) -> None:
    for each in (pair.ann, pair.bob):
        pair.configure(each, state=STATE)
    pair.ann.run("apply")
    shutil.rmtree(pair.bob.root / "clips")

    assert pair.bob.run("fetch", "jobs/small.yaml").stdout == "Fetched 6 videos made before.\n"


def test_what_is_damaged_is_mended_by_a_later_command(pair: Pair) -> None:
    pair.ann.run("apply")
    pair.place.write(pair.video(), b"nothing")

    for words in (["fetch", "jobs/small.yaml"], ["apply", "--detach"], ["watch"]):
        pair.bob.run(*words)

    assert len(pair.stand_in.made()) == 7
    for told in pair.on_shelf():
        sha256 = told["output"]["sha256"]
        assert hashlib.sha256(pair.place.read(f"files/{sha256}")).hexdigest() == sha256


def test_programs_are_told_what_is_published(pair: Pair) -> None:
    pair.ann.run("apply")
    comment = pair.bob.run("plan", "--format", "markdown").stdout

    told = events(pair.bob.run("apply", "--format", "json", "--junit", "apply.xml").stdout)

    assert "### Plan: nothing to run, 6 published" in comment
    assert [each["reason"] for each in of("finished", told)] == ["published"] * 6
    assert all(each["place"].startswith("small/golden/") for each in of("finished", told))
    assert [case.result for case in cases(pair.bob.root / "apply.xml")] == [[]] * 6


def test_an_attempt_is_recorded_once(pair: Pair) -> None:
    pair.ann.run("apply")
    for each in pair.ann.root.glob("outputs/runs/*/output.mp4"):
        each.unlink()
    pair.ann.run("verify", "--repair")

    pair.ann.run("apply")

    known = orjson.loads((pair.ann.root / ".cosmos-jobs" / "state.json").read_bytes())
    assert {len(each["attempts"]) for each in known["runs"].values()} == {1}
    assert len(pair.stand_in.made()) == 6


@pytest.mark.parametrize("spoil", ["bucket", "credentials"])
def test_a_place_that_is_not_as_it_should_be_stops_a_plan(
    pair: Pair, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spoil == "bucket":
        pair.outputs = {"url": "s3://no-such-bucket/x"}
        pair.configure(pair.ann)
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    said = pair.ann.run("apply", exit_code=4).stderr

    assert said.startswith("error: s3://")
    assert pair.stand_in.made() == []


def test_previews_are_not_published(pair: Pair) -> None:
    pair.ann.run("preview")

    assert pair.place.names("runs") == []
