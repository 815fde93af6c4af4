"""What developers do: `invoke --list`."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

PYTHON = sys.executable
HERE = Path(__file__).parent


@task(help={"options": "More options of pytest."})
def test(context: Context, options: str = "") -> None:
    """Run all tests."""
    context.run(f"{PYTHON} -m pytest {options}", pty=sys.stdout.isatty())


@task
def check(context: Context) -> None:
    """Run everything that CI runs, quickest first."""
    context.run(f"{PYTHON} -m ruff format --check .")
    context.run(f"{PYTHON} -m ruff check .")
    context.run(f"{PYTHON} -m mypy")
    context.run("lint-imports" if not _beside("lint-imports") else str(_beside("lint-imports")))
    test(context)


@task(help={"part": "core, preview or ssh; else all."})
def bench(context: Context, part: str = "") -> None:
    """Measure speed and memory against the goals; prints ratios."""
    context.run(f"{PYTHON} -m benchmarks {part}", pty=sys.stdout.isatty())


@task
def samples(context: Context) -> None:
    """Render the sample videos and the picture of the README anew."""
    from samples import picture, scenes

    videos = HERE / "inputs" / "videos"
    scenes.render(videos)
    picture.draw(videos, HERE / "docs" / "preview.jpg")


@task
def provision(context: Context) -> None:
    """Install what the tests need beside Python packages: nothing so far."""
    print("nothing to install")


def _beside(program: str) -> Path | None:
    """Return a program of the environment that runs us, whether it is active or not."""
    path = Path(PYTHON).with_name(program)
    return path if path.exists() else None
