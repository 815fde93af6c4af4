"""Batches as processes of the host itself, which lease its GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_jobs.config.project import Target
from cosmos_jobs.targets.executors.base import Executor, Kind, Say, Traits

if TYPE_CHECKING:
    from cosmos_jobs.targets.executors.batch_dir import BatchDirectory


def traits(target: Target) -> Traits:
    """Return what work on a target's own machines is like."""
    return Traits(
        slots=max(1, len(target.gpus) // target.gpus_per_batch),
        at_once=1,
        queues_elsewhere=False,
        gives_gpus=False,
        retries_lost=False,
    )


def _open(batches: BatchDirectory, target: Target, say: Say) -> Executor:
    # It brings asyncio, which whoever only plans has no need of.
    from cosmos_jobs.targets.executors.process.executor import ProcessExecutor

    return ProcessExecutor(batches, target)


KIND = Kind(traits=traits, open=_open)
