"""WorkflowOperations: the one interface of the command line and of Python users."""

from cosmos_jobs.operations.workflow import WorkflowOperations

__all__ = ["WorkflowOperations"]
