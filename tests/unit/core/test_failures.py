"""Why a batch ended without its runs: each cause has its own words, and says what to do."""

from __future__ import annotations

import pytest

from cosmos_jobs.core import failures
from cosmos_jobs.core.batch import Life, Status
from cosmos_jobs.core.failures import Cause


def explained(code: int, log: str = "", fault: str = "") -> list[str]:
    return failures.explain(Status(Life.EXITED, code, log=log, fault=fault)).splitlines()


@pytest.mark.parametrize(
    ("fault", "reason", "hint"),
    [
        ("no-folder /opt/a b", "the engine's folder /opt/a b is not there", "correct `path`"),
        ("no-program /x/python", "the program /x/python is not there", "correct `venv`"),
        ("no-image a:1", "the Docker image a:1 is not there", "docker pull a:1"),
        ("no-docker Cannot connect", "Docker does not answer: Cannot connect", "start it"),
        ("timeout 90", "stopped after 90 s, the time limit of its batch", "run_timeout_s"),
        ("disk-full", "the disk of that machine is full", "prune --remote"),
    ],
)
def test_what_a_machine_found_wrong_is_said_with_what_to_do(
    fault: str, reason: str, hint: str
) -> None:
    said = explained(127, "noise\n", fault)

    assert said[0] == reason
    assert hint in said[1]
    assert "cosmos-jobs doctor" in said[1]


def test_an_engine_out_of_memory_is_told_from_its_log() -> None:
    said = explained(1, "step 3\ntorch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB\n")

    assert said[0].startswith("out of memory: torch.OutOfMemoryError")
    assert "lower resolution" in said[1]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", Cause.MEMORY),
        ("FileNotFoundError: checkpoints/nvidia/edge_control.pt", Cause.CHECKPOINT),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error", Cause.CHECKPOINT),
        ("RuntimeError: Failed to open video file /in/a.mp4", Cause.VIDEO),
        ("ValueError: cannot decode the frames of a.mp4", Cause.VIDEO),
        ("av.error.InvalidDataError: [Errno 1094995529] Invalid data found", Cause.VIDEO),
        ("KeyError: 'nonsense'", Cause.VALUE),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error", Cause.VALUE),
        ("[rank0]: ValueError: bad", Cause.VALUE),
        ("RuntimeError: expected a value", Cause.OTHER),
    ],
)
def test_the_kind_of_an_exception_is_told_from_its_line(line: str, cause: Cause) -> None:
    assert failures.cause(line) is cause


def test_the_last_exception_says_more_than_the_last_line() -> None:
    log = "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n[rank0] destroyed\n"

    assert failures.last_words(log) == "KeyError: 'a'"
    assert failures.last_words("one\n two \n\n") == "two"
    assert failures.last_words("") == ""


def test_a_killed_engine_may_have_been_out_of_memory() -> None:
    assert explained(137, "step 3") == [
        "the engine was killed, perhaps out of memory (code 137): step 3"
    ]


def test_any_other_end_is_told_with_the_last_line_of_the_log() -> None:
    assert explained(3, "one\n two \n\n") == ["the engine exited with code 3: two"]
    assert explained(0) == ["the engine left no result"]


def test_braces_in_what_a_machine_says_are_only_text() -> None:
    assert explained(1, fault="no-docker {0} {x}")[0] == "Docker does not answer: {0} {x}"
