"""Runs are read whole or refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.engines.preview import requests
from cosmos_jobs.engines.preview.requests import BadRequest, Params


def line(**changes: Any) -> dict[str, Any]:
    run = {
        "id": "rs_0123456789abcdef",
        "prompt": "A pier",
        "inputs": {"color": {"path": "/color.mp4", "sha256": "0" * 64}},
        "weights": {"edge": 0.7, "vis": 0.2},
    }
    return run | changes


def test_what_is_left_out_has_the_defaults_of_the_model() -> None:
    assert requests.parse(line()).params == Params()


def test_weights_come_in_the_order_of_the_controls_without_zeros() -> None:
    request = requests.parse(line(weights={"seg": 0.5, "depth": 0, "vis": 1}))

    assert list(request.weights.items()) == [("vis", 1), ("seg", 0.5)]


BAD = {
    "not a mapping": [1],
    "an id that is a path": line(id="../../etc"),
    "no prompt": {"id": "rs_0123456789abcdef"},
    "a prompt that is a number": line(prompt=3),
    "no color": line(inputs={}),
    "an unknown role": line(inputs={**line()["inputs"], "lidar": {}}),
    "a short digest": line(inputs={"color": {"path": "/x", "sha256": "00"}}),
    "an unknown control": line(weights={"blur": 1}),
    "weights of zero": line(weights={"edge": 0}),
    "a negative weight": line(weights={"edge": -1, "vis": 1}),
    "a weight that is no number": line(weights={"edge": float("nan")}),
    "a weight that is true": line(weights={"edge": True}),
    "an unknown parameter": line(params={"sed": 1}),
    "an unknown preset": line(params={"edge_threshold": "ultra"}),
    "a resolution that is a number": line(params={"resolution": 720}),
    "no frames": line(params={"max_frames": 0}),
    "half a frame": line(params={"max_frames": 1.5}),
    "an unknown key": line(priority=1),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(line()) + "\n" + json.dumps(bad) + "\n")

    with pytest.raises(BadRequest, match="line 2: "):
        requests.read(path)


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{json.dumps(line())}\n{json.dumps(line())}\n")

    with pytest.raises(BadRequest, match="twice"):
        requests.read(path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"nonsense"])
def test_a_file_that_is_not_json_lines_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(content)

    with pytest.raises(BadRequest):
        requests.read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be read"):
        requests.read(tmp_path / "runs.jsonl")


def test_line_separators_inside_a_prompt_do_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(line(prompt="a\u2028b"), ensure_ascii=False) + "\n")

    assert requests.read(path)[0].prompt == "a\u2028b"
