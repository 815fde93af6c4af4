"""Job files as a whole: with the files that they name, and what engines say about their runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosmos_jobs import engines
from cosmos_jobs.config import project, schema
from cosmos_jobs.core.batch import Note
from cosmos_jobs.core.diagnostics import Diagnostic, Severity
from cosmos_jobs.core.job import Job
from cosmos_jobs.core.run import InputFile, Run
from cosmos_jobs.engines.preview.engine import PreviewEngine
from cosmos_jobs.jobs import expand
from cosmos_jobs.jobs import load as jobfiles
from cosmos_jobs.jobs.notes import noted
from tests.integration.test_inputs import write_video
from tests.support.examples import inputs, parsed

HEAD = "version: 1\nname: x\nvideos: {pier: videos/pier}\nprompts: {golden: A pier}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / project.FILE).write_text("version: 1\n")
    for role in ("color", "depth", "segmentation"):
        write_video(tmp_path / f"videos/pier/{role}.mp4", frames=5)
    write_video(tmp_path / "masks/pier.mp4", frames=5)
    write_video(tmp_path / "masks/short.mp4", frames=3)
    return tmp_path


def load(
    root: Path, text: str, *, preview: bool = False
) -> tuple[Job | None, tuple[Diagnostic, ...]]:
    path = root / "x.yaml"
    path.write_text(text)
    jobs, found = jobfiles.load(project.load(root), [str(path)], preview=preview)
    return (jobs[0] if jobs else None), found


def told(found: Iterable[Diagnostic]) -> list[tuple[str, str, int]]:
    return [(one.code, one.message, one.span.line if one.span else 0) for one in found]


def marked(problem: Diagnostic) -> str:
    assert problem.span is not None
    return problem.source[problem.span.column - 1 : problem.span.end_column - 1]


# --- files ----------------------------------------------------------------------------------


def test_masks_images_and_tensors_go_from_the_file_into_the_runs(root: Path) -> None:
    text = HEAD + "engine: transfer2.5\nweights: {a: {edge: 1}}\n"
    text += "params:\n  masks: {edge: [masks/pier.mp4, masks/short.mp4]}\n"

    job, found = load(root, text)

    assert job is not None
    assert [each.files["masks.edge"].path for each in job.expansion.runs] == [
        root / "masks/pier.mp4",
        root / "masks/short.mp4",
    ]
    assert [each.label for each in job.expansion.runs] == [
        "a-masks.edgepier",
        "a-masks.edgeshort",
    ]
    assert [(one.code, one.severity, marked(one)) for one in found] == [
        ("mask-frames", Severity.WARNING, "masks/short.mp4")
    ]


def test_all_files_that_are_missing_are_told_at_once_each_at_its_place(root: Path) -> None:
    text = HEAD + "engine: transfer2.5\nparams:\n"
    text += "  masks:\n    edge: [masks/pier.mp4, masks/peer.mp4]\n    vis: masks/shrt.mp4\n"
    text += "include:\n- {prompt: golden, masks.edge: masks/xyz}\n"

    job, found = load(root, text)

    assert job is None
    assert [(one.code, marked(one), one.hint) for one in found] == [
        ("missing-file", "masks/peer.mp4", "did you mean `masks/pier.mp4`?"),
        ("missing-file", "masks/shrt.mp4", "did you mean `masks/short.mp4`?"),
        ("missing-file", "masks/xyz", "`masks` holds pier.mp4, short.mp4"),
    ]


def test_images_are_inputs_where_the_engine_takes_them(root: Path) -> None:
    (root / "moths").mkdir()
    assert cv2.imwrite(str(root / "moths/1.png"), np.zeros((36, 64, 3), np.uint8))
    text = "version: 1\nname: x\nvideos: {moth: {color: moths/1.png}}\nprompts: {p: A moth}\n"
    text += "weights: {a: {edge: 1}}\n"

    taken, _ = load(root, text + "engine: transfer2.5\n")
    refused, found = load(root, text + "engine: transfer1\n")

    assert taken is not None
    assert refused is None
    assert [one.code for one in found] == ["image-input"]


# --- what engines have to say ---------------------------------------------------------------


def test_an_engine_warns_at_the_place_of_the_file_that_it_is_about(root: Path) -> None:
    text = HEAD + "engine: transfer2.5\nweights:\n  a: {edge: 1, vis: 1}\n  b: {edge: 0.5}\n"

    job, found = load(root, text)

    assert job is not None
    (problem,) = found
    assert (problem.code, problem.severity, marked(problem)) == (
        "engine-note",
        Severity.WARNING,
        "weights",
    )
    assert problem.message.endswith(" (1 of 2 runs)")


def test_what_an_engine_cannot_do_refuses_the_job(root: Path) -> None:
    (root / "videos/pier/depth.mp4").unlink()
    text = HEAD + "engine: cosmos3\nweights: {a: {depth: 1}}\n"

    job, found = load(root, text)
    shown, _ = load(root, text, preview=True)

    assert job is None
    assert shown is None
    refused = [one for one in found if one.severity is Severity.ERROR]
    assert [(one.code, marked(one)) for one in refused] == [("engine-refuses", "weights")]


@pytest.mark.parametrize("engine", ["preview", "transfer1", "transfer2.5", "cosmos3"])
def test_engines_have_nothing_against_upscaling(root: Path, engine: str) -> None:
    text = HEAD + f"engine: {engine}\nweights: {{a: {{edge: 1}}}}\nupscale: true\n"

    job, found = load(root, text)

    assert [one.message for one in found if one.severity is Severity.ERROR] == []
    assert job is not None
    assert [each.label for each in job.expansion.runs] == ["a", "a-4k"]


class Talkative(PreviewEngine):
    """The preview engine, which says what a test wants it to say, and counts how often."""

    def __init__(self, *notes: Note) -> None:
        self._notes = notes
        self.asked = 0

    def notes(self, run: Run, files: Mapping[str, InputFile]) -> Iterable[Note]:
        self.asked += 1
        for note in self._notes:
            values = {**run.params, "edge": run.weights.get("edge")}
            yield Note(note.about, note.message.format(**values), note.hint, note.is_error)


def hear(monkeypatch: pytest.MonkeyPatch, *notes: Note) -> Talkative:
    engine = Talkative(*notes)
    monkeypatch.setattr(engines, "get", lambda name: engine)
    return engine


def test_warnings_that_differ_in_numbers_are_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(monkeypatch, Note("weights", "edge is {edge}"))
    grid = "weights: {grid: {edge: {start: 0.1, stop: 0.9, step: 0.1}}}\n"

    _, found = load(root, HEAD + grid)

    assert told(found) == [("engine-note", "edge is 0.1, and 8 more like it", 5)]


def test_errors_that_differ_in_numbers_are_each_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(monkeypatch, Note("num_steps", "{num_steps} is too few", "take more", is_error=True))

    _, found = load(root, HEAD + "params:\n  num_steps: [1, 2]\n")

    assert told(found) == [
        ("engine-refuses", "1 is too few (1 of 2 runs)", 6),
        ("engine-refuses", "2 is too few (1 of 2 runs)", 6),
    ]
    assert {one.hint for one in found} == {"take more"}


@pytest.mark.parametrize(
    ("about", "place"),
    [
        ("weights", "weights"),
        ("video", "videos"),
        ("seed", "7"),
        ("num_steps", "9"),
        ("guidance", "engine"),
        ("masks.edge", "masks/pier.mp4"),
        ("regions", "regions"),
        ("upscale", "upscale"),
    ],
)
def test_notes_stand_where_the_file_says_what_they_are_about(
    root: Path, monkeypatch: pytest.MonkeyPatch, about: str, place: str
) -> None:
    hear(monkeypatch, Note(about, "odd"))
    engine = "transfer1" if about == "regions" else "transfer2.5"
    text = HEAD + f"engine: {engine}\nweights: {{a: {{edge: 1}}}}\nupscale: true\n"
    text += "include:\n- {prompt: golden, num_steps: 9}\nparams:\n  seed: 7\n"
    if engine == "transfer1":
        text += "regions:\n- {prompt: a, mask_prompt: b}\n"
    else:
        text += "  masks:\n    edge: masks/pier.mp4\n"

    _, found = load(root, text)

    assert {marked(one) for one in found} == {place}


def test_a_hundred_thousand_runs_are_asked_about_once_and_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = hear(monkeypatch, Note("seed", "odd"))
    text = "prompts: {a: A, b: B}\nparams: {seed: {start: 1, stop: 20000, step: 1}}\n"
    job = parsed(text)
    expansion, _ = expand.expand(job, inputs(), schema.contract("preview"))
    assert expansion is not None
    began = time.process_time()

    found = tuple(noted(job, expansion))

    assert time.process_time() - began < 2
    assert len(expansion.runs) == 80_000
    assert engine.asked == 1
    assert [one.message for one in found] == ["odd"]
