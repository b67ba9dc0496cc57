"""The doorbell of the bus: a thread of the tick process that relays a world as soon as it hears of a change.

It only makes the bus quicker: what it does not hear, or cannot do, the next tick does.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from redis import RedisError

from qmtl_worlds.own_connection import no_pool
from worlds.services.relay import relay_outbox
from worlds.stores.notices import listen

IDLE_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


def start_relay(stopped: threading.Event) -> threading.Thread:
    """Start the thread; it ends soon after ``stopped`` is set, and never keeps the process alive."""
    thread = threading.Thread(target=_run, args=(stopped,), name="relay", daemon=True)
    thread.start()
    return thread


@no_pool()
def _run(stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            _hear(stopped)
        except (RedisError, DatabaseError, InterfaceError) as error:  # both are told by whoever depends on them
            _log.debug("relay_hears_nothing", detail=str(error))
            connection.close()
            stopped.wait(IDLE_SECONDS)
    close_old_connections()


def _hear(stopped: threading.Event) -> None:
    for world_id in listen(idle_seconds=IDLE_SECONDS):
        if stopped.is_set():
            return
        if world_id is not None:
            close_old_connections()
            relay_outbox(world_ids=[world_id])
            close_old_connections()
