"""docs/ci.md and action.yml: as the published schemas want them, and run for real."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import junitparser
import orjson
import pytest
import yaml

from tests.support.ci_workflows import ACTION, BIN, ROOT, documented
from tests.support.fixtures_ssh import Servers
from tests.support.processes import alive
from tests.support.ssh_server import Home
from tests.support.team import Team

PLAN, APPLY, GITLAB = ".github/workflows/plan.yml", ".github/workflows/apply.yml", ".gitlab-ci.yml"
INSTALLED = ("Install",)
"""What most tests need not do: this environment has the program."""


# --- as published -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("github-actions", ""),
        ("github-workflows", PLAN),
        ("github-workflows", APPLY),
        ("gitlab-ci", GITLAB),
    ],
)
def test_files_are_as_the_published_schemas_want_them(
    tmp_path: Path, schema: str, name: str
) -> None:
    path = ACTION
    if name:
        path = tmp_path / Path(name).name
        text = (ROOT / "docs" / "ci.md").read_text()
        (block,) = re.findall(rf"^```yaml\n# {re.escape(name)}\n(.*?)^```", text, re.DOTALL | re.M)
        path.write_text(block)

    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", path],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    return found


def test_no_text_of_others_becomes_a_part_of_a_script() -> None:
    scripts = [step["run"] for step in steps() if "run" in step]

    assert len(scripts) >= 6
    assert [script for script in scripts if "${{" in script] == []


def test_only_two_actions_of_others_are_used_and_each_has_a_version() -> None:
    jobs = [job for name in (PLAN, APPLY) for job in documented(name)["jobs"].values()]
    used = [
        step["uses"]
        for step in (*steps(), *(s for job in jobs for s in job["steps"]))
        if "uses" in step
    ]

    assert {each.split("@")[0] for each in used} == {
        "actions/checkout",
        "actions/setup-python",
        "OWNER/cosmos-jobs",
    }
    assert all(re.search(r"@v\d", each) for each in used)


def test_workflows_may_do_no_more_than_they_must() -> None:
    plan, apply = documented(PLAN), documented(APPLY)

    assert plan["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert apply["permissions"] == {"contents": "read"}
    (_, ours) = plan["jobs"]["plan"]["steps"]
    # What reads the state there, of no pull request from elsewhere; nothing is started.
    assert {key for key, value in ours["with"].items() if "secrets." in value} == {
        "ssh-key",
        "known-hosts",
    }
    assert "apply" not in ours["with"]
    assert apply["concurrency"] == {"group": "cosmos-jobs", "cancel-in-progress": "false"}
    inputs = yaml.safe_load(ACTION.read_text())["inputs"]
    given = [
        step["with"].keys()
        for one in (plan, apply)
        for job in one["jobs"].values()
        for step in job["steps"]
        if step["uses"].startswith("OWNER/")
    ]
    assert len(given) == 2
    assert all(each <= inputs.keys() for each in given)


# --- run for real -------------------------------------------------------------------------


@pytest.fixture
def team(tmp_path: Path, ssh_home: Home, ssh_servers: Servers) -> Iterator[Team]:
    """Return a team's project, its server, and where comments are written."""
    ssh_servers("gpu-1")
    team = Team(tmp_path, ssh_home, "gpu-1")
    yield team
    team.end_agents()


def test_a_pull_request_gets_one_comment_and_a_merge_makes_what_it_said(team: Team) -> None:
    team.configure(state={"target": "gpu"})
    team.push()
    team.ann.sweep(3)
    team.push("sweep")
    runner = team.runner()
    pull_request = {"changed_since": "origin/main", "comment": "true", **team.secrets()}

    first = runner.run(skip=(), **pull_request)
    commented = team.comments.all()
    team.ann.sweep(4)
    team.push()
    runner.shell("git pull --quiet", {})
    second = runner.run(skip=INSTALLED, **pull_request)
    planned = dict(runner.outputs)
    merged = runner.run(skip=INSTALLED, apply="true", junit="reports/cosmos.xml", **team.secrets())
    agent = runner.env["SSH_AGENT_PID"]
    another = team.runner("another")
    again = another.run(skip=INSTALLED, **pull_request)

    assert (first, second, merged, again) == (0, 0, 0, 0), runner.said + another.said
    assert ["### Plan: 3 to run" in each for each in commented] == [True]
    assert planned["changes"] == "true"
    summary = (runner.temp / "STEP_SUMMARY").read_text()
    assert re.findall("### Plan: . to run", summary) == [f"### Plan: {n} to run" for n in (3, 4, 4)]
    assert len(team.stand_in.made()) == 4
    suites = junitparser.JUnitXml.fromfile(str(runner.checkout / "reports" / "cosmos.xml"))
    assert [(one.tests, one.failures, one.skipped) for one in suites] == [(4, 0, 0)]
    # A machine that has never seen any of it knows that all is made, and says so in the comment.
    assert another.outputs["changes"] == "false"
    assert ["### Plan: nothing to do" in each for each in team.comments.all()] == [True]
    assert not alive(int(agent))


