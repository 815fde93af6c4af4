"""Find prompts by a part of their text or name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from cosmos_jobs.core.record import PromptRecord


def matching(records: Iterable[PromptRecord], query: str) -> tuple[PromptRecord, ...]:
    """Return the prompts whose text or name has `query` in it, in their order.

    Upper and lower case are the same, in every script; white space of any
    kind and length is one blank; no character has a meaning of its own.
    """
    wanted = _folded(query)
    return tuple(
        each
        for each in records
        if wanted in _folded(each.prompt.text) or wanted in _folded(each.name)
    )


def _folded(text: str) -> str:
    # Folding may undo NFC (Unicode 3.13, D145), so it is normalised last.
    return unicodedata.normalize("NFC", " ".join(text.split()).casefold())
