"""What continuous integration does with a project: plans in pull requests, events, reports."""

from __future__ import annotations

import subprocess

from cosmos_jobs.render import markdown

from .conftest import Project

# --- plans --------------------------------------------------------------------------------


def test_a_plan_is_a_comment_for_a_pull_request(project: Project) -> None:
    subprocess.run(["git", "init", "-q", str(project.root.parent)], check=True)

    first = project.run("plan", "--format", "markdown").stdout
    project.edit("golden hour", "noon")
    second = project.run("plan", "--format", "markdown").stdout

    assert "### Plan: 8 to run" in first
    assert "| <code>jobs/small.yaml</code> | preview |" in first
    assert first.splitlines()[0] == second.splitlines()[0] == markdown.marker(project.root.name)
