"""What came of an apply, and runs and prompts in full, as people read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click import unstyle

from cosmos_jobs.cli.views import outcome
from cosmos_jobs.cli.views.progress import Hashing, Tally, lanes
from cosmos_jobs.core.events import Event, Kind
from cosmos_jobs.core.record import Attempt, PromptRecord, Record, State
from cosmos_jobs.core.run import Prompt
from cosmos_jobs.plan.model import Applied, Followed, Planned
from tests.support.examples import PLAIN, parsed, planned, record

SWEEP = PLAIN + "params: {seed: {start: 1, stop: 20, step: 1}}\n"
ROOT = Path("/home/ada/videos")


def applied(*states: tuple[State, str], started: int = 40) -> Applied:
    """Return what came of a job; the first `started` of its runs were started now."""
    now: Planned = planned([parsed(SWEEP)])
    pairs = zip(now.desired, states, strict=False)
    records = tuple(record(each, *state) for each, state in pairs)
    begun = frozenset(each.run.id for each in records[:started])
    return Applied(planned=now, started=begun, awaited=frozenset(), records=records)


def text(applied: Applied) -> str:
    return unstyle(outcome.text(applied, ROOT))


DONE = (State.SUCCEEDED, "")


def test_what_was_made_is_told_apart_from_what_was_there() -> None:
    said = text(applied(DONE, DONE, DONE, started=1))

    assert said == ("Applied: 1 succeeded, 2 up to date.\nVideos: outputs/x/ in /home/ada/videos")


def test_failures_are_named_with_their_reason_before_the_sum() -> None:
    now = applied(DONE, (State.FAILED, "out of memory\nsee the log"))

    assert text(now).splitlines() == [
        f"failed  x/golden/pier-default-seed2  ({now.records[1].run.id})",
        "    out of memory",
        "    see the log",
        "Retry with the same command; look closer: cosmos-jobs show RUN",
        "",
        "Applied: 1 succeeded, 1 failed.",
        "Videos: outputs/x/ in /home/ada/videos",
    ]


def test_blocked_runs_are_not_said_to_be_retried() -> None:
    said = text(applied((State.BLOCKED, "the guardrail refused the prompt")))

    assert "Blocked runs are not retried" in said
    assert "Retry with the same command" not in said


@pytest.mark.parametrize("state", State)
def test_no_run_is_left_out_of_the_sum(state: State) -> None:
    said = text(applied((state, ""), started=0))

    word = "up to date" if state is State.SUCCEEDED else str(state)
    assert f"Applied: 1 {word}." in said


@pytest.mark.parametrize("state", [each for each in State if each is not State.SUCCEEDED])
def test_a_run_that_did_not_succeed_is_never_called_a_success(state: State) -> None:
    said = text(applied((state, "")))

    assert "succeeded" not in said
    assert "Videos" not in said


def test_many_failures_are_shortened() -> None:
    said = text(applied(*[(State.FAILED, "no")] * 40))

    assert said.count("failed  x/") == outcome.SHOWN
    assert "… and 20 more: cosmos-jobs list runs --status failed" in said


def test_no_text_of_an_engine_controls_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;title\x07 \u202e"
    now = applied((State.FAILED, evil))
    prompt = PromptRecord(
        prompt=Prompt("ps_1", evil, evil, {}),
        name="golden",
        video="pier",
        files={"color": evil},
        frames=9,
    )

    shown = [
        text(now),
        unstyle(outcome.run(now.records[0], prompt, Path("v.mp4"), {})),
        unstyle(outcome.prompt(prompt, 1)),
    ]

    assert all(char.isprintable() or char == "\n" for each in shown for char in each)


# --- one run, one prompt ------------------------------------------------------------------


def shown(record: Record, prompt: PromptRecord | None = None) -> list[str]:
    return unstyle(outcome.run(record, prompt, Path("outputs/video.mp4"), {})).splitlines()


def test_a_run_is_shown_with_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = applied(DONE).records[0]
    attempt = Attempt("ba_1", "local", State.FAILED, reason="no")
    prompt = PromptRecord(
        prompt=Prompt(now.run.prompt_id, "A pier\nat dusk", "", {}),
        name="g",
        video="p",
        files={},
        frames=9,
    )
    monkeypatch.setattr(outcome, "moment", lambda seconds: f"at {seconds:g}")

    lines = shown(replace(now, attempts=(attempt, *now.attempts)), prompt)

    assert lines == [
        f"run             {now.run.id}",
        "state           succeeded",
        "video           outputs/video.mp4",
        "log             outputs/log.txt",
        "jobs            x (golden/pier-default-seed1)",
        f"prompt          {now.run.prompt_id}  A pier",
        "                at dusk",
        "engine          preview (contract 1)",
        "weights         vis 0.25, edge 0.25, depth 0.25, seg 0.25",
        "edge_threshold  medium",
        "blur_strength   medium",
        "resolution      720",
        "max_frames      none",
        "seed            1",
        "num_steps       35",
        "guidance        3",
        f"sha256          {'e' * 64}",
        "frames          121",
        "attempt 1  not started  local  ba_1  failed: no",
        "attempt 2  at 0  local  ba_0  succeeded",
    ]


def test_a_run_without_a_video_shows_none() -> None:
    lines = shown(applied((State.FAILED, "no")).records[0])

    assert "reason          no" in lines
    assert not any(line.startswith(("video", "sha256", "frames")) for line in lines)


def test_a_prompt_is_shown_with_all_that_is_known() -> None:
    prompt = Prompt("ps_1", "A pier", "cartoon", {})
    record = PromptRecord(
        prompt=prompt, name="golden", video="pier", files={"color": "inputs/color.mp4"}, frames=121
    )

    assert unstyle(outcome.prompt(record, 8)).splitlines() == [
        "prompt       ps_1",
        "name         golden",
        "text         A pier",
        "negative     cartoon",
        "video        pier",
        "color video  inputs/color.mp4",
        "frames       121",
        "runs         8",
    ]


# --- progress -----------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def finished(state: State) -> Event:
    return Event(Kind.FINISHED, "rs_1", state)


def test_a_tally_starts_with_nothing_promised() -> None:
    assert Tally(8, Clock()).text() == "0 of 8 runs"


def test_a_tally_counts_failures_speed_and_time_left() -> None:
    clock = Clock()
    tally = Tally(8, clock)

    tally.add(Event(Kind.STARTED, "rs_1", State.RUNNING))
    tally.add(finished(State.SUCCEEDED))
    tally.add(finished(State.BLOCKED))
    tally.add(Event(Kind.PROGRESS, frames=550))
    clock.now += 10

    assert tally.text() == "2 of 8 runs, 1 failed, 55 frames/s, 30 s left"


def test_frames_of_a_batch_that_ended_stay_counted() -> None:
    clock = Clock()
    tally = Tally(8, clock)

    for frames in (100, 300, 0, 100):
        tally.add(Event(Kind.PROGRESS, frames=frames))
    clock.now += 10

    assert tally.text() == "0 of 8 runs, 40 frames/s"


def test_when_all_is_done_nothing_is_left() -> None:
    clock = Clock()
    tally = Tally(1, clock)

    tally.add(finished(State.SUCCEEDED))
    clock.now += 5

    assert tally.text() == "1 of 1 runs"


def test_a_tally_needs_no_time_to_have_passed() -> None:
    tally = Tally(2, Clock())

    tally.add(Event(Kind.PROGRESS, frames=0))
    tally.add(finished(State.SUCCEEDED))

    assert tally.text() == "1 of 2 runs, 1 s left"


def test_of_an_unknown_number_of_runs_only_those_done_are_told() -> None:
    tally = Tally(0, Clock())

    tally.add(finished(State.SUCCEEDED))

    assert tally.text() == "1 run"


@pytest.mark.parametrize(("place", "told"), [("x/a", "  x/a"), (None, "")])
def test_elsewhere_than_on_a_terminal_a_failure_is_a_line(
    capsys: pytest.CaptureFixture[str], place: str | None, told: str
) -> None:
    failed = replace(finished(State.FAILED), reason="out of memory\nsee the log")

    with lanes(lambda run_id: place, 1, quiet=False, verbose=False) as notify:
        notify(failed)

    assert capsys.readouterr().err == f"failed  rs_1{told}: out of memory\n"


def test_what_was_followed_is_retried_with_another_command() -> None:
    done = Followed(applied((State.FAILED, "")).records, (), ())

    assert "Retry: cosmos-jobs retry; look" in unstyle(outcome.followed(done, ROOT))


def test_hashing_is_shown_only_when_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = Hashing(clock)
    shown("quick.mp4", 0, 100)
    shown("quick.mp4", 100, 100)
    shown("long.mp4", 0, 200)
    clock.now += 5
    shown("long.mp4", 50, 200)
    shown("long.mp4", 200, 200)

    written = capsys.readouterr().err

    assert "quick" not in written
    assert "hashing long.mp4: 25 %" in written
    assert written.endswith("hashing long.mp4: 100 %\n")
