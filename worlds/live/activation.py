"""``GET /worlds/{id}/activation`` for one instance, from memory."""

from __future__ import annotations

import re
import time
from typing import Final

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN, InstanceKey, Side
from worlds.live.http import REQUEST_ID, Asked, Send, parameters, respond
from worlds.live.store import LiveWorld
from worlds.live.tokens import Caller

_KNOWN: Final = frozenset({"strategy_id", "side", "client_id"})
_ID = re.compile(OBJECT_ID_PATTERN)
_MOST_QUERIES: Final = 100_000
_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")


class Questions:
    """Queries as they came, read once."""

    def __init__(self) -> None:
        """Begin empty."""
        self._keys: dict[bytes, InstanceKey | None] = {}

    def instance(self, query: bytes) -> InstanceKey | None:
        """Return whom a query asks about; None where another route must answer, or refuse."""
        try:
            return self._keys[query]
        except KeyError:
            if len(self._keys) >= _MOST_QUERIES:
                self._keys.clear()
            found = self._keys[query] = _read(query)
            return found


async def answer_activation(send: Send, asked: Asked, *, world: LiveWorld, caller: Caller, key: InstanceKey) -> None:
    """Answer from the snapshot; one that is not confirmed says so, and permits nothing."""
    now = time.monotonic()
    world.asked_at = now
    held = world.confirmed
    snapshot = held.snapshot
    confirmed = snapshot.is_confirmed(now=now, confirmed_at=held.at)
    visible = caller.grants.knows_strategy(key.strategy_id)
    prepared = snapshot.prepared(key, now=now, confirmed=confirmed, visible=visible)
    lease = 0
    if confirmed and caller.rights(world.world_id)[1]:
        lease = snapshot.lease_left_ms(prepared, now=now, confirmed_at=held.at)
    headers = [
        (b"etag", prepared.etag),
        (b"lease-ms", b"%d" % lease),
        _NO_STORE,
        (REQUEST_ID, asked.answer_id()),
    ]
    if asked.if_none_match and prepared.etag in asked.if_none_match:
        await respond(send, 304, headers, b"")
        return
    headers.append(_JSON)
    headers.append((b"content-length", b"%d" % len(prepared.body)))
    await respond(send, 200, headers, prepared.body)


def _read(query: bytes) -> InstanceKey | None:
    found = parameters(query, known=_KNOWN)
    if found is None or not all(_ID.fullmatch(found[name]) for name in ("strategy_id", "client_id") if name in found):
        return None
    if "strategy_id" not in found or found.get("side", "long") not in {"long", "short"}:
        return None
    return InstanceKey(found["strategy_id"], Side(found.get("side", "long")))
