"""``GET /worlds/{id}/activation`` for one instance, from memory."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN, InstanceKey, Side
from qmtl_worlds.contracts.lease import Position, find_position
from worlds.live.counts import Books
from worlds.live.http import REQUEST_ID, Asked, Send, parameters, respond
from worlds.live.sessions import Sessions
from worlds.live.snapshot import Kept
from worlds.live.store import LiveWorld
from worlds.live.tokens import Caller

_KNOWN: Final = frozenset({"strategy_id", "side", "client_id"})
_ID = re.compile(OBJECT_ID_PATTERN)
_MOST_QUERIES: Final = 20_000
_LONGEST_QUERY: Final = 512


class Question(NamedTuple):
    """Whom a query is about, and who says that it asks."""

    key: InstanceKey
    client_id: str
    query: bytes


class Questions:
    """Queries as they came, read once; only sound ones of a usual length are kept."""

    def __init__(self) -> None:
        """Begin empty."""
        self._read: dict[bytes, Question] = {}

    def __len__(self) -> int:
        """Count what is kept."""
        return len(self._read)

    def read(self, query: bytes) -> Question | None:
        """Return what a query asks; None where another route must answer, or refuse."""
        found = self._read.get(query)
        if found is None and len(query) <= _LONGEST_QUERY:
            found = _read(query)
            if found is not None:
                if len(self._read) >= _MOST_QUERIES:
                    self._read.clear()
                self._read[query] = found
        return found


async def answer_activation(
    send: Send, asked: Asked, *, world: LiveWorld, caller: Caller, question: Question, books: Books
) -> None:
    """Answer from the snapshot; one that is not confirmed says so, and permits nothing."""
    now = boot_time()
    world.asked_at = now
    held = world.confirmed
    snapshot = held.snapshot
    confirmed = snapshot.is_confirmed(now=now, confirmed_at=held.at)
    visible = caller.grants.knows_strategy(question.key.strategy_id)
    prepared = snapshot.prepared(question.key, now=now, confirmed=confirmed, visible=visible)
    lease = 0
    if not confirmed:
        books.counts.unconfirmed += 1
    elif caller.rights(world.world_id)[1]:
        lease = snapshot.lease_left_ms(prepared, now=now, confirmed_at=held.at)
    own = ((b"lease-ms", b"%d" % lease), (REQUEST_ID, asked.answer_id()))
    has_it = bool(asked.if_none_match) and prepared.etag in asked.if_none_match
    if confirmed and caller.grants.strategies is None:
        snapshot.keep(question.query, Kept(prepared, question.client_id, now if has_it else -math.inf))
    if question.client_id and lease:
        holds = find_position(asked.if_none_match.decode("latin-1"))
        _hear(books.sessions, world, caller, question.client_id, holds)
    if has_it:
        books.counts.answers["activation", 304] += 1
        await respond(send, 304, [*prepared.headers_of_304, *own], b"")
        return
    books.counts.answers["activation", 200] += 1
    await respond(send, 200, [*prepared.headers_of_200, *own], prepared.body)


def _hear(sessions: Sessions, world: LiveWorld, caller: Caller, client_id: str, holds: Position | None) -> None:
    """A Runner that asks with an ETag has what that names; one from the future proves nothing."""
    if holds is not None and holds > world.confirmed.snapshot.position:
        holds = None
    sessions.hear(world, client_id=client_id, token=caller.token.id, connection="poll", holds=holds)


def _read(query: bytes) -> Question | None:
    found = parameters(query, known=_KNOWN)
    if found is None or not all(_ID.fullmatch(found[name]) for name in ("strategy_id", "client_id") if name in found):
        return None
    if "strategy_id" not in found or found.get("side", "long") not in {"long", "short"}:
        return None
    return Question(
        InstanceKey(found["strategy_id"], Side(found.get("side", "long"))), found.get("client_id", ""), query
    )
