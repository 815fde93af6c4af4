"""Work on a machine that leaves text in place of videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cosmos_jobs.core.batch import Command, Setup


@dataclass(frozen=True, slots=True)
class Errand:
    """Work for a machine of `target` that has `engine`, and that leaves text in place of videos.

    The same `key` is the same work: what was begun is joined, what was done is
    read. `files` are brought there, by sha256; `command` gets the setup and
    where they are, without those that could not be brought. The file `answer`
    below `out/` comes back. It may take `limit_s` seconds.
    """

    key: str
    engine: str
    target: str
    files: Mapping[str, Path]
    command: Callable[[Setup, Mapping[str, str]], Command]
    answer: str
    limit_s: int | None = None


Messenger: TypeAlias = Callable[[Errand], str]
"""Does an errand to its end and returns its answer.

Raises HostError when the machine cannot, EngineError when it leaves no answer.
"""
