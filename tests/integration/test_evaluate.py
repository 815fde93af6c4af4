"""Videos are measured once, beside their input as the engine saw it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cosmos_jobs.artifacts import video_writer
from cosmos_jobs.core import atomic
from cosmos_jobs.operations import WorkflowOperations
from tests.support import made_projects

JOB = """\
version: 1
name: seeds
engine: transfer2.5
videos: {pier: input}
prompts: {golden: A pier at golden hour}
weights: {edges: {edge: 1}}
params: {seed: [1, 2, 3]}
"""
COUNT = 6


def pictures(seed: int, count: int = COUNT) -> Iterator[NDArray[np.uint8]]:
    """Yield a square that moves over a smooth ground; another `seed` has another ground."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    ground = np.asarray(cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC), np.uint8)
    for number in range(count):
        picture = ground.copy()
        picture[60:140, 80 + 4 * number : 160 + 4 * number] = (230, 20, 20)
        yield picture


def film(path: Path, frames: Iterator[NDArray[np.uint8]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer.Writer(path, (320, 240), Fraction(24), video_writer.VIEWING) as writer:
        for each in frames:
            writer.write(np.asarray(cv2.cvtColor(each, cv2.COLOR_RGB2YUV_I420), np.uint8))
    return path


@pytest.fixture
def ops(tmp_path: Path) -> WorkflowOperations:
    """Return a project of three seeds: the input itself, the same again, and another scene."""
    root = tmp_path / "project"
    film(root / "input" / "color.mp4", pictures(1))
    film(root / "input" / "depth.mp4", pictures(1))
    outputs = {
        f"golden/edges-seed{seed}": film(tmp_path / f"{seed}.mp4", pictures(scene))
        for seed, scene in ((1, 1), (2, 1), (3, 7))
    }
    return made_projects.project(root, JOB, outputs)


def test_what_is_the_input_scores_best_and_all_is_measured_once(ops: WorkflowOperations) -> None:
    told: list[tuple[int, int]] = []

    records, first = ops.evaluate((), lambda done, total: told.append((done, total)))
    again = ops.evaluate(("seeds",), lambda done, total: told.append((done, total)))[1]

    same, _, other = (first[each.run.id].values for each in records)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert again == first == ops.measured(records)
    assert same["edge_f1"] == 1 and same["blur_ssim"] == pytest.approx(1)
    assert other["edge_f1"] < 0.95 and other["blur_ssim"] < 0.8
    assert same["flicker"] < 0.03
    assert [each.run.id for each in ops.ranked(records, "edge_f1")][-1] == records[2].run.id


def test_diversity_is_among_the_seeds_of_otherwise_the_same_run(ops: WorkflowOperations) -> None:
    records, found = ops.evaluate()

    same, again, other = (found[each.run.id].values["diversity"] for each in records)
    assert same == pytest.approx(again)
    assert 0.05 < same < other


def test_depth_is_measured_once_somebody_put_the_outputs_own_map_there(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    records, before = ops.evaluate()
    run_id = records[0].run.id
    folder = ops.outputs.folder(run_id)

    atomic.link(tmp_path / "3.mp4", folder / "maps" / "depth.mp4")
    after = ops.evaluate((run_id,))[1]

    assert before[run_id].why == {
        "depth_si_rmse": "the output has no depth map; put one beside it, as maps/depth.mp4",
        "seg_boundary_f1": "the input has no segmentation map",
    }
    assert after[run_id].values["depth_si_rmse"] > 0.1


def test_an_input_that_changed_is_not_compared_with_and_nothing_of_it_is_kept(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    color = ops.project.root / "input" / "color.mp4"
    whole = color.read_bytes()
    film(color, pictures(9))

    records, without = ops.evaluate()
    color.write_bytes(whole)
    with_it = ops.evaluate()[1]

    run_id = records[0].run.id
    assert without[run_id].why["edge_f1"] == "the input video is not there as it was"
    assert without[run_id].values["sharpness"] > 0
    assert with_it[run_id].values["edge_f1"] == 1


def test_a_damaged_video_says_so_and_the_others_are_measured(ops: WorkflowOperations) -> None:
    broken = ops.select(("seeds",), {each.state for each in ops.list_runs()})[0]
    (ops.outputs.folder(broken) / "output.mp4").write_bytes(b"no video")

    _, found = ops.evaluate()

    assert found[broken].values == {}
    assert "cannot be read" in found[broken].why["edge_f1"]
    assert sum(bool(each.values) for each in found.values()) == 2


@pytest.mark.skipif(
    not made_projects.RECORDING.is_dir(), reason=f"there is no {made_projects.RECORDING}"
)
def test_real_outputs_keep_to_edges_as_their_weights_say(tmp_path: Path) -> None:
    videos = {
        f"kitchen/{name}": made_projects.REAL_OUTPUTS / f"{name}.mp4"
        for name in ("edge_only", "uniform_weights")
    }
    ops = made_projects.project(tmp_path / "project", made_projects.HANDOVER, videos)

    records, found = ops.evaluate()

    by_label = {each.jobs["handover"].split("/")[1]: found[each.run.id].values for each in records}
    assert by_label["edge_only"]["edge_f1"] > 1.5 * by_label["uniform_weights"]["edge_f1"]
    assert by_label["edge_only"]["blur_ssim"] < by_label["uniform_weights"]["blur_ssim"]
