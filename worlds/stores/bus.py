"""The bus: three Redis Streams that tell the outside what changed, as CloudEvents 1.0 in JSON.

One Lua call adds a batch of one world's events and remembers, in the same call, how far that world was told. So an
event that comes twice, from two processes or after a crash, is added once; and whatever Redis loses by failing over
to a replica that lags, it loses together with the memory of it, and is told again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from django.conf import settings

from worlds.stores.redis_server import answering, redis_client

ACTIVATION: Final = "control.activation"
POLICY: Final = "control.policy"
REBALANCING: Final = "control.rebalancing"
TOPICS: Final = (ACTIVATION, POLICY, REBALANCING)
MARKS_KEY: Final = "control:told"
"""The hash that remembers, by world, up to where the streams were told; it never expires."""

_PREFIXES: Final = {"policy_": POLICY, "rebalancing_": REBALANCING, "allocation_": REBALANCING}
_MARK: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})@(.+)")

# KEYS: marks, then the streams. ARGV: world, its origin, longest stream, the mark that is not believed, then of each
# event: incarnation, sequence, number of its stream, text. What is no stream and no hash is not ours, and gives way.
_PUBLISH: Final = """
local function make_room(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind ~= wanted and kind ~= 'none' then redis.call('DEL', key) end
end
make_room(KEYS[1], 'hash')
for i = 2, #KEYS do make_room(KEYS[i], 'stream') end
local incarnation, sequence = 0, 0
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and held ~= ARGV[4] then
  local i, s, origin = string.match(held, '^(%d+)%.(%d+)@(.+)$')
  if origin == ARGV[2] and #i <= 15 and #s <= 15 then incarnation, sequence = tonumber(i), tonumber(s) end
end
for e = 5, #ARGV, 4 do
  local i, s = tonumber(ARGV[e]), tonumber(ARGV[e + 1])
  if i > incarnation or (i == incarnation and s > sequence) then
    redis.call('XADD', KEYS[tonumber(ARGV[e + 2])], 'MAXLEN', '~', ARGV[3], '*', 'key', ARGV[1], 'event', ARGV[e + 3])
    incarnation, sequence = i, s
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f.%.0f@%s', incarnation, sequence, ARGV[2]))
return redis.status_reply('OK')
"""


@dataclass(frozen=True, slots=True)
class BusMark:
    """Up to where Redis believes to have told of a world; ``origin`` tells worlds of one name apart."""

    origin: str
    incarnation: int
    sequence: int

    @property
    def text(self) -> str:
        """Return it as it is stored."""
        return f"{self.incarnation}.{self.sequence}@{self.origin}"


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One visible change of a world, as the outside hears of it."""

    world_id: str
    incarnation: int
    sequence: int
    kind: str
    payload: Mapping[str, object]
    at: datetime

    @property
    def id(self) -> str:
        """Return what makes it one: consumers ignore what they have seen."""
        return f"{self.world_id}:{self.incarnation}.{self.sequence}"

    @property
    def topic(self) -> str:
        """Return the stream that it belongs to."""
        return next((topic for prefix, topic in _PREFIXES.items() if self.kind.startswith(prefix)), ACTIVATION)

    def to_json(self) -> dict[str, object]:
        """Return the CloudEvent; names of extensions have lower-case letters only."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/worlds/{self.world_id}",
            "type": self.kind,
            "subject": self.world_id,
            "time": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "partitionkey": self.world_id,
            "idempotencykey": self.id,
            "incarnation": str(self.incarnation),
            "sequence": str(self.sequence),
            "data": {**self.payload, "world_id": self.world_id},
        }


def publish(*, world_id: str, origin: str, events: Sequence[BusEvent], disbelieved: BusMark | None = None) -> None:
    """Add a world's events, which are in order, to their streams; those that Redis has told already are left out.

    A mark that equals ``disbelieved`` counts as none.

    Raises:
        StoreUnavailableError: Redis does not do it; nothing was added.
    """
    arguments: list[str | int] = [world_id, origin, settings.BUS_MAX_LENGTH, disbelieved.text if disbelieved else ""]
    for event in events:
        text = json.dumps(event.to_json(), sort_keys=True, allow_nan=False)
        arguments += [event.incarnation, event.sequence, TOPICS.index(event.topic) + 2, text]
    with answering():
        redis_client().eval(_PUBLISH, 1 + len(TOPICS), MARKS_KEY, *TOPICS, *map(str, arguments))


def read_marks() -> dict[str, BusMark]:
    """Return up to where each world was told, as far as Redis remembers; what cannot be read is left out.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    with answering():
        kind = redis_client().type(MARKS_KEY)
        stored = cast("dict[str, str]", redis_client().hgetall(MARKS_KEY)) if kind == "hash" else {}
    found = {world_id: _MARK.fullmatch(text) for world_id, text in stored.items()}
    return {name: BusMark(match[3], int(match[1]), int(match[2])) for name, match in found.items() if match}
