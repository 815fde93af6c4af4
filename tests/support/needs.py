"""What tests need of the machine: without it they are skipped, and in CI they fail."""

from __future__ import annotations

import os

import pytest


def need(lacks: str) -> None:
    """Skip a test where the machine `lacks` something; where it lacks nothing, go on."""
    if not lacks:
        return
    if os.environ.get("CI"):
        pytest.fail(lacks)
    pytest.skip(lacks)
