"""What all tests share: `--update-golden` writes golden files anew instead of comparing them."""

from __future__ import annotations

import compileall
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import campaigns

Golden = Callable[[Path, str], None]

pytest_plugins = ["tests.support.fixtures_ssh", "tests.support.fixtures_states"]

# A busy machine is no failure, and CI tries the same examples each time; developers try new ones.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


LONGEST = (
    "test_models",
    "test_slurm_executor",
    "test_shared_state",
    "test_published",
    "test_published_trouble",
    "test_canaries",
    "test_remote",
    "test_report",
    "test_slurm",
    "test_crash",
    "test_choosing",
    "test_workflows",
    "test_apply",
    "test_library",
)
"""The files that take longest, which begin first, so that processes end at about the same time."""


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package, as pip does: it is started a thousand times, perhaps with `-B`."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parents[1] / "cosmos_jobs", quiet=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "write the golden files anew; look at the difference before committing it"
    parser.addoption("--update-golden", action="store_true", help=help_text)


@pytest.fixture
def times(request: pytest.FixtureRequest) -> int:
    """Return how often a test of a campaign is to try: see `tests.support.campaigns`."""
    marker = request.node.get_closest_marker("campaign")
    return campaigns.times(marker.kwargs["part"], request.config.getoption("markexpr"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with a golden file, or with `--update-golden` make it that file."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check
