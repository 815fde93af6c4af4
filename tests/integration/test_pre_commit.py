"""The hook for pre-commit, as a user has it: installed from this repository, asked by git."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .test_changes import Repository

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
JOB = "version: 1\nname: small\nvideos: {a: clips/a}\nprompts: {golden: A pier}\n"


def sources(folder: Path) -> Repository:
    """Return a repository of our own files as they are now."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    made = Repository(folder)
    made.git("init", "--quiet", "--initial-branch", "main")
    return made


def test_git_commits_no_job_file_that_is_wrong(tmp_path: Path) -> None:
    ours = sources(tmp_path / "cosmos-jobs")
    theirs = Repository(tmp_path / "theirs")
    clip = ours.root / "inputs" / "videos" / "pier" / "color.mp4"
    theirs.write("jobs/small.yaml", JOB.replace("prompts", "promts"))
    theirs.write("clips/a/README", "a clip")
    shutil.copy(clip, theirs.root / "clips" / "a" / "color.mp4")
    theirs.write(
        ".pre-commit-config.yaml",
        f"repos: [{{repo: '{ours.root}', rev: {ours.commit()},"
        " hooks: [{id: cosmos-jobs-validate}]}]\n",
    )
    theirs.git("init", "--quiet")
    theirs.git("add", "--all")
    env = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "pre-commit", "run", "--color=never"],
            cwd=theirs.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=900,
        )

    refused = run()
    theirs.write("jobs/small.yaml", JOB)
    theirs.git("add", "--all")
    passed = run()

    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "did you mean `prompts`" in refused.stdout
    assert (passed.returncode, passed.stderr) == (0, "")
    assert passed.stdout.startswith("validate job files")
    assert "Passed" in passed.stdout
