"""The engines: how a model is called. None knows another."""

from __future__ import annotations

from cosmos_jobs.errors import EngineError
from cosmos_jobs.protocols import Engine


def get(name: str) -> Engine:
    """Return the engine that job files call `name`; EngineError when there is none."""
    if name == "preview":
        from cosmos_jobs.engines.preview.engine import PreviewEngine

        return PreviewEngine()
    raise EngineError(
        f"this version of cosmos-jobs cannot run the engine `{name}` yet",
        hint="see what the model would be conditioned on: cosmos-jobs preview FILE",
    )
