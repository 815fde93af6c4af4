from __future__ import annotations

import json
from dataclasses import replace

from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.core.record import State
from cosmos_jobs.report import page
from cosmos_jobs.report.document import Job, Pictures, document
from tests.support.examples import expanded, parsed, record, snapshot

BODY = """\
prompts: {storm: "A pier in {weather}, photorealistic", calm: A pier}
variables: {weather: [heavy rain, fresh snow]}
weights: {edges: {edge: 0.7}, both: {edge: 0.5, vis: 0.5}}
params: {seed: [10, 9], resolution: "256"}
"""
EXPANSION = expanded(parsed(BODY))[0]
RECORDS = [record(each, State.SUCCEEDED) for each in EXPANSION.runs]
PROMPTS = snapshot(RECORDS, [EXPANSION]).prompts
JOB = Job("x", "jobs/x.yaml", "Which?", parsed(BODY).weights)
CLIP = {"src": "a.mp4", "poster": "a.jpg", "frames": 9, "fps": 24.0, "width": 2, "height": 2}


def axes(found: dict[str, object]) -> dict[str, list[object]]:
    return {each["key"]: each["values"] for each in found["axes"]}  # type: ignore[attr-defined]


def test_axes_are_what_runs_differ_in_and_numbers_are_in_their_order() -> None:
    found = document(JOB, RECORDS, PROMPTS, {}, {})

    assert axes(found) == {
        "prompt": ["storm", "calm"],
        "text": ["heavy rain", "fresh snow", None],
        "video": ["pier", "street"],
        "weights": ["edges: edge 0.7", "both: vis 0.5, edge 0.5"],
        "seed": [9, 10],
    }
    places = [tuple(run["at"]) for run in found["runs"]]
    assert len(set(places)) == len(RECORDS)
    assert places[0] == (0, 0, 0, 0, 1)


def test_what_all_runs_share_is_said_once() -> None:
    found = document(JOB, RECORDS, PROMPTS, {}, {})

    assert found["params"]["resolution"] == "256"
    assert all(set(run["params"]) == {"seed"} for run in found["runs"])
    pictures = {each.run.id: Pictures(CLIP, {"input": CLIP}) for each in RECORDS}
    shown = document(JOB, RECORDS, PROMPTS, {}, pictures)
    assert shown["clips"] == [CLIP]
    assert {run["beside"]["input"] for run in shown["runs"]} == {0}


def test_metrics_are_those_that_a_run_has_and_short() -> None:
    measured = {RECORDS[0].run.id: Measured({"edge_f1": 0.123456789})}

    found = document(JOB, RECORDS, PROMPTS, measured, {})

    assert [each["name"] for each in found["metrics"]] == ["edge_f1"]
    assert [run["metrics"] for run in found["runs"][:2]] == [{"edge_f1": 0.1235}, {}]


def test_a_run_without_a_video_says_why() -> None:
    failed = replace(RECORDS[0], state=State.FAILED, reason="out of memory", output=None)
    gone = {RECORDS[1].run.id: Pictures(why="its video is gone")}

    found = document(JOB, [failed, RECORDS[1]], PROMPTS, {}, gone)

    assert [run["reason"] for run in found["runs"]] == ["out of memory", "its video is gone"]


def test_no_text_ends_the_script_that_holds_it() -> None:
    job = replace(JOB, description="</script><!--<script>\u2028")
    found = document(job, RECORDS[:1], PROMPTS, {}, {})

    text = page.html(found, embed=True)

    (_, _, rest) = text.partition('id="document">')
    data, _, _ = rest.partition("</script>")
    assert "<" not in data
    assert json.loads(data)["job"]["description"] == job.description


def test_the_page_has_its_title_as_text() -> None:
    found = document(replace(JOB, name="<b>"), RECORDS[:1], PROMPTS, {}, {})

    assert "<title>&lt;b&gt; · cosmos-jobs</title>" in page.html(found, embed=False)
