"""The preview engine refuses what its program would refuse, before anything runs."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest

from cosmos_jobs.core.batch import Note, Setup, Task
from cosmos_jobs.core.run import Prompt, Run
from cosmos_jobs.engines.preview import requests
from cosmos_jobs.engines.preview.buckets import RESOLUTIONS
from cosmos_jobs.engines.preview.engine import PreviewEngine

EVERY = sorted({(model, name) for model, names in RESOLUTIONS.items() for name in names})


def run(**params: str | float | None) -> Run:
    weights = {} if "upscale" in params else {"edge": 1.0}
    return Run("rs_0123456789abcdef", "ps_0123456789abcdef", "preview", 1, weights, params)


def notes(**params: str | float | None) -> list[Note]:
    return list(PreviewEngine().notes(run(**params), {}))


@pytest.mark.parametrize(("model", "resolution"), EVERY)
def test_a_resolution_of_the_model_is_nothing_to_speak_of(model: str, resolution: str) -> None:
    assert notes(model=model, resolution=resolution) == []


@pytest.mark.parametrize(
    ("model", "resolution", "message", "hint"),
    [
        (
            *("transfer", "768", "the Transfer models have no resolution 768"),
            "choose one of 1080, 1024, 720, 720p, 720robocasa, 512, 480, 480p, 256",
        ),
        ("cosmos3", "512", "Cosmos 3 has no resolution 512", "choose one of 768, 720, 480, 256"),
    ],
)
def test_a_resolution_that_the_model_lacks_is_an_error(
    model: str, resolution: str, message: str, hint: str
) -> None:
    told = notes(model=model, resolution=resolution)

    assert told == [Note("resolution", message, hint, is_error=True)]


def test_the_program_reads_the_line_of_an_upscaling_run() -> None:
    wanted = run(upscale=0.5, resolution="720", model="transfer")
    prompt = Prompt(wanted.prompt_id, "A pier", "", {"color": "0" * 64})

    command = PreviewEngine().command(
        [Task(wanted, prompt, {"color": "/color.mp4"}, digests=prompt.inputs)],
        Setup("python", "/cache"),
    )

    read = requests.parse(orjson.loads(command.files["runs.jsonl"]))
    assert (read.params.upscale, read.weights) == (0.5, {})


def test_no_library_that_is_slow_to_load_is_needed_to_speak_about_runs() -> None:
    code = "import sys, cosmos_jobs.engines.preview.engine as _; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert not {"cv2", "av", "numpy", "PIL"} & set(loaded.stdout.split())
