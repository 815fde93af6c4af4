"""Every line of events is as the schema says, and reports are JUnit."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import junitparser
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from cosmos_jobs.cli.views import junit
from cosmos_jobs.cli.views.events import PROGRESS_EVERY_S, Stream
from cosmos_jobs.config import schema
from cosmos_jobs.core.events import Event, Kind, Lane
from cosmos_jobs.core.record import State
from cosmos_jobs.errors import HostError
from cosmos_jobs.plan.model import Applied, Followed, Planned
from tests.support.examples import PLAIN, parsed, planned, record
from tests.unit.cli.views.test_plans import mixed, several

VALID = Draft7Validator(schema.load("events"))
RUN = "rs_0123456789abcdef"
LANE = Lane(
    batch="ba_1",
    target="gpu",
    host="gpu-1",
    gpu="0",
    done=1,
    runs=4,
    started=5.0,
    waits_for="",
    tail="step 3 of 35",
)
SECRET = "hf_abcdefghijklmnopqrstuvwx"


class Reader:
    """Takes the lines of a stream; each must be one line of JSON that fits the schema."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[dict[str, Any]] = []
        self.stream = Stream(self._take, clock=lambda: self.now, now=lambda: 1.7e9 + self.now)

    def _take(self, line: bytes) -> None:
        assert b"\n" not in line
        event = orjson.loads(line)
        assert [error.message for error in VALID.iter_errors(event)] == []
        self.events.append(event)

    def types(self) -> list[str]:
        return [str(event["type"]) for event in self.events]


def applied(*states: tuple[State, str], plan: Planned | None = None) -> Applied:
    made = plan or planned([parsed(PLAIN + "params: {seed: [1, 2, 3]}\n")])
    records = [record(each, *state) for each, state in zip(made.desired, states, strict=False)]
    started = frozenset(each.run.id for each in records)
    return Applied(planned=made, started=started, awaited=frozenset(), records=tuple(records))


def test_the_schema_is_draft_07_and_refuses_what_is_no_event() -> None:
    Draft7Validator.check_schema(schema.load("events"))

    assert not VALID.is_valid({"type": "finished"})
    assert not VALID.is_valid({"type": "other", "time": "2026-01-01T00:00:00.000Z"})


@pytest.mark.parametrize("plan", [mixed, several])
def test_a_plan_tells_every_run_that_is_not_done(plan: Any) -> None:
    reader = Reader()

    reader.stream.planned(plan())

    changes = [each for each in plan().plan.changes if each.action != "keep"]
    told = [event for event in reader.events if event["type"] == "planned"]
    assert [each["run"] for each in told] == [each.run_id for each in changes]
    assert reader.types()[0] == "version"
    assert reader.types()[-1] == "plan"


def test_the_life_of_a_run_is_told() -> None:
    reader = Reader()
    reader.stream.expect(1, {RUN: "x/golden/pier"}.get)

    for event in (
        Event(Kind.NOTE, reason="gpu-1: waits for GPU 0"),
        Event(Kind.SUBMITTED, RUN, State.QUEUED, lanes=(LANE,)),
        Event(Kind.STARTED, RUN, State.RUNNING),
        Event(Kind.LOG, reason="ba_1  step 1"),
        Event(Kind.FINISHED, RUN, State.FAILED, "out of memory\nline 2"),
    ):
        reader.stream(event)
    reader.stream.close(1)

    assert reader.types()[1:] == ["note", "submitted", "started", "log", "finished", "summary"]
    assert reader.events[2]["host"] == "gpu-1"
    assert reader.events[5]["place"] == "x/golden/pier"
    assert reader.events[5]["reason"] == "out of memory\nline 2"


def test_progress_is_told_now_and_then() -> None:
    reader = Reader()
    reader.stream.expect(4, dict[str, str]().get)

    for _ in range(1000):
        reader.now += PROGRESS_EVERY_S / 100
        reader.stream(Event(Kind.PROGRESS, frames=3, lanes=(LANE,)))

    told = [event for event in reader.events if event["type"] == "progress"]
    assert 9 <= len(told) <= 10
    assert told[0]["in_flight"][0]["batch"] == "ba_1"
    assert "tail" not in told[0]["in_flight"][0]


