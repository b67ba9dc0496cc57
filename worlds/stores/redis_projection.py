"""The spec's hash ``world:<id>:active`` in Redis: a copy that expires, for display and direct readers.

It is written by one Lua call a world, so that no reader ever sees a mix of two sets, and it dies by itself when nobody
renews it. Nothing in the product decides by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.contracts.lease import Position

# KEYS: hash, meta. ARGV: deadline in ms, incarnation, sequence, hold sequence, meta, then field and value alternately.
# Refused (0) when Redis is past the deadline already (R2), or holds a newer state (R6).
_REPLACE: Final = """
local now = redis.call('TIME')
if now[1] * 1000 + math.floor(now[2] / 1000) >= tonumber(ARGV[1]) then return 0 end
local held = redis.call('HMGET', KEYS[2], 'incarnation', 'sequence', 'hold_sequence')
for i = 1, 3 do
  local old, new = tonumber(held[i] or '0'), tonumber(ARGV[i + 1])
  if new < old then return 0 end
  if new > old then break end
end
redis.call('DEL', KEYS[1], KEYS[2])
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[2], 'incarnation', ARGV[2], 'sequence', ARGV[3], 'hold_sequence', ARGV[4], 'meta', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class Projected:
    """What Redis holds of a world."""

    position: Position
    meta: Mapping[str, object]
    entries: Mapping[str, Mapping[str, object]]


def active_key(world_id: str) -> str:
    """Return the name of the hash: field ``strategy_id|side``, value JSON ``{active, weight, ...}``."""
    return f"world:{world_id}:active"


def meta_key(world_id: str) -> str:
    """Return the name of the hash that says which state the copy is of."""
    return f"world:{world_id}:active:meta"


def redis_now_ms() -> int:
    """Return the time of Redis, which alone decides when the copy dies (R2: read it before the rows).

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    try:
        seconds, micros = _client().time()
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    return seconds * 1000 + micros // 1000


def replace_copy(
    *,
    world_id: str,
    position: Position,
    deadline_ms: int,
    meta: Mapping[str, object],
    entries: Mapping[str, Mapping[str, object]],
) -> bool:
    """Replace the copy in one call; False where it is too late, or Redis holds a newer state.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    arguments: list[str | int] = [deadline_ms, position.incarnation, position.sequence, position.hold_sequence]
    arguments.append(json.dumps(meta, sort_keys=True))
    for field, value in entries.items():
        arguments += [field, json.dumps(value, sort_keys=True)]
    try:
        done = _client().eval(_REPLACE, 2, active_key(world_id), meta_key(world_id), *map(str, arguments))
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    return bool(done == 1)


def read_copy(world_id: str) -> Projected | None:
    """Return what Redis holds, or None where it holds nothing whole.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    try:
        with _client().pipeline(transaction=True) as pipe:
            pipe.hgetall(active_key(world_id))
            pipe.hgetall(meta_key(world_id))
            entries, meta = pipe.execute()
    except redis.RedisError as error:
        raise StoreUnavailableError("Redis") from error
    if not meta:
        return None
    position = Position(int(meta["incarnation"]), int(meta["sequence"]), int(meta["hold_sequence"]))
    return Projected(position, json.loads(meta["meta"]), {key: json.loads(value) for key, value in entries.items()})


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    timeout = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )
