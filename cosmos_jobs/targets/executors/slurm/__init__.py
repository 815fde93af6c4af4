"""Batches as elements of job arrays of a Slurm cluster, whose login node is the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_jobs.config.project import Slurm, Target
from cosmos_jobs.targets.executors.base import Executor, Kind, Say, Traits
from cosmos_jobs.targets.executors.slurm import doctor, script

if TYPE_CHECKING:
    from cosmos_jobs.targets.executors.batch_dir import BatchDirectory


def settings(target: Target) -> Slurm:
    """Return what the cluster of a target is asked for."""
    return target.slurm or Slurm()


def traits(target: Target) -> Traits:
    """Return what work on a target's cluster is like."""
    slurm = settings(target)
    return Traits(
        slots=slurm.max_running,
        at_once=slurm.array_limit,
        queues_elsewhere=True,
        gives_gpus=True,
        retries_lost=True,
    )


def _open(batches: BatchDirectory, target: Target, say: Say) -> Executor:
    # It brings asyncio, which whoever only plans has no need of.
    from cosmos_jobs.targets.executors.slurm.executor import SlurmExecutor

    return SlurmExecutor(batches, target, say)


KIND = Kind(
    traits=traits,
    open=_open,
    head=lambda target: script.head(settings(target)),
    questions=lambda target: doctor.questions(settings(target)),
    judged=lambda target, found: doctor.judged(target.root, settings(target), found),
)
