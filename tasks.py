"""What developers do: `invoke --list`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

PYTHON = sys.executable
HERE = Path(__file__).parent

SPREAD = "--dist loadfile --no-loadscope-reorder"
"""By files: tests of one share its servers, and no process starts an engine of Docker for two."""

EVERY = (f"-n 3 {SPREAD} --ignore tests/faults", f"-n 2 {SPREAD} tests/faults")
"""For two processors: most wait more than they compute; those of faults watch how quickly things
are found again."""

PROGRAMS = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "flock": "util-linux",
    "mount": "mount",
    "ps": "procps",
    "git": "git",
    "rsync": "rsync",
    "chromium": "chromium",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
}
"""What the tests and benchmarks call, each with Debian's package of it."""


@task(help={"options": "More options of pytest."})
def test(context: Context, options: str = "") -> None:
    """Run all tests, or with `--options` those that pytest then selects."""
    for run in (options,) if options else EVERY:
        context.run(f"{PYTHON} -m pytest {run}", pty=sys.stdout.isatty())


@task(help={"part": "A part of tests/support/campaigns.py, as kills or cuts; else all."})
def campaign(context: Context, part: str = "") -> None:
    """Try often what `check` tries a few times: random batches, kills, cuts."""
    chosen = f"campaign(part='{part}')" if part else "campaign"
    context.run(f'{PYTHON} -m pytest -n 3 {SPREAD} -m "{chosen}"', pty=sys.stdout.isatty())


@task
def check(context: Context) -> None:
    """Run everything that CI runs, quickest first."""
    context.run(f"{PYTHON} -m ruff format --check .")
    context.run(f"{PYTHON} -m ruff check .")
    context.run(f"{PYTHON} -m mypy")
    context.run("lint-imports" if not _beside("lint-imports") else str(_beside("lint-imports")))
    test(context)


@task(help={"part": "core, preview, report, ssh, slurm or path; else all."})
def bench(context: Context, part: str = "") -> None:
    """Measure speed and memory against the goals; prints ratios."""
    context.run(f"{PYTHON} -m benchmarks {part}", pty=sys.stdout.isatty())


@task
def samples(context: Context) -> None:
    """Render the sample videos and the pictures of the documents anew."""
    from samples import picture, scenes, screenshot

    videos = HERE / "inputs" / "videos"
    scenes.render(videos)
    picture.draw(videos, HERE / "docs" / "preview.jpg")
    screenshot.draw(HERE, HERE / "docs" / "report.jpg")


@task
def provision(context: Context) -> None:
    """Install what the tests need beside Python packages; on Debian, as root."""
    lacking = {each: package for each, package in PROGRAMS.items() if not _installed(each)}
    if not lacking:
        print(f"nothing to install: {', '.join(PROGRAMS)} are there")
        return
    packages = " ".join(sorted(set(lacking.values())))
    print(f"missing: {', '.join(lacking)}")
    if not _installed("apt-get") or os.geteuid() != 0:
        print(f"install them by hand; on Debian or Ubuntu: sudo apt-get install {packages}")
        print("until then, the tests that need them are skipped")
        return
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    install = "apt-get install -q -y --no-install-recommends"
    context.run("apt-get update -q", env=quietly, echo=True)
    context.run(f"{install} {packages}", env=quietly, echo=True)
    if not _installed("docker"):
        # In Debian 13 the client is a package of its own.
        context.run(f"{install} docker-cli", env=quietly, echo=True)


def _installed(program: str) -> bool:
    """Return whether a program is there, perhaps where only root looks for it."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return shutil.which(program, path=places) is not None


def _beside(program: str) -> Path | None:
    """Return a program of the environment that runs us, whether it is active or not."""
    path = Path(PYTHON).with_name(program)
    return path if path.exists() else None
