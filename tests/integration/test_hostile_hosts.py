"""Machines that lie: whatever a batch leaves there, its files come into its runs' folders only."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from cosmos_jobs import engines
from cosmos_jobs.apply.collect import Collector, look
from cosmos_jobs.apply.in_flight import InFlight, advance
from cosmos_jobs.artifacts.outputs import Outputs
from cosmos_jobs.config import schema
from cosmos_jobs.config.project import Installation, load
from cosmos_jobs.core import atomic, identity
from cosmos_jobs.core.batch import Batch, Command
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.serialize import ASKED
from cosmos_jobs.targets.executors.base import Submission
from cosmos_jobs.targets.fleet import Access, Machine, open_machines
from tests.support.project import film

TEXT = "A pier"
STRANGER = "rs_0123456789abcdef"
ENGINES = ("preview", "transfer1", "transfer2.5", "cosmos3")
NAMES = (
    "{outside}/canary",
    "../../../canary",
    "controls/../../../../canary",
    "manifest.json/canary",
    "log.txt",
    "output.mp4/canary",
    "x" * 241,
    "",
    ".",
    "a\x00b",
    "\x1b[2J",
    7,
    None,
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return this machine, as one that does what it likes."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "cosmos-jobs.yaml").write_text("version: 1\n")
    project = load(tmp_path / "project")
    (machine,) = open_machines(project, project.targets["local"], Access(print))
    return machine


def collected(machine: Machine, engine: str, left: Mapping[str, bytes]) -> tuple[InFlight, Path]:
    """Have a batch of one run leave files, and bring here what it tells of; return both."""
    folder = Path(machine.target.root).parents[2]
    prompt = identity.prompt(TEXT, "", {"color": "0" * 64})
    run = identity.run(prompt.id, schema.contract(engine), {"edge": 0.5}, {})
    record = Record(run, {"job": "pier/edge"}, State.RUNNING, "", ())
    batch = Batch("ba_0123456789abcdef", engine, "local", (run.id,))
    # A real machine runs it, and what it leaves is put there as the machine pleases.
    order = Submission(batch, Command(("true",), {}), Installation())
    outputs = Outputs(folder / "outputs")

    async def bring() -> InFlight:
        seen = InFlight(batch=batch, engine=engines.get(engine))
        await machine.executor.submit([order])
        out = Path(machine.target.root) / "batches" / batch.id / "out"
        for name, data in left.items():
            path = out / name.replace("RUN", run.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.replace(b"RUN", run.id.encode()))
        deadline = time.monotonic() + 60
        while not seen.is_final:
            assert time.monotonic() < deadline
            seen = advance(seen, (await look(machine, [seen]))[batch.id])
        collector = Collector(outputs)
        if seen.due:
            prompts = PromptRecord(prompt=prompt, name="pier", video="a", files={}, frames=1)
            seen = advance(seen, await collector.fetch(machine, seen, record, prompts))
        for run_id in seen.outcomes:
            collector.keep_log(seen, run_id)
        return seen

    return asyncio.run(bring()), outputs.folder(run.id)


def asked(*runs: Any, text: object = TEXT) -> bytes:
    return orjson.dumps([{"run": run, "text": text} for run in runs])


@pytest.fixture
def video(tmp_path: Path) -> bytes:
    film(tmp_path / "video.mp4", seed=1, frames=1)
    return (tmp_path / "video.mp4").read_bytes()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_preview_manifest_names_no_file_elsewhere(
    machine: Machine, tmp_path: Path, video: bytes, name: object
) -> None:
    (tmp_path / "canary").write_text("whole")
    told = name.format(outside=tmp_path) if isinstance(name, str) else name
    control = {"path": told, "sha256": atomic.sha256(tmp_path / "canary")}
    output = {"path": "output.mp4", "sha256": atomic.sha256(tmp_path / "video.mp4")}
    manifest = {"controls": {"edge": control}, "output": output}

    seen, folder = collected(
        machine, "preview", {"RUN/output.mp4": video, "RUN/manifest.json": orjson.dumps(manifest)}
    )

    (outcome,) = seen.outcomes.values()
    assert (outcome.state, "names a file that cannot" in outcome.reason) == (State.FAILED, True)
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 300
    assert (tmp_path / "canary").read_text() == "whole"
    assert [each.name for each in folder.iterdir()] == ["log.txt"]


def test_a_manifest_without_an_output_is_a_failure(machine: Machine) -> None:
    output = {"path": "film.mp4", "sha256": hashlib.sha256().hexdigest()}
    manifest = {"controls": {}, "output": output}

    seen, _ = collected(
        machine, "preview", {"RUN/film.mp4": b"", "RUN/manifest.json": orjson.dumps(manifest)}
    )

    (outcome,) = seen.outcomes.values()
    assert (outcome.state, outcome.reason) == (State.FAILED, "the engine made no output")


def test_a_map_whose_name_is_too_long_fails_its_run(machine: Machine, video: bytes) -> None:
    left = {
        ASKED: asked("RUN"),
        "video_0/output.mp4": video,
        f"video_0/{'x' * 235}_input_control_0.mp4": video,
        "video_0/prompt.txt": TEXT.encode(),
    }

    seen, _ = collected(machine, "transfer1", left)

    (outcome,) = seen.outcomes.values()
    assert (outcome.state, "is too long" in outcome.reason) == (State.FAILED, True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "stranger", ["../../../outside", "/outside", STRANGER, "", ["x"], None, {"a": 1}], ids=ascii
)
def test_a_machine_tells_of_the_runs_that_it_was_given_only(
    machine: Machine, engine: str, stranger: object
) -> None:
    seen, folder = collected(machine, engine, {ASKED: asked("RUN", stranger)})

    assert set(seen.outcomes) == set(seen.batch.runs)
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_asked_for_is_text_or_nothing(machine: Machine, engine: str) -> None:
    seen, _ = collected(machine, engine, {ASKED: asked("RUN", text=["x"])})

    assert set(seen.outcomes) == set(seen.batch.runs)
