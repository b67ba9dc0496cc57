"""Hand work to the workers by task name, and wait for the answer where a caller does.

A message is a doorbell: it names a run and holds no authority. A lost one costs the second until the tick looks again.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, cast

import redis
import structlog
from django.conf import settings
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pools import producers
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds.celery import app
from qmtl_worlds.contracts.errors import StoreUnavailableError

EVALUATE: Final = "worlds.evaluate"
PREVIEW: Final = "worlds.preview"
MEASURE: Final = "worlds.measure"
ADVANCE: Final = "worlds.advance"
REPLY_SECONDS: Final = 60
WORKER_BEAT: Final = "heartbeat:worker"
_log = structlog.get_logger(__name__)


def ring_after_commit(*, task: str, queue: str, **arguments: object) -> None:
    """Send a doorbell once the transaction has committed; the rows are there, so a lost one is only late."""
    transaction.on_commit(lambda: ring(task=task, queue=queue, **arguments))


def ring(*, task: str, queue: str, **arguments: object) -> None:
    """Send a doorbell now; where the broker is away it is lost, and the tick sees to the work."""
    try:
        _post(task, queue, arguments)
    except OperationalError:
        _log.warning("doorbell_lost", task=task, **arguments)


def new_reply_key() -> str:
    """Return a name under which one answer can be waited for."""
    return f"reply:{secrets.token_hex(16)}"


def reply_key(question: str) -> str:
    """Return the name under which the answer to the same question is always waited for."""
    return f"reply:{question}"


def send(*, task: str, queue: str, **arguments: object) -> None:
    """Send a task whose answer somebody waits for.

    Raises:
        StoreUnavailableError: the broker does not take it.
    """
    try:
        _post(task, queue, arguments)
    except OperationalError as error:
        raise StoreUnavailableError("Redis") from error


def send_once(*, task: str, queue: str, reply_to: str, **arguments: object) -> None:
    """Send a task unless the same ``reply_to`` is waited for already: who asks again goes on waiting.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    try:
        is_first = _client().set(_asked(reply_to), b"1", nx=True, ex=REPLY_SECONDS)
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    if is_first:
        send(task=task, queue=queue, reply_to=reply_to, **arguments)


def await_reply(*, key: str, seconds: float) -> bytes | None:
    """Return the answer left under ``key``, or None when ``seconds`` pass without one.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    try:
        answer = cast("tuple[bytes, bytes] | None", _client().blpop([key], timeout=max(0.01, seconds)))
    except redis.TimeoutError:
        return None
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    if answer is None:
        return None
    _client().delete(_asked(key))
    return answer[1]


def reply(*, key: str, body: bytes) -> None:
    """Leave an answer for whoever waits; nobody may, and it dies after a minute."""
    with _client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, body)
        pipe.expire(key, REPLY_SECONDS)
        pipe.execute()


def beat_of_worker() -> None:
    """Note that a worker is alive, by the clock of Redis."""
    client = _client()
    seconds, micros = client.time()
    client.set(WORKER_BEAT, f"{seconds}.{micros:06d}", ex=REPLY_SECONDS)


def worker_beat_at() -> datetime | None:
    """Return when a worker was last alive, None where none was for a minute.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    try:
        told = cast("bytes | None", _client().get(WORKER_BEAT))
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    return datetime.fromtimestamp(float(told), UTC) if told else None


def _post(task: str, queue: str, arguments: dict[str, object]) -> None:
    with producers[_broker()].acquire(block=True) as producer:
        app.send_task(task, kwargs=arguments, queue=queue, retry=False, ignore_result=True, producer=producer)


@lru_cache(maxsize=1)
def _broker() -> Connection:
    """A connection that tells at once that nobody listens; Celery's own would try for six seconds."""
    seconds = settings.REDIS_TIMEOUT_SECONDS
    impatient = {"max_retries": 0, "socket_timeout": seconds, "socket_connect_timeout": seconds}
    return app.connection_for_write(transport_options=impatient)


def _asked(key: str) -> str:
    return f"{key}:asked"


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS + 10,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
    )
