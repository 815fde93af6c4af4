"""WorkflowOperations: the one interface of the command line and of Python users."""

from __future__ import annotations

from cosmos_jobs.operations.library import Library
from cosmos_jobs.operations.machines import Machines
from cosmos_jobs.operations.prompts import Prompts
from cosmos_jobs.operations.records import Records
from cosmos_jobs.operations.results import Results
from cosmos_jobs.operations.states import States

__all__ = ["WorkflowOperations"]


class WorkflowOperations(Prompts, Records, Library, Results, Machines, States):
    """Everything that can be done in a project; every method may be called again at any time."""
