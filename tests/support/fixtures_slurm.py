"""Fixtures: a real Slurm cluster for the whole session, and ones that a test may stop.

Test modules load it: `pytest_plugins = ["tests.support.fixtures_slurm"]`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.slurm_cluster import Cluster, missing

Clusters = Callable[..., Cluster]


@pytest.fixture(scope="session")
def slurm_here() -> None:
    """Skip where there is no Slurm; in CI that is a failure."""
    need(missing())


@pytest.fixture(scope="session")
def slurm_of_all(slurm_here: None) -> Iterator[Cluster]:
    """Return the cluster that tests share."""
    with Cluster(_short_folder()) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_of_all: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster whose jobs have all ended; it is the one of this process."""
    slurm_of_all.calm()
    monkeypatch.setenv("SLURM_CONF", str(slurm_of_all.config))
    yield slurm_of_all
    slurm_of_all.calm()


@pytest.fixture
def clusters(slurm_here: None) -> Iterator[Clusters]:
    """Return how to start a cluster of one's own, given lines of slurm.conf."""
    with ExitStack() as stack:

        def start(*lines: str) -> Cluster:
            return stack.enter_context(Cluster(_short_folder(), *lines))

        yield start


def _short_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="slurm-"))
