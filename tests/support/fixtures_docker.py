"""Fixtures: a real Docker engine for the whole session, and ones that a test may stop.

Test modules load it: `pytest_plugins = ["tests.support.fixtures_docker"]`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.docker_engine import Dockerd, missing
from tests.support.needs import need

Engines = Callable[..., Dockerd]


@pytest.fixture(scope="session")
def docker_here() -> None:
    """Skip where there is no Docker; in CI that is a failure."""
    need(missing())


@pytest.fixture(scope="session")
def docker_of_all(docker_here: None) -> Iterator[Dockerd]:
    """Return the Docker engine that tests share."""
    with Dockerd(_short_folder()) as engine:
        yield engine


@pytest.fixture
def dockerd(docker_of_all: Dockerd, monkeypatch: pytest.MonkeyPatch) -> Dockerd:
    """Return a Docker engine without containers; it is the one of this process."""
    for name in docker_of_all.containers():
        docker_of_all.run("rm", "--force", name)
    monkeypatch.setenv("DOCKER_HOST", docker_of_all.host)
    return docker_of_all


@pytest.fixture
def dockerds(docker_here: None) -> Iterator[Engines]:
    """Return how to start an engine of one's own, given more options of dockerd."""
    with ExitStack() as stack:

        def start(*options: str) -> Dockerd:
            return stack.enter_context(Dockerd(_short_folder(), *options))

        yield start


def _short_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="docker-"))
