"""The thread that hears notices and passes them on to the keeper."""

from __future__ import annotations

import random
import threading
from typing import Final

import structlog
from redis import RedisError

from worlds.live.keeper import Keeper
from worlds.stores.notices import listen

IDLE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = (0.2, 2.0)
_log = structlog.get_logger(__name__)


class Listener:
    """Hears what has changed; without Redis the keeper finds out by itself within a second."""

    def __init__(self, keeper: Keeper) -> None:
        """Prepare; ``start`` begins."""
        self._keeper = keeper
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except RedisError as error:
                _log.warning("notices_lost", detail=str(error))
                self._stopping.wait(random.uniform(*RETRY_SECONDS))  # noqa: S311 - spreads reconnects, hides nothing

    def _hear(self) -> None:
        first = True
        for world_id in listen(idle_seconds=IDLE_SECONDS):
            if first:  # what came before the subscription was not heard
                self._keeper.everything_may_have_changed()
                first = False
            if self._stopping.is_set():
                return
            if world_id is not None:
                self._keeper.world_changed(world_id)
