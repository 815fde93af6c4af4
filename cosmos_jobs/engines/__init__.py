"""The engines: how a model is called. None knows another."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cosmos_jobs.engines.base import Engine
from cosmos_jobs.errors import EngineError


def _preview() -> Engine:
    from cosmos_jobs.engines.preview.engine import PreviewEngine

    return PreviewEngine()


def _transfer1() -> Engine:
    from cosmos_jobs.engines.transfer1 import Transfer1Engine

    return Transfer1Engine()


def _transfer2_5() -> Engine:
    from cosmos_jobs.engines.transfer2_5 import Transfer25Engine

    return Transfer25Engine()


def _cosmos3() -> Engine:
    from cosmos_jobs.engines.cosmos3 import Cosmos3Engine

    return Cosmos3Engine()


_ENGINES: Mapping[str, Callable[[], Engine]] = {
    "preview": _preview,
    "transfer1": _transfer1,
    "transfer2.5": _transfer2_5,
    "cosmos3": _cosmos3,
}


def get(name: str) -> Engine:
    """Return the engine that job files call `name`; EngineError when there is none."""
    if name not in _ENGINES:
        raise EngineError(
            f"there is no engine `{name}`", hint=f"the engines are {', '.join(_ENGINES)}"
        )
    return _ENGINES[name]()