def test_the_summary_counts_what_came_of_runs_and_tells_of_machines() -> None:
    reader = Reader()
    trouble = HostError("gpu-2 does not answer", hint="look at it")

    done = applied((State.SUCCEEDED, ""), (State.FAILED, "x"), (State.RUNNING, ""))
    reader.stream.applied(replace(done, troubles=(trouble,)))
    reader.stream.close(5)

    error, summary = reader.events[-2:]
    assert (error["type"], error["exit_code"]) == ("error", 5)
    assert {name: n for name, n in summary["states"].items() if n} == {
        "succeeded": 1,
        "failed": 1,
        "running": 1,
    }
    assert (summary["exit_code"], summary["started"], summary["in_flight"]) == (5, 3, 1)


def test_a_watch_is_summed_up_too() -> None:
    reader = Reader()

    reader.stream.followed(Followed(applied((State.CANCELLED, "")).records))
    reader.stream.close(124)

    assert reader.events[-1]["states"]["cancelled"] == 1
    assert "started" not in reader.events[-1]


@given(st.text(st.characters()))
def test_whatever_is_said_is_a_line_of_json(text: str) -> None:
    reader = Reader()

    reader.stream(Event(Kind.NOTE, reason=text + "\udcff\n"))
    reader.stream.error(text, text, 70)
    reader.stream.close(70)

    assert reader.types() == ["version", "note", "error", "summary"]


def test_no_event_and_no_report_holds_a_secret() -> None:
    reader = Reader()
    plan = planned([parsed(PLAIN)])
    done = applied((State.FAILED, f"HF_TOKEN={SECRET}"), (State.BLOCKED, SECRET), plan=plan)

    reader.stream(Event(Kind.FINISHED, RUN, State.FAILED, f"cannot read {SECRET}"))
    reader.stream.error(f"https://user:{SECRET}@host", SECRET, 5)

    assert SECRET not in str(reader.events)
    assert SECRET.encode() not in junit.applied(done)
    assert SECRET.encode() not in junit.refused(f"{SECRET} is wrong")


# --- JUnit --------------------------------------------------------------------------------


def test_a_report_has_a_case_for_each_run() -> None:
    states = [
        (State.SUCCEEDED, ""),
        (State.FAILED, "CUDA out of memory\nsee the log"),
        (State.LOST, "its process is gone"),
        (State.BLOCKED, "the guardrail refused the prompt"),
        (State.CANCELLED, ""),
    ]
    plan = planned([parsed(PLAIN + "params: {seed: [1, 2, 3]}\n")])

    report = junitparser.JUnitXml.fromstring(junit.applied(applied(*states, plan=plan)))

    (suite,) = list(report)
    cases = list(suite)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == (
        "x",
        6,
        2,
        0,
        3,
    )
    assert [case.name for case in cases] == [each.place for each in plan.desired]
    assert {case.classname for case in cases} == {"x"}
    assert [case.time for case in cases] == [60.0, 60.0, 60.0, 0.0, 0.0, 0.0]
    failed = cases[1].result[0]
    assert isinstance(failed, junitparser.Failure)
    assert failed.message == "CUDA out of memory"
    assert failed.text == f"CUDA out of memory\nsee the log\n{plan.desired[1].run.id}"
    assert [type(each.result[0]) for each in cases[3:]] == [junitparser.Skipped] * 3
    assert cases[3].result[0].message == "blocked: the guardrail refused the prompt"


def test_what_ended_early_is_an_error() -> None:
    report = junitparser.JUnitXml.fromstring(junit.refused("the saved plan is stale", "look again"))

    (suite,) = list(report)
    (case,) = list(suite)
    assert suite.errors == 1
    assert case.result[0].message == "the saved plan is stale"


@given(st.text(st.characters()))
def test_whatever_is_said_is_xml(text: str) -> None:
    made = applied((State.FAILED, text), (State.BLOCKED, text), plan=planned([parsed(PLAIN)]))

    for data in (junit.applied(made), junit.refused(text, text)):
        junitparser.JUnitXml.fromfile(io.BytesIO(data))
