"""From job file to manifest through the real adapters: stand-in models behind real SSH servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cosmos_jobs.core.atomic import sha256
from tests.e2e.test_recording import RECORDING
from tests.support import docker_engine
from tests.support.docker_engine import Dockerd
from tests.support.fixtures_ssh import Servers
from tests.support.project import film
from tests.support.remote_project import Remote
from tests.support.ssh_server import Home
from tests.support.stand_in_models import Models, mark

pytest_plugins = ["tests.support.fixtures_docker"]

MODELS = ("transfer1", "transfer2.5", "cosmos3")
FRAMES = {"transfer1": {}, "transfer2.5": {"max_frames": 9}, "cosmos3": {"max_frames": 9}}
"""Transfer1 has no parameter to shorten a video."""


class Studio:
    """A project whose target `gpu` is a server on loopback with the three stand-in models."""

    def __init__(self, folder: Path, home: Home, servers: Servers) -> None:
        self.models = Models(folder / "the models", repositories=True)
        self.project = Remote(folder / "project", home)
        self.root = folder / "the root"
        self._servers = servers

    def open(self, *lines: str, contained: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Start the host; `lines` are of its sshd, `contained` is the `docker` of each engine."""
        self._servers("gpu-1", *lines)
        engines = {}
        for engine in MODELS:
            settings = more.pop("settings", {}) if engine == "transfer2.5" else {}
            engines[engine] = {**self.models.installation(engine), **settings}
            if contained:
                engines[engine]["docker"] = contained
        settings = {"hosts": ["gpu-1"], "root": str(self.root), "engines": engines, **more}
        self.project.configure(gpu=settings)

    def job(self, engine: str, **parts: Any) -> None:
        """Write a job of an engine; `parts` replace what it has by default."""
        document = {
            "version": 1,
            "name": "handover",
            "engine": engine,
            "videos": {"arms": str(RECORDING)},
            "prompts": {"kitchen": "Two robot arms hand over a cup in a bright kitchen"},
            "weights": {"edges": {"edge": 1.0}},
            "params": FRAMES[engine],
            **parts,
        }
        self.project.job.write_text(json.dumps(document))

    def made(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return, for each run with a video, its manifest and the mark in that video."""
        found = []
        for path in sorted(self.project.root.glob("outputs/runs/*/manifest.json")):
            manifest = json.loads(path.read_text())
            found.append((manifest, mark(path.parent / manifest["output"]["name"])))
        return found

    def manifests(self) -> dict[str, dict[str, Any]]:
        """Return the manifest of the one run of each engine."""
        paths = self.project.root.glob("outputs/runs/*/manifest.json")
        found = [json.loads(path.read_text()) for path in paths]
        return {each["run"]["engine"]: each for each in found}

    def states(self) -> Counter[str]:
        return Counter(str(each["state"]) for each in self.project.runs())


@pytest.fixture
def studio(tmp_path: Path, ssh_home: Home, ssh_servers: Servers) -> Studio:
    """Return a project that has no host yet."""
    return Studio(tmp_path, ssh_home, ssh_servers)


recording = pytest.mark.skipif(
    not RECORDING.is_dir(), reason=f"the recording is not in {RECORDING}"
)

# --- the whole way ------------------------------------------------------------------------


@recording
@pytest.mark.parametrize("how", ["bare", "docker"])
@pytest.mark.parametrize("engine", MODELS)
def test_a_recording_goes_through_a_model_to_videos_and_manifests(
    request: pytest.FixtureRequest, studio: Studio, engine: str, how: str
) -> None:
    lines: tuple[str, ...] = ()
    contained = None
    if how == "docker":
        daemon: Dockerd = request.getfixturevalue("dockerd")
        lines = (f"SetEnv DOCKER_HOST={daemon.host}",)
        contained = docker_engine.settings()
        place = str(studio.models.folder)
        contained["volumes"] = [*contained.get("volumes", ()), f"{place}:{place}"]
    studio.open(*lines, contained=contained)
    weights = {"balanced": [0.25, 0.25, 0.25, 0.25], "edges": {"edge": 0.8}}
    params = {**FRAMES[engine], "seed": [1, 2]}
    studio.job(engine, weights=weights, params=params)

    studio.project.run("apply", "jobs/small.yaml")
    again = studio.project.run("apply", "jobs/small.yaml").stdout

    assert "4 runs of 1 job file are up to date" in again
    made = studio.made()
    assert len(made) == 4
    places = studio.project.root / "outputs" / "handover" / "kitchen"
    assert len(list(places.glob("*.mp4"))) == 4
    for manifest, found in made:
        run = manifest["run"]
        assert found["prompt"] == manifest["prompt"]["text"]
        assert found["params"]["seed"] == run["params"]["seed"]
        assert _weights(found) == run["weights"]
        assert manifest["guardrails"]["requested"] is True
        assert manifest["guardrails"]["effective"]
        assert manifest["host"] == "gpu-1"
        assert manifest["image" if how == "docker" else "commit"]
        if how == "bare":
            assert manifest["commit"].startswith(studio.models.commit(engine))
        assert manifest["inputs"]["color"] == sha256(RECORDING / "color.mp4")
        _check_controls(studio, manifest, found)
        assert len(manifest["companions"]) == len({*manifest["companions"], run["id"]}) - 1


def _weights(found: Mapping[str, Any]) -> dict[str, float]:
    """Return a mark's weights by our names of the controls."""
    return {"vis" if hint == "blur" else hint: each for hint, each in found["weights"].items()}


def _check_controls(studio: Studio, manifest: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Check that the model got the map of each control that we meant: by content."""
    roles = {"seg": "segmentation", "blur": "vis"}
    for hint, control in found["controls"].items():
        given = Path(control["source"])
        assert given.parent == studio.root / "inputs"
        assert given.stem == manifest["inputs"][roles.get(hint, hint)] == sha256(given)


# --- what was asked for -------------------------------------------------------------------


@recording
@pytest.mark.parametrize("engine", MODELS)
def test_each_run_of_a_sweep_got_its_own_weights_and_nobody_elses(
    studio: Studio, engine: str
) -> None:
    studio.open()
    grid = {"edge": {"start": 0.1, "stop": 1, "step": 0.1}, "depth": [0.2, 0.7]}
    studio.job(engine, weights={"grid": grid})

    studio.project.run("apply", "jobs/small.yaml")

    made = studio.made()
    assert len(made) == 20
    for manifest, found in made:
        assert _weights(found) == manifest["run"]["weights"]
    assert len({json.dumps(found["weights"], sort_keys=True) for _, found in made}) == 20
    assert len(studio.models.ledger("load")) == 1


@recording
def test_what_preview_showed_is_what_the_model_gets(studio: Studio) -> None:
    studio.open()
    studio.job("transfer2.5", weights={"both": {"vis": 0.3, "edge": 0.7}})

    studio.project.run("preview", "jobs/small.yaml")
    studio.project.run("apply", "jobs/small.yaml")

    manifests = studio.manifests()
    shown, given = (manifests[engine] for engine in ("preview", "transfer2.5"))
    maps = ("vis", "edge")
    assert [given["inputs"][kind] for kind in maps] == [
        shown["files"][f"controls/{kind}.mp4"] for kind in maps
    ]


# --- what goes wrong ----------------------------------------------------------------------


def _prompts(*odd: str) -> dict[str, str]:
    words = [*odd, *("good",) * (20 - len(odd))]
    return {f"p{number}": f"{word} number {number}" for number, word in enumerate(words)}


@recording
@pytest.mark.parametrize(("driver", "loads"), [("warm", 1), ("native", 2)])
def test_a_crash_and_a_block_among_twenty_cost_only_themselves(
    studio: Studio, driver: str, loads: int
) -> None:
    studio.open(settings={"driver": driver, "idle_s": 2})
    studio.job("transfer2.5", prompts=_prompts("good", "CRASH", "good", "GUARD-TEXT"))

    said = studio.project.run("apply", "jobs/small.yaml", exit_code=1).stdout

    assert studio.states() == {"succeeded": 18, "failed": 1, "blocked": 1}
    assert len(studio.models.ledger("load")) == loads
    made = Counter(line.name for line in studio.models.ledger("made"))
    assert set(made.values()) == {1}
    assert "the prompt asked for a crash" in said
    assert "guardrail" in said


@recording
def test_a_run_that_kills_its_batch_twice_is_failed_and_the_others_are_made_once(
    studio: Studio,
) -> None:
    studio.open(settings={"driver": "native"})
    studio.job("transfer2.5", prompts=_prompts("good", "KILL", "good"))

    studio.project.run("apply", "jobs/small.yaml", exit_code=1)

    assert studio.states() == {"succeeded": 19, "failed": 1}
    (bad,) = [each for each in studio.project.runs() if each["state"] == "failed"]
    attempts = bad["attempts"]
    assert isinstance(attempts, list)
    assert [each["crashed"] for each in attempts] == [True, True]
    begun = Counter(line.name for line in studio.models.ledger("begin"))
    assert sorted(begun.values()) == [1] * 19 + [2]


@recording
@pytest.mark.parametrize("engine", ["transfer1", "cosmos3"])
def test_models_that_fall_over_one_run_make_the_others(studio: Studio, engine: str) -> None:
    studio.open()
    studio.job(engine, prompts=_prompts("good", "OOM", "good", "GUARD-TEXT", "good"))

    said = studio.project.run("apply", "jobs/small.yaml", exit_code=1).stdout

    blocked = {"blocked": 1} if engine == "transfer1" else {}
    assert studio.states() == {"succeeded": 20 - 1 - len(blocked), "failed": 1, **blocked}
    assert "out of memory" in said
    made = Counter(line.name for line in studio.models.ledger("made"))
    assert made.total() == studio.states()["succeeded"]


# --- again, and larger --------------------------------------------------------------------


@recording
@pytest.mark.parametrize("engine", MODELS)
def test_reproduce_prints_commands_that_make_the_same_again(studio: Studio, engine: str) -> None:
    studio.open()
    studio.job(engine, weights={"both": {"vis": 0.3, "edge": 0.7}})
    studio.project.run("apply", "jobs/small.yaml")
    ((manifest, before),) = studio.made()

    script = studio.project.run("reproduce", manifest["run"]["id"]).stdout
    subprocess.run(["sh", "-s"], input=script, text=True, check=True, timeout=60)

    again = [
        mark(path)
        for path in (studio.root / "reproduce").rglob("*.mp4")
        if "control" not in path.name
    ]
    assert len(again) == 1
    same = ("prompt", "negative", "weights", "hints", "video", "controls", "guardrails")
    assert {key: again[0][key] for key in same} == {key: before[key] for key in same}
    assert manifest["commit"] in script


@recording
def test_runs_are_upscaled_behind_those_that_they_work_on(studio: Studio) -> None:
    studio.open()
    studio.job("transfer2.5", upscale={"weight": 0.6})

    plan = studio.project.run("plan", "jobs/small.yaml").stdout
    studio.project.run("apply", "jobs/small.yaml")

    assert "+ 1 new\n" in plan
    assert "+ 1 new, each behind the run that it upscales" in plan
    made = {manifest["run"]["engine"]: (manifest, found) for manifest, found in studio.made()}
    source, _ = made["transfer2.5"]
    large, found = made["transfer1"]
    assert large["inputs"]["color"] == source["output"]["sha256"]
    assert found["weights"] == {"upscale": 0.6}
    assert found["params"]["num_steps"] == 10
    assert Path(found["video"]).stem == source["output"]["sha256"]
    assert "up to date" in studio.project.run("apply", "jobs/small.yaml").stdout


# --- files of one's own -------------------------------------------------------------------


def picture(path: Path) -> Path:
    """Write a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def test_an_image_becomes_an_image_that_is_found_again(studio: Studio) -> None:
    studio.open()
    picture(studio.project.root / "moths" / "one.png")
    videos = {"one": {"color": "moths/one.png"}}
    studio.job("transfer2.5", videos=videos, weights={"edges": {"edge": 1.0}})

    studio.project.run("apply", "jobs/small.yaml")
    (made,) = (studio.project.root / "outputs" / "handover" / "kitchen").iterdir()
    before = made.read_bytes()
    again = studio.project.run("apply", "jobs/small.yaml").stdout
    for path in (studio.project.root / "outputs").rglob("*.jpg"):
        path.unlink()
    studio.project.run("fetch")
    shutil.rmtree(studio.project.root / ".cosmos-jobs")
    adopted = studio.project.run("adopt", "gpu").stdout

    assert made.name == "edges.jpg"
    assert mark(made)["params"]["max_frames"] == 1
    assert made.read_bytes() == before
    assert "up to date" in again
    assert "Adopted 1 run." in adopted
    assert "up to date" in studio.project.run("apply", "jobs/small.yaml").stdout
    assert len(studio.models.ledger("made")) == 1


def test_files_of_parameters_travel_by_content_and_are_known_by_it(studio: Studio) -> None:
    studio.open()
    look = picture(studio.project.root / "refs" / "it's dusk.jpg")
    mask = studio.project.root / "masks" / "a.mp4"
    film(mask, seed=5)
    params = {
        "image_context": "refs/it's dusk.jpg",
        "masks": {"edge": "masks/a.mp4"},
        "mask_prompt": {"depth": "the road"},
    }
    weights = {"both": {"edge": 0.5, "depth": 0.5}}
    studio.job("transfer2.5", videos={"a": "clips/a"}, weights=weights, params=params)

    studio.project.run("apply", "jobs/small.yaml")
    look.rename(look.with_name("moved.jpg"))
    params["image_context"] = "refs/moved.jpg"
    studio.job("transfer2.5", videos={"a": "clips/a"}, weights=weights, params=params)
    moved = studio.project.run("plan", "jobs/small.yaml").stdout
    picture(look.with_name("moved.jpg")).write_bytes(
        look.with_name("moved.jpg").read_bytes() + b"!"
    )
    changed = studio.project.run("plan", "jobs/small.yaml").stdout

    ((manifest, found),) = studio.made()
    used = found["params"]["image_context_path"]
    assert sha256(Path(used)) == Path(used).stem == manifest["inputs"]["image_context"]
    masked = found["controls"]["edge"]["mask"]["path"]
    assert sha256(mask) == Path(masked).stem == manifest["inputs"]["masks.edge"]
    assert found["controls"]["depth"]["mask"]["prompt"] == "the road"
    assert "Nothing to do" in moved
    assert "+ 1 another file of image_context" in changed


def test_what_a_model_would_do_silently_is_in_the_plan(studio: Studio) -> None:
    studio.open()
    weights = {"strong": {"vis": 1.0, "edge": 1.0}}
    studio.job("transfer1", videos={"a": "clips/a"}, weights=weights, params={"controls": "native"})

    planned = studio.project.run("plan", "jobs/small.yaml")

    said = " ".join(planned.stderr.split())
    assert "above a sum of 1, the model scales them down" in said
    assert "thresholds that it draws at random" in said
    assert "Plan: 1 to run" in planned.stdout


def test_what_a_model_would_refuse_starts_nothing(studio: Studio) -> None:
    studio.open()
    params = {"image_context": "refs/look.jpg"}
    picture(studio.project.root / "refs" / "look.jpg")
    weights = {"blurred": {"vis": 1.0}}
    studio.job("transfer2.5", videos={"a": "clips/a"}, weights=weights, params=params)

    refused = studio.project.run("apply", "jobs/small.yaml", exit_code=3).stderr

    assert "error[engine-refuses]" in refused
    assert "image_context" in refused
    assert not studio.models.ledger()


# --- what stops on the way ----------------------------------------------------------------

DIES_AT_THE_SECOND_ROUND = """
import os, sys
from cosmos_jobs.cli import main
from cosmos_jobs.apply.claim import Claims
make, calls = Claims.make, []
async def dying(self, *arguments):
    made = await make(self, *arguments)
    calls.append(1)
    if len(calls) == 2:
        os._exit(9)
    return made
Claims.make = dying
sys.argv = ["cosmos-jobs", "apply"]
main()
"""


def test_an_apply_that_dies_before_the_rest_is_sent_again_leaves_nothing_stuck(
    studio: Studio,
) -> None:
    studio.open()
    prompts = _prompts("GUARD-TEXT", "fine", "well")
    kept = {name: prompts[name] for name in ("p0", "p1", "p2")}
    studio.job("transfer1", videos={"a": "clips/a"}, prompts=kept)

    died = subprocess.run(
        [sys.executable, "-c", DIES_AT_THE_SECOND_ROUND],
        cwd=studio.project.root,
        env={**os.environ, **studio.project.home.environment},
        timeout=60,
    )
    states = studio.states()
    studio.project.run("apply", "jobs/small.yaml", exit_code=1)

    assert died.returncode == 9
    assert states == {"blocked": 1, "queued": 2}
    assert studio.states() == {"blocked": 1, "succeeded": 2}


def test_fail_fast_does_not_go_on_with_what_never_began(studio: Studio) -> None:
    studio.open()
    prompts = _prompts("OOM", "good", "good")
    kept = {name: prompts[name] for name in ("p0", "p1", "p2")}
    studio.job("transfer1", videos={"a": "clips/a"}, prompts=kept)

    studio.project.run("apply", "jobs/small.yaml", "--fail-fast", exit_code=1)

    assert len(studio.models.ledger("load")) == 1
    assert studio.states() == {"failed": 1, "pending": 2}


def test_a_machine_that_fails_at_everything_is_not_tried_with_every_run(studio: Studio) -> None:
    studio.open()
    studio.job("transfer1", videos={"a": "clips/a"}, prompts=_prompts(*("OOM",) * 20))

    said = studio.project.run("apply", "jobs/small.yaml", exit_code=1).stdout

    assert len(studio.models.ledger("load")) == 3
    assert studio.states() == {"failed": 3, "pending": 17}
    assert "What is pending did not begin. Start it: cosmos-jobs apply" in said


def test_watch_says_that_work_is_left(studio: Studio) -> None:
    studio.open()
    prompts = _prompts("GUARD-TEXT", "fine")
    kept = {name: prompts[name] for name in ("p0", "p1")}
    studio.job("transfer1", videos={"a": "clips/a"}, prompts=kept)
    studio.project.run("apply", "jobs/small.yaml", "--detach")

    said = studio.project.run("watch", exit_code=1).stdout

    assert "Start it: cosmos-jobs apply" in said
    assert studio.states() == {"blocked": 1, "pending": 1}


def test_what_hangs_many_gpus_ends_at_the_limit_and_costs_only_itself(studio: Studio) -> None:
    studio.open(gpus=2, gpus_per_batch=2, run_timeout_s=2)
    prompts = _prompts("good", "GUARD-TEXT", "fine")
    kept = {name: prompts[name] for name in ("p0", "p1", "p2")}
    studio.job("transfer2.5", videos={"a": "clips/a"}, prompts=kept)

    studio.project.run("apply", "jobs/small.yaml", exit_code=1)

    assert studio.states() == {"succeeded": 2, "blocked": 1}


@pytest.mark.parametrize("driver", ["warm", "native"])
def test_no_secret_that_an_exception_quotes_is_kept_or_shown(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    token = "the-canary-of-this-test"
    monkeypatch.setenv("HF_TOKEN", token)
    installed = studio.models.installation("transfer2.5", HF_TOKEN="${HF_TOKEN}")
    studio.open(settings={"env": installed["env"], "driver": driver})
    program = studio.models.folder / "stand_in.py"
    said = '"the prompt asked for a crash"'
    program.write_text(program.read_text().replace(said, "f\"no {os.environ['HF_TOKEN']}\""))
    studio.job("transfer2.5", videos={"a": "clips/a"}, prompts={"p": "CRASH"})

    done = studio.project.run("apply", "jobs/small.yaml", exit_code=1)

    assert "RuntimeError: no **" in done.stdout
    assert token not in done.stdout + done.stderr
    for folder in (studio.project.root, studio.root):
        for path in folder.rglob("*"):
            assert not path.is_file() or token.encode() not in path.read_bytes(), path


# --- upscaling behind ---------------------------------------------------------------------


def test_what_is_made_anew_is_upscaled_behind_it(studio: Studio) -> None:
    studio.open()
    studio.job("transfer2.5", videos={"a": "clips/a"}, upscale=True)

    studio.project.run("apply", "jobs/small.yaml", "--canary", "1")
    studio.project.run("apply", "jobs/small.yaml", "--force")

    assert studio.states() == {"succeeded": 2}
    assert all(len(each["attempts"]) == 2 for each in studio.project.runs())  # type: ignore[arg-type]
    made = {manifest["run"]["engine"]: manifest for manifest, _ in studio.made()}
    assert made["transfer1"]["inputs"]["color"] == made["transfer2.5"]["output"]["sha256"]


def test_runs_of_no_job_are_tried_again_as_the_store_has_them(studio: Studio) -> None:
    studio.open()
    studio.project.run(
        "upscale",
        "clips/a/color.mp4",
        "--prompt",
        "OOM",
        "--engine",
        "transfer1",
        "--target",
        "gpu",
        exit_code=1,
    )
    run = str(studio.project.runs()[0]["id"])

    studio.project.run("retry", exit_code=1)
    studio.project.run("retry", run, exit_code=1)

    (record,) = studio.project.runs()
    assert len(record["attempts"]) == 3  # type: ignore[arg-type]
    assert len(studio.models.ledger("begin")) == 3


def test_a_run_that_was_adopted_is_reproduced_from_its_own_files(studio: Studio) -> None:
    studio.open()
    picture(studio.project.root / "refs" / "look.jpg")
    studio.job("transfer2.5", videos={"a": "clips/a"}, params={"image_context": "refs/look.jpg"})
    studio.project.run("apply", "jobs/small.yaml")
    shutil.rmtree(studio.project.root / ".cosmos-jobs")
    studio.project.run("adopt")

    (run,) = [str(each["id"]) for each in studio.project.runs()]
    script = studio.project.run("reproduce", run).stdout

    subprocess.run(["sh", "-s"], input=script, text=True, check=True, timeout=60)
    assert ".jpg" in script


def test_prune_leaves_what_batches_in_flight_still_read(studio: Studio) -> None:
    installed = studio.models.installation("transfer1", seconds=2)
    studio.project.configure(local={"max_batch": 1, "engines": {"transfer1": installed}})
    prompts = {name: name for name in ("one", "two", "three")}
    studio.job("transfer1", videos={"a": "clips/a"}, prompts=prompts)
    client = studio.project.start("apply", "jobs/small.yaml")
    deadline = time.monotonic() + 60
    while not studio.models.ledger("begin"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    inputs = studio.project.root / ".cosmos-jobs" / "hosts" / "local" / "inputs"
    for path in inputs.iterdir():
        os.utime(path, (0, 0))

    studio.project.run("prune", "--yes")
    client.communicate(timeout=60)

    assert client.returncode == 0
    assert studio.states() == {"succeeded": 3}
