"""The executors: how batches are queued on a host. None knows another."""

from __future__ import annotations

from collections.abc import Mapping

from cosmos_jobs.config.project import Target
from cosmos_jobs.targets.executors import process, slurm
from cosmos_jobs.targets.executors.base import Kind, Traits

EXECUTORS: Mapping[str, Kind] = {"process": process.KIND, "slurm": slurm.KIND}
"""Each under the name that cosmos-jobs.yaml calls it."""


def of(target: Target) -> Kind:
    """Return the kind of executor that a target has."""
    return EXECUTORS[target.executor]


def traits(target: Target) -> Traits:
    """Return what the executor of a target is like."""
    return of(target).traits(target)


def is_here(target: Target) -> bool:
    """Return whether batches of a target run on this machine, as processes of our own."""
    return not target.hosts and not traits(target).queues_elsewhere
