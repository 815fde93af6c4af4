"""Prompts and runs as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from cosmos_jobs.checks.registry import Measured
from cosmos_jobs.core.record import PromptRecord, Record
from cosmos_jobs.core.run import Run


def prompt_document(record: PromptRecord) -> dict[str, object]:
    """Return a prompt as JSON has it."""
    return {
        **asdict(record.prompt),
        "name": record.name,
        "video": record.video,
        "files": dict(record.files),
        "frames": record.frames,
        "parent": record.parent or None,
        "enhancer": record.enhancer or None,
    }


def run_document(
    record: Record, video: Path, measured: Mapping[str, Measured]
) -> dict[str, object]:
    """Return a run as JSON has it, with its video's place and what was measured of it."""
    return {
        **{each.name: getattr(record.run, each.name) for each in fields(Run)},
        "jobs": dict(record.jobs),
        "state": str(record.state),
        "reason": record.reason,
        "rating": record.rating,
        "note": record.note,
        # orjson writes dataclasses itself, many times faster than asdict.
        "attempts": record.attempts,
        "output": {"path": str(video), **asdict(record.output)} if record.output else None,
        "metrics": dict(measured[record.run.id].values) if record.run.id in measured else {},
    }
