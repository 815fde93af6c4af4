"""Tables: aligned, whole in a pipe, and only text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_jobs.cli.views import tables
from cosmos_jobs.core.events import Lane
from cosmos_jobs.core.record import PromptRecord, State
from cosmos_jobs.core.run import Prompt
from tests.support.examples import PLAIN, record, runs

FIRST, SECOND = runs(PLAIN)


def prompt(text: str, name: str = "golden") -> PromptRecord:
    return PromptRecord(
        prompt=Prompt("ps_0123456789abcdef", text, "", {}),
        name=name,
        video="pier",
        files={},
        frames=121,
    )


def test_runs_are_a_line_each() -> None:
    done = record(FIRST, State.SUCCEEDED)
    failed = record(SECOND, State.FAILED, "out of\nmemory")

    lines = tables.runs([done, failed]).splitlines()

    ids, places = 19, len("x/golden/street-default")
    assert [line.split() for line in lines] == [
        ["RUN", "STATE", "PLACE", "REASON"],
        [FIRST.run.id, "succeeded", "x/golden/pier-default"],
        [SECOND.run.id, "failed", "x/golden/street-default", "out", "of", "memory"],
    ]
    assert {line.index(word) for line, word in zip(lines, ("STATE", "succ", "fail"), strict=True)}
    assert lines[2].index("out of") == lines[0].index("REASON")
    assert lines[1].index("x/") == lines[0].index("PLACE") > ids
    assert lines[0].index("REASON") > lines[0].index("PLACE") + places


def test_a_long_text_is_whole_in_a_pipe_and_on_one_line() -> None:
    text = "A pier\n" + "at dusk " * 500

    lines = tables.prompts([prompt(text)]).splitlines()

    assert len(lines) == 2
    assert lines[1].endswith(" ".join(text.split()))


def test_no_text_controls_the_terminal_or_is_read_as_markup() -> None:
    shown = tables.prompts([prompt("\x1b[2J [bold]A pier[/bold] \u202e")])

    assert "\\x1b[2J [bold]A pier[/bold] \\u202e" in shown


def test_wide_characters_keep_columns_straight() -> None:
    lines = tables.prompts([prompt("a", "日本"), prompt("a", "golden")]).splitlines()

    assert lines[1].index("pier") + 2 == lines[2].index("pier")


def test_jobs_show_the_states_that_occur_and_a_sum() -> None:
    none = dict.fromkeys(State, 0)
    counts = {
        "sunsets": {**none, State.SUCCEEDED: 7, State.FAILED: 1},
        "night": {**none, State.SUCCEEDED: 2},
    }

    rows = [line.split() for line in tables.jobs(counts).splitlines()]

    assert rows == [
        ["JOB", "SUCCEEDED", "FAILED", "RUNS"],
        ["sunsets", "7", "1", "8"],
        ["night", "2", "2"],
    ]


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_shown(state: State) -> None:
    assert str(state) in tables.runs([record(FIRST, state)])


def test_a_run_of_two_jobs_names_both() -> None:
    shared = replace(record(FIRST, State.SUCCEEDED), jobs={"a": "p/x", "b": "q/y"})

    assert "a/p/x b/q/y" in tables.runs([shared])


def test_batches_that_no_machine_has_yet_are_one_line_a_target() -> None:
    on = Lane(
        batch="ba_0123456789abcdef",
        target="gpu",
        host="gpu-1",
        gpu="0",
        done=1,
        runs=4,
        started=1e9,
        waits_for="",
        tail="",
    )
    waits = replace(on, host="", gpu="", done=0, started=None, waits_for="no answer")
    other = replace(waits, target="h100", batch="ba_fedcba9876543210", waits_for="")

    lines = tables.lanes([waits, on, waits, other]).splitlines()

    assert [line.split("  ")[0] for line in lines] == ["TARGET", "gpu", "gpu", "h100"]
    assert "ba_0123456789abcdef  1 of 4" in lines[1]
    assert "2 batches" in lines[2]
    assert "0 of 8" in lines[2]
    assert lines[2].endswith("no machine yet: no answer")
    assert "ba_fedcba9876543210  0 of 4" in lines[3]
    assert lines[3].endswith("no machine yet")


def test_lanes_fit_80_columns_without_their_reason() -> None:
    lane = Lane(
        batch="ba_0123456789abcdef",
        target="gpu",
        host="gpu-node-1",
        gpu="0",
        done=1,
        runs=4,
        started=1e9,
        waits_for="",
        tail="",
    )

    (head, _) = tables.lanes([lane]).splitlines()

    assert head.index("REASON") + tables.FOLDED <= 80
