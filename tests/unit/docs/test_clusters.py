"""The page of clusters: what its examples submit is held by golden files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cosmos_jobs import engines
from cosmos_jobs.config import project, schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.batch import Setup, Task
from cosmos_jobs.targets.executors import launcher
from cosmos_jobs.targets.executors.slurm import script as arrays
from cosmos_jobs.targets.executors.slurm import states as job_states
from tests.conftest import Golden

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "clusters.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "clusters"
ENGINE = "transfer2.5"


def submitted(runtime: str) -> str:
    """Return what sbatch gets for the page's example, and how its elements start the engine."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (each for each in blocks if f"runtime: {runtime}" in each)
    target = project.parse(block.encode(), ROOT).targets["cluster"]
    installation = target.engines[ENGINE]
    prompt = identity.prompt("A pier at golden hour", "", {"color": "c" * 64})
    run = identity.run(prompt.id, schema.contract(ENGINE), {"edge": 1.0}, {"seed": 1})
    inputs = {"color": f"{target.root}/inputs/{'c' * 64}.mp4"}
    setup = Setup(
        target.python(ENGINE),
        f"{target.root}/cache",
        f"{target.root}/batches/ba_0123456789abcdef",
        installation.path,
        target.gpus_per_batch,
    )
    command = engines.get(ENGINE).command([Task(run, prompt, inputs)], setup)
    assert target.slurm is not None
    array = arrays.script("ca_0123456789abcdef", 4, target.slurm, 7200, "ann@laptop")
    engine = launcher.engine(command, installation, 7200)
    return f"{array}\n# How run.sh of each batch starts the engine:\n\n{engine}"


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_what_the_examples_submit_is_as_agreed(runtime: str, golden: Golden) -> None:
    script = submitted(runtime)

    golden(GOLDEN / f"{runtime}.sh", script)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_every_state_of_the_page_is_one_that_we_know() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| Slurm says |")[2].partition("\n\n")[0]
    states = set(re.findall(r"\b[A-Z_]{5,}\b", table.partition("\n|---")[2]))

    known = {*job_states.WAITING, *job_states.AT_WORK, *job_states.LOST, *job_states.FAILED}
    assert states - known == {"FAILED", "CANCELLED"}
