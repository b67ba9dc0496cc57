"""The spec's hash ``world:<id>:active`` in Redis: a copy that expires, for display and direct readers.

It is written by one Lua call a world, so that no reader ever sees a mix of two sets, and it dies by itself when nobody
renews it. Nothing in the product decides by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from qmtl_worlds.contracts.lease import Position
from worlds.stores.redis_server import answering, redis_client

_client = redis_client

# Reads what the meta key claims. Numbers of ours have no more than 15 digits; anything else is nobody's position.
# ARGV[1..4] of both scripts: deadline in ms, incarnation, sequence, hold sequence.
_CLAIM: Final = """
local function kind(key) return redis.call('TYPE', key).ok end
local function claim()
  if kind(KEYS[2]) ~= 'hash' then return nil end
  local held = redis.call('HMGET', KEYS[2], 'incarnation', 'sequence', 'hold_sequence')
  for i = 1, 3 do
    if not held[i] or #held[i] > 15 or not string.match(held[i], '^%d+$') then return nil end
  end
  return held
end
local function compare(held)
  for i = 1, 3 do
    local old, new = tonumber(held[i]), tonumber(ARGV[i + 1])
    if old ~= new then return old < new and 'older' or 'newer' end
  end
  return 'equal'
end
local function late()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000) >= tonumber(ARGV[1])
end
"""

# KEYS: hash, meta. ARGV[5..7]: meta, digest, and the claim that is not believed; then field and value alternately.
# Refused (0) when Redis is past the deadline already (R2), or holds a newer state (R6) that is believed. DEL comes
# first: it makes room where memory is short, and it takes whatever else somebody put under our names.
_REPLACE: Final = (
    _CLAIM
    + """
if late() then return 0 end
local held = claim()
if held and compare(held) == 'newer' and table.concat(held, '.') ~= ARGV[7] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[2], 'incarnation', ARGV[2], 'sequence', ARGV[3], 'hold_sequence', ARGV[4],
  'meta', ARGV[5], 'digest', ARGV[6])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
return 1
"""
)

# KEYS: hash, meta. ARGV[5..6]: meta, digest. Answers what was found and the position that is claimed.
_CONFIRM: Final = (
    _CLAIM
    + """
local shape = kind(KEYS[1])
if shape == 'none' and kind(KEYS[2]) == 'none' then return {'absent', ''} end
local held = claim()
if not held or (shape ~= 'hash' and shape ~= 'none') then return {'altered', ''} end
local claimed, order = table.concat(held, '.'), compare(held)
if order ~= 'equal' then return {order, claimed} end
local flat, pairs_of = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #flat, 2 do
  table.insert(pairs_of, redis.sha1hex(#flat[i] .. ':' .. flat[i] .. flat[i + 1]))
end
table.sort(pairs_of)
local digest, said = redis.sha1hex(table.concat(pairs_of)), redis.call('HMGET', KEYS[2], 'meta', 'digest')
if digest ~= said[2] then return {'altered', claimed} end
if digest ~= ARGV[6] or said[1] ~= ARGV[5] then return {'aged', claimed} end
if late() then return {'late', claimed} end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
return {'same', claimed}
"""
)


class Found(StrEnum):
    """What Redis holds, compared with the rows.

    ``aged`` is a whole copy of the same position, written before time changed the answers. ``altered`` is one that
    somebody else wrote; ``late`` says that the reading is too old to extend anything.
    """

    SAME = "same"
    ABSENT = "absent"
    OLDER = "older"
    NEWER = "newer"
    AGED = "aged"
    ALTERED = "altered"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Projected:
    """What Redis holds of a world."""

    position: Position
    meta: Mapping[str, object]
    entries: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class CopyMark:
    """What it takes to recognize a copy without its entries: where it stands, and what it must hash to."""

    position: Position
    meta: str
    digest: str


def active_key(world_id: str) -> str:
    """Return the name of the hash: field ``strategy_id|side``, value JSON ``{active, weight, ...}``."""
    return f"world:{world_id}:active"


def meta_key(world_id: str) -> str:
    """Return the name of the hash that says which state the copy is of."""
    return f"world:{world_id}:active:meta"


def mark_of(position: Position, *, meta: Mapping[str, object], entries: Mapping[str, Mapping[str, object]]) -> CopyMark:
    """Return the mark of the copy that ``replace_copy`` writes of the same arguments."""
    return CopyMark(position, _text(meta), _digest({field: _text(value) for field, value in entries.items()}))


def redis_now_ms() -> int:
    """Return the time of Redis, which alone decides when the copy dies (R2: read it before the rows).

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    with answering():
        seconds, micros = _client().time()
    return seconds * 1000 + micros // 1000


def confirm_copy(*, world_id: str, mark: CopyMark, deadline_ms: int) -> tuple[Found, Position | None]:
    """Compare the copy with ``mark`` and, where it is the same, let it live until ``deadline_ms``: one call.

    Returns:
        What was found, and the position that the copy claims; None where it claims none.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    at = mark.position
    arguments = [deadline_ms, at.incarnation, at.sequence, at.hold_sequence, mark.meta, mark.digest]
    with answering():
        done = _client().eval(_CONFIRM, 2, active_key(world_id), meta_key(world_id), *map(str, arguments))
    found, claimed = cast("list[str]", done)
    return Found(found), _position(claimed.split(".")) if claimed else None


def replace_copy(
    *,
    world_id: str,
    position: Position,
    deadline_ms: int,
    meta: Mapping[str, object],
    entries: Mapping[str, Mapping[str, object]],
    disbelieved: Position | None = None,
) -> bool:
    """Replace the copy in one call; False where it is too late, or Redis holds a newer state.

    A newer state that claims exactly to be ``disbelieved`` is replaced as well.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    texts = {field: _text(value) for field, value in entries.items()}
    arguments: list[str | int] = [deadline_ms, position.incarnation, position.sequence, position.hold_sequence]
    arguments += [_text(meta), _digest(texts), disbelieved.text if disbelieved else ""]
    for field, value in texts.items():
        arguments += [field, value]
    with answering():
        done = _client().eval(_REPLACE, 2, active_key(world_id), meta_key(world_id), *map(str, arguments))
    return bool(done == 1)


def drop_copy(world_id: str) -> None:
    """Take the copy away, whatever it is.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    with answering():
        _client().delete(active_key(world_id), meta_key(world_id))


def read_copy(world_id: str) -> Projected | None:
    """Return what Redis holds, or None where it holds nothing whole.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    with answering(), _client().pipeline(transaction=True) as pipe:
        pipe.hgetall(active_key(world_id))
        pipe.hgetall(meta_key(world_id))
        entries, meta = pipe.execute(raise_on_error=False)
    try:
        position = _position([meta["incarnation"], meta["sequence"], meta["hold_sequence"]])
        return Projected(position, json.loads(meta["meta"]), {key: json.loads(value) for key, value in entries.items()})
    except (AttributeError, KeyError, TypeError, ValueError):  # another type of key, a lost field, no number, no JSON
        return None


def _position(parts: list[str]) -> Position:
    return Position(*(int(part) for part in parts))


def _text(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(texts: Mapping[str, str]) -> str:
    """Return the digest that the script computes as well; of parts in hexadecimal, which every locale sorts alike."""
    parts = sorted(_sha1(f"{len(field.encode())}:{field}{value}") for field, value in texts.items())
    return _sha1("".join(parts))


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
