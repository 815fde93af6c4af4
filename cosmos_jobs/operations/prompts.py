"""Operations on single prompts: make them, and make their videos, without a job file."""

from __future__ import annotations

from cosmos_jobs.operations.flight import Flight


class Prompts(Flight):
    """What can be done with prompts."""
