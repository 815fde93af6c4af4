"""Outputs that a team publishes, as users meet them: what one has made nobody makes again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import orjson
import pytest

from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, SECRET, ObjectServer
from tests.support.output_remotes import KINDS, Folder, Objects
from tests.support.pair import Pair
from tests.support.project import Project, film
from tests.support.ssh_server import Home


@pytest.fixture(params=KINDS)
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, ssh_home: Home, ssh_servers: Servers
) -> Pair:
    """Return two clones, with their shelf on a host or in a bucket."""
    ssh_servers("gpu")
    if request.param == "host":
        return Pair(tmp_path, ssh_home, {"target": "shelf"}, Folder(tmp_path / "shelf"))
    objects = request.getfixturevalue("objects")
    url = f"s3://{BUCKET}/{tmp_path.name}"
    return Pair(tmp_path, ssh_home, {"url": url}, Objects(objects, tmp_path.name))


def test_what_one_clone_has_made_another_one_takes(pair: Pair) -> None:
    pair.ann.run("apply", "jobs/small.yaml")
    said = pair.bob.run("plan", "jobs/small.yaml").stdout
    assert "2 published" in said
    assert "Nothing to run" in said
    assert pair.bob.summary("jobs/small.yaml") == {"keep": 2}
    assert not (pair.bob.root / "outputs").exists()

    applied = pair.bob.run("apply", "jobs/small.yaml").stdout

    assert "2 published" in applied
    assert len(pair.stand_in.made()) == 2
    assert pair.videos(pair.bob) == pair.videos(pair.ann) != {}
    assert {each["state"] for each in pair.bob.runs()} == {"succeeded"}
    assert len([*(pair.bob.root / "outputs" / "small").rglob("*.mp4")]) == 2
    assert "up to date" in pair.bob.run("apply", "jobs/small.yaml").stdout
    pair.bob.run("verify")
    told = [orjson.loads(pair.place.read(each)) for each in pair.place.names("runs")]
    contents = {sha256 for each in told for sha256 in each["files"].values()}
    assert pair.place.names("files") == sorted(f"files/{each}" for each in contents)
    assert pair.bob.summary("jobs/small.yaml", "--force") == {"force": 2}
    for name in pair.place.names("runs"):
        assert SECRET.encode() not in pair.place.read(name)


def test_a_damaged_content_is_refused_made_anew_and_mended(pair: Pair) -> None:
    pair.ann.run("apply", "jobs/small.yaml")
    name = pair.video()
    whole = pair.place.read(name)
    pair.place.write(name, whole[:-1] + b"?")

    done = pair.bob.run("apply", "jobs/small.yaml")

    assert "output.mp4 is damaged" in done.stderr
    assert "1 succeeded, 1 published" in done.stdout
    assert len(pair.stand_in.made()) == 3
    made = pair.videos(pair.bob)
    assert set(made) == set(pair.videos(pair.ann))
    # Whoever comes next finds what was made anew.
    for each in (".cosmos-jobs", "outputs"):
        shutil.rmtree(pair.bob.root / each)
    again = pair.bob.run("apply", "jobs/small.yaml")
    assert "2 published" in again.stdout
    assert "is damaged" not in again.stderr
    assert pair.videos(pair.bob) == made
    assert len(pair.stand_in.made()) == 3


@pytest.mark.parametrize("lie", ["another", "contract"])
def test_a_manifest_that_lies_is_not_believed(pair: Pair, lie: str) -> None:
    pair.ann.run("apply", "jobs/small.yaml")
    one, other = pair.place.names("runs")
    told = orjson.loads(pair.place.read(one))
    match lie:
        case "another":
            told = orjson.loads(pair.place.read(other))
        case "contract":
            # The id of a run does not tell what a contract is not known here.
            told["run"] |= {"contract": 999, "params": {"seed": 77}}
    pair.place.write(one, orjson.dumps(told))

    done = pair.bob.run("apply", "jobs/small.yaml")

    assert "its manifest is damaged" in done.stderr
    assert "1 succeeded, 1 published" in done.stdout
    assert len(pair.stand_in.made()) == 3


def test_a_limit_also_holds_for_what_turns_out_to_be_damaged(pair: Pair) -> None:
    pair.ann.run("apply", "jobs/small.yaml")
    pair.place.write(pair.video(), b"nothing")

    said = pair.bob.run("apply", "jobs/small.yaml", "--max-runs", "0", exit_code=1).stderr

    assert "--max-runs 1" in said
    assert len(pair.stand_in.made()) == 2


def test_fetch_brings_what_the_gpu_host_no_longer_has(pair: Pair) -> None:
    shared = {"target": "shelf"}
    for each in (pair.ann, pair.bob):
        pair.configure(each, state=shared)
    pair.ann.run("apply", "jobs/small.yaml")
    assert pair.bob.summary("jobs/small.yaml") == {"keep": 2}
    assert pair.videos(pair.bob) == {}

    pair.bob.run("fetch")

    assert pair.videos(pair.bob) == pair.videos(pair.ann) != {}
    assert len(pair.stand_in.made()) == 2
    assert "Nothing to fetch" in pair.bob.run("fetch").stdout


def test_a_job_files_published_runs_are_fetched_without_a_state_in_common(pair: Pair) -> None:
    unknown = pair.bob.run("fetch", "jobs/small.yaml", exit_code=2).stderr
    nothing = pair.bob.run("fetch").stderr
    pair.ann.sweep(1)
    pair.ann.run("apply", "jobs/small.yaml")

    said = pair.bob.run("fetch", "jobs/small.yaml").stdout

    assert "none of the runs of jobs/small.yaml is known here" in unknown
    assert "what others have published: cosmos-jobs fetch jobs/NAME.yaml" in nothing
    assert said == "Fetched 1 video made before.\n"
    assert pair.videos(pair.bob) == pair.videos(pair.ann) != {}
    assert [*(pair.bob.root / "outputs" / "small").rglob("*.mp4")] != []
    assert pair.bob.summary("jobs/small.yaml") == {"keep": 1, "create": 1}
    assert pair.bob.run("fetch", "jobs/small.yaml").stdout == "Nothing to fetch.\n"
    assert len(pair.stand_in.made()) == 1


def test_control_maps_in_folders_come_too(objects: ObjectServer, tmp_path: Path) -> None:
    ann, bob = Project(tmp_path / "ann"), Project(tmp_path / "bob")
    film(ann.root / "clips" / "a" / "color.mp4", seed=1)
    ann.job.parent.mkdir()
    job = {"version": 1, "name": "small", "videos": {"a": "clips/a"}, "weights": {"x": {"vis": 1}}}
    ann.job.write_text(json.dumps({**job, "prompts": {"golden": "A pier at golden hour"}}))
    settings = {"version": 1, "outputs": {"url": f"s3://{BUCKET}/{tmp_path.name}"}}
    (ann.root / "cosmos-jobs.yaml").write_text(json.dumps(settings))
    shutil.copytree(ann.root, bob.root)

    ann.run("apply")
    applied = bob.run("apply").stdout

    assert "1 published" in applied
    maps = [*bob.root.glob("outputs/runs/*/controls/*.mp4")]
    assert [each.read_bytes() for each in maps] == [
        (ann.root / each.relative_to(bob.root)).read_bytes() for each in maps
    ]
    assert maps


def test_what_was_made_while_the_shelf_was_away_is_published_later(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "url" in pair.outputs:
        with monkeypatch.context() as away:
            away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            done = pair.ann.run("apply", "-q", "--connect-timeout", "5", exit_code=4)
        assert "published outputs are out of reach" in done.stderr
    else:
        (pair.folder / "shelf").write_text("in the way")
        done = pair.ann.run("apply", "-q", "--connect-timeout", "20", exit_code=4)
        assert "shelf" in done.stderr
        (pair.folder / "shelf").unlink()
    assert done.stdout == ""
    assert len(pair.stand_in.made()) == 2
    assert pair.bob.summary("jobs/small.yaml") == {"create": 2}

    pair.ann.run("fetch")

    assert pair.bob.summary("jobs/small.yaml") == {"keep": 2}
