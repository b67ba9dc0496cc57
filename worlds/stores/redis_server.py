"""The connection to Redis for what the product writes there itself: the projection and the bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds.contracts.errors import StoreUnavailableError


@lru_cache(maxsize=1)
def redis_client() -> redis.Redis:
    """Return the process's client; it tries once and waits for no longer than the settings say."""
    timeout = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        encoding_errors="replace",  # what somebody else wrote there may be no text, and is then not understood
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )


@contextmanager
def answering() -> Iterator[None]:
    """Tell every way in which Redis refuses or is away as one: a replica that only reads, no memory, no answer.

    Raises:
        StoreUnavailableError: Redis does not do what is asked.
    """
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
