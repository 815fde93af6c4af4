"""Operations that have prompts written in more detail."""

from __future__ import annotations

from cosmos_jobs.operations.base import Base


class Enhancing(Base):
    """What can be done with a prompt's words."""
