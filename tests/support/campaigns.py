"""How often a property that needs many tries is tried: a sample in `check`, all in a campaign.

A test of that kind bears `@pytest.mark.campaign(part=...)`, a part of PARTS, and
takes the fixture `times`. `invoke campaign` selects such tests by their marker
(`pytest -m campaign`), and that is when `times` is the whole number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """How often something is tried in a campaign, and in `check`."""

    whole: int
    sample: int


PARTS = {
    "kills": Size(50, 10),  # kill -9 of a local apply
    "remote-kills": Size(20, 6),  # kill -9 of an apply on a GPU host
    "cuts": Size(50, 12),  # of the connections of an apply
    "transfers": Size(8, 3),  # cut at any moment, there and back
    "writers": Size(200, 25),  # changes by each of eight writers of a shared state
    "killed-writers": Size(8, 4),  # writers of a shared state that are killed one by one
    "batches": Size(50, 12),  # random batches of each of the four ways to run a model
    "specs": Size(300, 60),  # random job files of each engine
    "starts": Size(20, 6),  # batches that are cancelled while they start
    "servers": Size(12, 4),  # batches of a warm server that are cancelled while it starts
}


def times(part: str, markers: str) -> int:
    """Return how often to try, given the expression by which pytest selects markers."""
    size = PARTS[part]
    return size.whole if markers.startswith("campaign") else size.sample