def test_a_shared_state_that_cannot_be_reached_ends_the_job(team: Team) -> None:
    team.configure(state={"target": "gpu"})
    team.push()
    runner = team.runner()

    code = runner.run(skip=INSTALLED, comment="true")

    assert code == 4
    assert "there is no machine called gpu-1" in runner.said
    assert team.comments.all() == []


def test_work_that_takes_longer_goes_on_after_the_job(team: Team) -> None:
    team.ann.sweep(2, "They HANG")
    team.push()
    runner = team.runner()

    code = runner.run(skip=INSTALLED, apply="true", timeout="1s", **team.secrets())
    begun = len(team.stand_in.lines("begin"))
    runner.shell("cosmos-jobs cancel --all --yes", {"HOME": str(team.home.folder)})

    assert code == 0, runner.said
    assert runner.outputs["in-flight"] == "true"
    assert "::warning::Work goes on after 1s" in runner.said
    assert begun == 1


def test_a_mistake_annotates_the_file_and_ends_the_job(team: Team) -> None:
    team.ann.job.write_text(team.ann.job.read_text().replace('"prompts"', '"promts"'))
    team.push()
    runner = team.runner()

    code = runner.run(skip=INSTALLED, comment="true", apply="true")

    assert code == 3
    assert "::error file=jobs/small.yaml,line=1" in runner.said
    assert team.comments.calls() == ""
    assert team.stand_in.made() == []


def test_a_run_that_fails_ends_the_job(team: Team) -> None:
    team.ann.sweep(1, "They FAIL")
    team.push()

    for name, timeout in (("one", ""), ("two", "5m")):
        runner = team.runner(name)
        assert runner.run(skip=INSTALLED, apply="true", timeout=timeout, **team.secrets()) == 1


@pytest.mark.parametrize("fork", [True, False])
def test_a_pull_request_of_a_fork_has_its_plan_in_the_summary(team: Team, fork: bool) -> None:
    runner = team.runner()
    if fork:
        runner.context["github.event.pull_request.head.repo.full_name"] = "else/films"

    code = runner.run(skip=INSTALLED, comment="true")

    assert code == 0
    assert bool(team.comments.all()) == (not fork)
    assert "### Plan: 2 to run" in (runner.temp / "STEP_SUMMARY").read_text()


@pytest.mark.parametrize("name", ["files", "changed_since", "target", "project"])
def test_an_input_is_never_a_command_and_never_an_option(team: Team, name: str) -> None:
    for evil in ('"; touch pwned; "', "$(touch pwned)", "--out=pwned", "`touch pwned`\n-o\npwned"):
        runner = team.runner(f"runner {abs(hash(evil))}")

        code = runner.run(skip=INSTALLED, apply="true", **{name: evil})

        assert code == 2, runner.said
        assert list(runner.checkout.rglob("pwned")) == []


def test_gitlab_gets_one_note_and_a_merge_makes_what_it_said(team: Team) -> None:
    jobs = documented(GITLAB)
    team.configure(state={"target": "gpu"})
    team.push()
    team.ann.sweep(3)
    team.push("sweep")
    runner = team.runner()
    secrets = {name: runner.temp / name for name in ("GPU_SSH_KEY", "GPU_KNOWN_HOSTS")}
    given = team.secrets()
    secrets["GPU_SSH_KEY"].write_text(given["ssh_key"])
    secrets["GPU_KNOWN_HOSTS"].write_text(given["known_hosts"])
    (runner.home / ".ssh").mkdir(mode=0o700)
    (runner.home / ".ssh" / "config").write_text(team.ssh_config())
    env = {
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_API_V4_URL": "https://git.example.org/api/v4",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "7",
        "COMMENT_TOKEN": "glpat-0123456789abcdefghij",
        **{name: str(path) for name, path in secrets.items()},
    }
    install, connect = jobs["default"]["before_script"]
    ends = "ssh-agent -k > /dev/null"
    plan, apply = ("\n".join([connect, *jobs[name]["script"], ends]) for name in ("plan", "apply"))

    codes = [runner.shell(script, env) for script in (plan, plan, apply)]

    assert install.startswith("pip install ")
    assert codes == [0, 0, 0], runner.said
    assert ["### Plan: 3 to run" in each for each in team.comments.all()] == [True]
    calls = [orjson.loads(line) for line in team.comments.calls().splitlines()]
    assert [each[each.index("--request") + 1] for each in calls if "--request" in each] == [
        "POST",
        "PUT",
    ]
    assert env["COMMENT_TOKEN"] not in team.comments.calls()
    assert (team.comments.folder / "header").read_text() == f"PRIVATE-TOKEN: {env['COMMENT_TOKEN']}"
    assert len(team.stand_in.made()) == 3
    report = junitparser.JUnitXml.fromfile(str(runner.checkout / "cosmos-jobs.xml"))
    assert [one.tests for one in report] == [3]
