"""Operations on all that was made: find it, rate it, check it, carry it elsewhere, delete it."""

from __future__ import annotations

from cosmos_jobs.operations.jobs import JobFiles


class Library(JobFiles):
    """What can be done with what has gathered in a project."""
