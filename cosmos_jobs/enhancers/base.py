"""How prompts are written in more detail: the protocol of every enhancer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cosmos_jobs.core.run import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt that is to be written in more detail, with an id of the caller's own.

    `video` is its color video on this machine, of the content `sha256`; None where there is none.
    """

    id: str
    text: str
    negative: str = ""
    video: Path | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: a `text`, or "" and the `reason` why there is none.

    Where the text is the one that was given, the reason says why it was left as it is.
    """

    text: str = ""
    reason: str = ""


class Enhancer(Protocol):
    """Writes prompts in more detail.

    One of an entry point `cosmos_jobs.enhancers` is made as
    ``factory(settings, messenger)``: a project's EnhancerSettings and a Messenger.
    """

    @property
    def name(self) -> str:
        """What made a text, as the store and readers have it: `openai:gpt-4o`."""
        ...

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """All that makes its texts other ones: model, temperature, version; nothing secret."""
        ...

    @property
    def is_free(self) -> bool:
        """Whether it costs neither money nor GPU time, so that a dry run may call it."""
        ...

    def enhance(self, requests: Sequence[Request]) -> Iterator[tuple[str, Answer]]:
        """Yield an answer to every request, behind its id, as they come.

        What is wrong with one is its own answer. Blocks in between. Raises
        EngineError when it can answer none (not installed, no key, no such
        model), HostError for a machine.
        """
        ...
