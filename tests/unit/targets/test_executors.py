"""Which executors there are, and what each is like, without a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cosmos_jobs.config import schema
from cosmos_jobs.config.project import Slurm, Target
from cosmos_jobs.targets import executors
from cosmos_jobs.targets.executors.base import Executor, Traits

PROCESS = Target("gpu", "/data/x", hosts=("gpu-1",), gpus=("0", "1", "2", "3"), gpus_per_batch=2)
CLUSTER = Target("cluster", "/x", ("login",), slurm=Slurm(max_running=32, array_limit=900))


def test_an_executor_has_five_members() -> None:
    members = {name for name in vars(Executor) if not name.startswith("_")}

    assert members == {"submit", "poll", "cancel", "judge", "traits"}


def test_every_executor_of_the_project_file_is_in_the_registry() -> None:
    asked = schema.load("project")["definitions"]["target"]["properties"]["executor"]["enum"]

    assert set(asked) == set(executors.EXECUTORS)


def test_a_machine_works_as_many_batches_as_its_gpus_take() -> None:
    assert executors.traits(PROCESS) == Traits(
        slots=2, at_once=1, queues_elsewhere=False, gives_gpus=False, retries_lost=False
    )


def test_a_cluster_takes_all_there_is_and_gives_gpus() -> None:
    assert executors.traits(CLUSTER) == Traits(
        slots=32, at_once=900, queues_elsewhere=True, gives_gpus=True, retries_lost=True
    )


@pytest.mark.parametrize(
    ("target", "is_here"),
    [
        (Target("local", "/x"), True),
        (PROCESS, False),
        (CLUSTER, False),
        (Target("here", "/x", slurm=Slurm()), False),
    ],
)
def test_only_our_own_processes_are_here(target: Target, is_here: bool) -> None:
    assert executors.is_here(target) is is_here


def test_a_script_by_hand_asks_a_cluster_for_what_a_batch_gets() -> None:
    asked = Slurm("gpu", gres="gpu:2", extra=("--qos=normal",))

    head = executors.of(CLUSTER).head(Target("c", "/x", slurm=asked))

    asks = ("partition=gpu", "gres=gpu:2", "qos=normal")
    assert list(head) == [f"#SBATCH --{each}" for each in asks]
    assert list(executors.of(PROCESS).head(PROCESS)) == []


def test_what_an_executor_is_like_is_told_without_asyncio() -> None:
    code = (
        "import sys; from cosmos_jobs.targets import executors; sys.exit('asyncio' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
