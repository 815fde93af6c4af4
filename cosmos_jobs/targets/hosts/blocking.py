"""An event loop in a thread of its own, for the store, which waits for what it asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Does asynchronous work for synchronous callers, who may have an event loop themselves."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether anything was ever done."""
        return self._thread is not None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work to its end; a caller who is interrupted ends it."""
        doing = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return doing.result()
        except BaseException:
            doing.cancel()
            raise

    def stop(self) -> None:
        """End the thread."""
        with self._guard:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: nobody waits for it at the end of the program.
                self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
                self._thread.start()
            return self._loop
