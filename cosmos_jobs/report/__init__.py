"""The page to look at a sweep: a folder, or one file, that needs no server and no network."""

from __future__ import annotations

from cosmos_jobs.report.document import Job
from cosmos_jobs.report.write import Report

__all__ = ["Job", "Report"]
