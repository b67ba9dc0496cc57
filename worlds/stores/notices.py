"""Notices that a world has changed, by Redis pub/sub: hints that save a second, and carry no authority.

A process that never hears one still finds out by the rows. So a notice is sent by a thread of its own, and is lost
where Redis does not answer.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import redis
from django.conf import settings
from django.db import transaction
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

CHANNEL: Final = "qmtl-worlds:changed"
_WAITING: Final = 10_000


def tell_after_commit(world_id: str) -> None:
    """Send a notice once the present transaction is committed."""
    transaction.on_commit(lambda: tell(world_id))


def tell(world_id: str) -> None:
    """Send a notice soon; never waits, never fails."""
    try:
        _outgoing().put_nowait(world_id)
    except queue.Full:
        return


def listen(*, idle_seconds: float) -> Iterator[str | None]:
    """Yield the id of each world that a notice comes for, None after ``idle_seconds`` without one.

    Raises:
        redis.RedisError: Redis does not answer, or goes away.
    """
    client = _client()
    try:
        with PubSub(client.connection_pool, ignore_subscribe_messages=True) as channel:
            channel.subscribe(CHANNEL)
            while True:
                message = channel.get_message(timeout=idle_seconds)
                yield message["data"] if message else None
    finally:
        client.close()


@lru_cache(maxsize=1)
def _outgoing() -> queue.Queue[str]:
    """Return what waits to be told; the first caller of a process starts its thread."""
    waiting: queue.Queue[str] = queue.Queue(_WAITING)
    threading.Thread(target=_send, args=(waiting,), name="notices", daemon=True).start()
    return waiting


def _send(waiting: queue.Queue[str]) -> None:
    client = _client()
    while True:
        world_id = waiting.get()
        try:
            client.publish(CHANNEL, world_id)
        except redis.RedisError:
            continue  # the rows will tell


def _client() -> redis.Redis:
    timeout = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        encoding_errors="replace",  # what somebody else wrote there may be no text, and is then not understood
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )


os.register_at_fork(after_in_child=_outgoing.cache_clear)  # the thread stays with the parent
