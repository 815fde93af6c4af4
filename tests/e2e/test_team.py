"""A team with a bare repository, clones, CI as docs/ci.md has it, and one GPU host."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from tests.conftest import Golden
from tests.integration.test_changes import Repository
from tests.support.ci_workflows import Runner
from tests.support.fixtures_ssh import Servers
from tests.support.project import frames
from tests.support.remote_project import Remote
from tests.support.ssh_server import Home
from tests.support.team import Team, push

PLAN, APPLY = ".github/workflows/plan.yml", ".github/workflows/apply.yml"
INSTALLED = ("Install",)
COMMENT = Path(__file__).parent / "golden" / "pull-request.md"


@pytest.fixture
def team(tmp_path: Path, ssh_home: Home, ssh_servers: Servers) -> Iterator[Team]:
    """Return a team whose state is on its GPU host, where a run takes half a second."""
    ssh_servers("gpu-1")
    team = Team(tmp_path, ssh_home, "gpu-1", seconds=0.5)
    team.configure(state={"target": "gpu"})
    team.push()
    yield team
    team.end_agents()


def machine(team: Team, name: str, branch: str = "main") -> Runner:
    """Return a machine of CI with the secrets that docs/ci.md lists, and no state of its own."""
    runner = team.runner(name, branch)
    given = team.secrets()
    runner.context |= {
        "github.base_ref": "main",
        "secrets.GPU_SSH_KEY": given["ssh_key"],
        "secrets.GPU_KNOWN_HOSTS": given["known_hosts"],
    }
    (runner.home / ".ssh").mkdir(mode=0o700)
    (runner.home / ".ssh" / "config").write_text(given["ssh_config"])
    return runner


def night(bob: Remote) -> None:
    """Write a job of bob's: two of its four runs are also those of ann's sweep."""
    job = orjson.loads(bob.job.read_bytes())
    job |= {"name": "night", "params": {"resolution": "256", "seed": [5, 6, 7, 8]}}
    bob.job.with_name("night.yaml").write_bytes(orjson.dumps(job))


def videos(project: Remote) -> dict[str, bytes]:
    found = project.root.glob("outputs/runs/*/output.mp4")
    return {each.parent.name: each.read_bytes() for each in found}


def test_a_team_reviews_merges_fetches_and_restores(team: Team, golden: Golden) -> None:
    # A pull request adds a sweep: its comment says what merging it would run.
    team.ann.sweep(6)
    team.push("sweep")
    reviewing = machine(team, "reviewing", "sweep")
    assert reviewing.workflow(PLAN, INSTALLED) == 0, reviewing.said
    (comment,) = team.comments.all()
    golden(COMMENT, re.sub("rs_[0-9a-f]{16}", "rs_…", comment))
    assert team.stand_in.lines("begin") == []

    # Two merges, whose jobs run at once: what is in both is made once.
    bob = team.clone("bob")
    night(bob)
    push(Repository(bob.root))
    second = machine(team, "second")
    team.git.git("switch", "--quiet", "main")
    team.git.git("pull", "--quiet")
    team.git.git("merge", "--quiet", "--no-edit", "sweep")
    push(team.git)
    first = machine(team, "first")
    with ThreadPoolExecutor(2) as threads:
        codes = [*threads.map(lambda each: each.workflow(APPLY, INSTALLED), (first, second))]
    assert codes == [0, 0], first.said + second.said
    made = Counter(team.stand_in.made())
    assert len(made) == 8
    assert set(made.values()) == {1}

    # A laptop that never ran anything sees that all is made, and fetches it.
    laptop = team.clone("laptop")
    assert "Nothing to do: 10 runs of 2 job files are up to date." in laptop.run("plan").stdout
    assert videos(laptop) == {}
    laptop.run("fetch")
    assert videos(laptop).keys() == made.keys()
    assert {frames(each) for each in laptop.root.glob("outputs/night/golden/*.mp4")} == {2}
    laptop.run("verify")

    # The state is damaged: nothing goes on with it until it is restored, as it is told.
    state = team.root / "state" / "state.json"
    state.write_bytes(state.read_bytes()[:-100])
    ruined = machine(team, "ruined")
    assert ruined.workflow(APPLY, INSTALLED) == 4
    told = laptop.run("plan", exit_code=4).stderr
    assert re.findall("cosmos-jobs state .*", told) == [
        "cosmos-jobs state pull --backup > old.json",
        "cosmos-jobs state push --force old.json",
    ]
    (laptop.root / "old.json").write_text(laptop.run("state", "pull", "--backup").stdout)
    laptop.run("state", "push", "--force", "old.json")
    laptop.run("adopt")

    assert laptop.summary() == {"keep": 10}
    last = machine(team, "last")
    assert last.workflow(APPLY, INSTALLED) == 0, last.said
    assert Counter(team.stand_in.made()) == made
