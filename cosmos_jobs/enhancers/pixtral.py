"""NVIDIA's own prompt upsampler, Pixtral 12B, on a target's machine that has Cosmos Transfer1.

Contract: nvidia-cosmos/cosmos-transfer1 at 5005e823,
`auxiliary/upsampler/model/upsampler.py` and `inference/upsampler_pipeline.py`.
Its program takes one prompt for each load of the model; our driver calls the
same class for many.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from cosmos_jobs.config.project import EnhancerSettings
from cosmos_jobs.core.batch import Command, Setup
from cosmos_jobs.core.errand import Errand, Messenger
from cosmos_jobs.core.run import Scalar
from cosmos_jobs.enhancers.base import Answer, Request
from cosmos_jobs.errors import EngineError

COMMIT = "5005e823"
"""The commit of nvidia-cosmos/cosmos-transfer1 that this was written for."""

ENGINE = "transfer1"
ANSWERS = "answers.ndjson"
LOAD_S, PROMPT_S = 3600, 120
"""Seconds that the load of the model, and a prompt, may take when nothing else is said."""


class PixtralEnhancer:
    """Has many prompts enhanced by one process on a GPU."""

    is_free = False

    def __init__(self, settings: EnhancerSettings, messenger: Messenger) -> None:
        if not settings.target:
            raise EngineError(
                f"on which target does the enhancer `{settings.name}` run?",
                hint="say it in cosmos-jobs.yaml:"
                f" enhancers: {{{settings.name}: {{target: NAME}}}}; it needs transfer1",
            )
        if settings.model:
            raise EngineError(
                f"the enhancer `{settings.name}` has one model only",
                hint=f"write `{settings.name}` without `:{settings.model}`",
            )
        self._given = settings
        self._messenger = messenger
        self.name = settings.name

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """The commit: model and sampling are fixed in it."""
        return {"contract": COMMIT}

    def enhance(self, requests: Sequence[Request]) -> Iterator[tuple[str, Answer]]:
        """Yield the answers of one batch; the model looks at each prompt's video."""
        seeing = [each for each in requests if each.video and each.sha256]
        answers = self._answers(seeing) if seeing else {}
        for each in requests:
            missing = "the model left no answer" if each in seeing else "it has no video to look at"
            yield each.id, answers.get(each.id, Answer(reason=missing))

    def _answers(self, requests: Sequence[Request]) -> dict[str, Answer]:
        limit_s = self._given.timeout_s or LOAD_S + PROMPT_S * len(requests)
        said = self._messenger(
            Errand(
                hashlib.sha256(" ".join(sorted(each.id for each in requests)).encode()).hexdigest(),
                ENGINE,
                self._given.target,
                {each.sha256: each.video for each in requests if each.video},
                lambda setup, places: command(requests, setup, places),
                ANSWERS,
                math.ceil(limit_s),
            )
        )
        return dict(_read(said))


def command(requests: Sequence[Request], setup: Setup, places: Mapping[str, str]) -> Command:
    """Return how a batch of prompts is enhanced whose videos are at `places`, by sha256."""
    # A video that could not be brought is missed by its prompt alone.
    lines = [
        {"id": each.id, "prompt": each.text, "video": places.get(each.sha256, "")}
        for each in requests
    ]
    files = {
        "prompts.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode(),
        "driver.py": _driver(),
    }
    # One process, on however many GPUs: the model is not divided.
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1")
    env = {"PYTHONPATH": setup.path, "PYTHONUTF8": "1"}
    argv = (setup.python, *launcher, f"{setup.folder}/driver.py", setup.folder)
    return Command(argv, files, env, setup.path)


@cache
def _driver() -> bytes:
    return (Path(__file__).parent / "drivers" / "pixtral.py").read_bytes()


def _read(said: str) -> Iterator[tuple[str, Answer]]:
    for line in said.splitlines():
        try:
            each = json.loads(line)
            yield each["id"], Answer(each.get("text", ""), each.get("reason", ""))
        except (KeyError, TypeError, ValueError, AttributeError):
            # The last line of a batch that was cut off.
            continue
