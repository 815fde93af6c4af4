from __future__ import annotations

import inspect

import pytest

from cosmos_jobs.checks import image, registry
from cosmos_jobs.checks.evaluate import ranked
from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.core.record import State
from tests.support.examples import PLAIN, record, runs

ALL = (1 << 64) - 1


def test_diversity_is_the_mean_share_of_bits_that_differ() -> None:
    assert registry.diversity([[0, 0], [0, 0]]) == [0, 0]
    assert registry.diversity([[0], [ALL], [0]]) == [0.5, 1, 0.5]
    assert registry.diversity([[0, 0], [ALL, 0]]) == [0.5, 0.5]


def test_one_video_alone_has_no_diversity() -> None:
    assert registry.diversity([[1, 2]]) == [None]
    assert registry.diversity([[1], []]) == [None, None]


def test_every_metric_names_its_source_and_range_where_it_is_computed() -> None:
    computed = {**vars(registry), **vars(image)}
    names = {"seg_boundary_f1": "boundary_f1"}

    for metric in registry.METRICS:
        text = inspect.getdoc(computed[names.get(metric.name, metric.name)]) or ""
        assert "0–" in text or "-1–1" in text or "From 0 on" in text, metric.name
        assert "Source" in text or "Transfer1" in text, metric.name
        assert any(each in text for each in ("higher", "lower")), metric.name


@pytest.mark.parametrize(("metric", "best"), [("edge_f1", 1), ("flicker", 0)])
def test_the_best_run_is_first_and_what_is_not_measured_last(metric: str, best: int) -> None:
    made = [record(each, State.SUCCEEDED) for each in runs(PLAIN + "params: {seed: [1, 2]}\n")[:3]]
    low, high, none = (each.run.id for each in made)
    measured = {low: Measured({metric: 0.1}), high: Measured({metric: 0.9})}

    order = [each.run.id for each in ranked(made, measured, metric)]

    assert order == [(low, high)[best], (low, high)[1 - best], none]
