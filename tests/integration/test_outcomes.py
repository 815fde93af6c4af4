"""Random batches on the stand-ins: each run is blamed for what it did, and for nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosmos_jobs.core.batch import Outcome
from cosmos_jobs.core.record import State
from cosmos_jobs.core.safe_path import SafePath
from tests.support.model_batches import Ran, run_batch, task
from tests.support.project import film
from tests.support.stand_in_models import Models, mark

WAYS = ("transfer1", "transfer2.5 native", "transfer2.5 warm", "cosmos3")
QUIET = ("GUARD-TEXT", "GUARD-VIDEO")
FATAL = ("CRASH", "OOM", "NO-CHECKPOINT", "BAD-VIDEO", "KILL")
CAUSES = {
    "CRASH": "the prompt asked for a crash",
    "OOM": "out of memory",
    "NO-CHECKPOINT": "missing checkpoint",
    "BAD-VIDEO": "unreadable video",
    "KILL": "killed",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("the models"))


def expected(way: str, words: Sequence[str]) -> Iterator[str]:
    """Yield what is to become of each run, from what its prompt asks the stand-in for."""
    alive = True
    for word in words:
        if not alive:
            yield "pending"
        elif word in QUIET and way == "cosmos3":
            # Its guardrails are not called on this path.
            yield "succeeded"
        elif word in QUIET:
            yield "blocked text" if word == "GUARD-TEXT" else "blocked video"
            # Transfer1 falls over a block.
            alive = way != "transfer1"
        elif word in FATAL:
            # An exception is the run's own; what dies without a word gets one more chance.
            yield f"crashed {word}" if word == "KILL" else f"failed {word}"
            alive = way == "transfer2.5 warm" and word != "KILL"
        else:
            yield "succeeded"


def told(outcome: Outcome, word: str) -> str:
    """Return an outcome in the words of `expected`."""
    match outcome.state:
        case State.BLOCKED:
            return "blocked text" if "text" in outcome.reason.splitlines()[0] else "blocked video"
        case State.FAILED:
            assert CAUSES[word] in outcome.reason, outcome.reason
            return f"{'crashed' if outcome.crashed else 'failed'} {word}"
    return str(outcome.state)


def batch(way: str, seed: int, models: Models, folder: Path, video: Path) -> tuple[Ran, list[str]]:
    """Run a random batch; return what came of it, and the words of its prompts in order."""
    chance = random.Random(f"{way} {seed}")
    words = chance.choices(
        ("good", *QUIET, *FATAL), (8, 2, 2, 1, 1, 1, 1, 1), k=chance.randint(1, 6)
    )
    engine, _, how = way.partition(" ")
    tasks = [
        task(
            engine,
            f"{word} number {number}",
            {"color": video, "edge": video},
            {"edge": chance.randint(1, 100) / 100},
        )
        for number, word in enumerate(words)
    ]
    return run_batch(models, tasks, folder / f"{seed}", warm=how == "warm"), words


@pytest.mark.campaign(part="batches")
@pytest.mark.parametrize("way", WAYS)
def test_blocks_and_crashes_are_laid_at_the_right_door(
    way: str, models: Models, tmp_path: Path, times: int
) -> None:
    video = tmp_path / "color.mp4"
    film(video, seed=1, frames=2)

    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(lambda seed: batch(way, seed, models, tmp_path, video), range(times)))

    for result, words in ran:
        outcomes = list(result.outcomes.values())
        assert len(outcomes) == len(words)
        found = [told(*each) for each in zip(outcomes, words, strict=True)]
        log = (result.folder / "log").read_text()
        assert found == list(expected(way, words)), (words, log)
        for number, (outcome, word) in enumerate(zip(outcomes, words, strict=True)):
            if outcome.state is State.SUCCEEDED:
                made = mark(result.folder / "out" / outcome.files[SafePath("output.mp4")])
                assert made["prompt"].startswith(f"{word} number {number}")
    every = [each for result, _ in ran for each in result.outcomes.values()]
    assert {each.state for each in every} >= {State.SUCCEEDED, State.FAILED, State.PENDING}
