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


def test_no_upscaling_is_no_parameter_at_all() -> None:
    assert requests.parse(line(params={"upscale": None})).params == Params()


def test_weights_come_in_the_order_of_the_controls_without_zeros() -> None:
    request = requests.parse(line(weights={"seg": 0.5, "depth": 0, "vis": 1}))

    assert list(request.weights.items()) == [("vis", 1), ("seg", 0.5)]


def test_an_upscaling_has_no_weights() -> None:
    request = requests.parse(line(weights={}, params={"upscale": 0.5}))

    assert request.weights == {}
    assert request.params == Params(upscale=0.5)


@pytest.mark.parametrize("weight", [0, 1])
def test_an_upscaling_takes_any_weight_up_to_1(weight: float) -> None:
    assert requests.parse(line(weights={}, params={"upscale": weight})).params.upscale == weight


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
    "weights beside an upscaling": line(params={"upscale": 0.5}),
    "weights of zero beside an upscaling": line(weights={"edge": 0}, params={"upscale": 0.5}),
    "neither weights nor an upscaling": line(weights={}, params={"upscale": None}),
    "an upscaling above 1": line(weights={}, params={"upscale": 1.01}),
    "an upscaling below 0": line(weights={}, params={"upscale": -0.5}),
    "an upscaling that is true": line(weights={}, params={"upscale": True}),
    "an upscaling that is text": line(weights={}, params={"upscale": "0.5"}),
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


def map_line(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "kind": "edge", "path": "/color.mp4", "sha256": "0" * 64} | changes


def test_a_map_alone_is_a_video_a_kind_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "maps.jsonl"
    params = {"resolution": "768", "max_frames": None, "model": "cosmos3"}
    path.write_text(json.dumps(map_line(params=params)) + "\n" + json.dumps(map_line(id="b")))

    first, second = requests.read_maps(path)

    assert (first.id, first.kind, first.source.path) == ("a", "edge", Path("/color.mp4"))
    assert first.params == Params(resolution="768", model="cosmos3")
    assert second.params == Params()


BAD_MAPS = {
    "a kind that only a model makes": map_line(kind="depth"),
    "no kind": {key: value for key, value in map_line().items() if key != "kind"},
    "no id": map_line(id=""),
    "a short digest": map_line(sha256="00"),
    "an unknown model": map_line(params={"model": "transfer9"}),
    "an upscaling": map_line(params={"upscale": 0.5}),
    "an unknown key": map_line(weights={"edge": 1}),
    "the same map twice": map_line(id="first"),
}


@pytest.mark.parametrize("bad", BAD_MAPS.values(), ids=BAD_MAPS.keys())
def test_a_wrong_map_is_refused_by_its_number(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "maps.jsonl"
    path.write_text(json.dumps(map_line(id="first")) + "\n" + json.dumps(bad) + "\n")

    with pytest.raises(BadRequest, match="line 2: "):
        requests.read_maps(path)
