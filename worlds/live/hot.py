"""The shortest way of an activation: asked before, of a state that is confirmed, by somebody who sees all of it.

Whatever is not that goes the long way, which gives the same answers (a test compares them). No coroutine is made here
and no header walked twice: this is what every order waits for.
"""

from __future__ import annotations

import itertools
import os
from typing import Final

from qmtl_worlds.contracts.clock import boot_time
from worlds.live.counts import Books
from worlds.live.http import CORRELATION_ID, REQUEST_ID, Header, Message, Scope
from worlds.live.store import LiveStore
from worlds.live.tokens import TokenBook

_PREFIX: Final = "/worlds/"
_SUFFIX: Final = "/activation"
_AFTER: Final = len(_PREFIX)
_BEFORE: Final = -len(_SUFFIX)
HEARD_SECONDS: Final = 5.0
"""A Runner that names itself is noted so often; in between its renewals go the short way."""
_NAMED: Final = os.urandom(8).hex().encode()
_number = itertools.count(1)


class Hot:
    """Answers from what was prepared, or not at all."""

    __slots__ = ("_books", "_store", "_tokens")

    def __init__(self, store: LiveStore, tokens: TokenBook, books: Books) -> None:
        """Answer from these."""
        self._store = store
        self._tokens = tokens
        self._books = books

    def answer(self, scope: Scope) -> tuple[Message, Message] | None:
        """Return the two messages of an answer, None where the long way is to be taken."""
        path: str = scope["path"]
        if path[_BEFORE:] != _SUFFIX or scope["method"] != "GET" or path[:_AFTER] != _PREFIX:
            return None
        world_id = path[_AFTER:_BEFORE]
        world = self._store.worlds.get(world_id)
        given: dict[bytes, bytes] = dict(scope["headers"])
        now = boot_time()
        caller = self._tokens.find(given.get(b"authorization", b""), now=now)
        if world is None or caller is None or caller.grants.strategies is not None:
            return None
        held = world.confirmed
        kept = held.snapshot.kept.get(scope["query_string"])
        age = now - held.at
        if kept is None or not 0 <= age < held.snapshot.lease_seconds or now >= kept.prepared.changes_at:
            return None
        prepared = kept.prepared
        has_it = prepared.etag in given.get(b"if-none-match", b"")
        is_told = not kept.client_id or (has_it and now - kept.heard_at < HEARD_SECONDS)
        may_read, may_act = caller.by_world.get(world_id, caller.elsewhere)
        if not (may_read and is_told) or REQUEST_ID in given or CORRELATION_ID in given or caller.budget.wait(now):
            return None
        world.asked_at = now
        left = held.snapshot.lease_seconds - age
        if prepared.envelope.active:
            left = min(left, prepared.changes_at - now)
        lease = (b"lease-ms", b"%d" % (left * 1000 if may_act else 0))
        named = (REQUEST_ID, b"%s%08x" % (_NAMED, next(_number)))
        if has_it:
            self._books.counts.answers["activation", 304] += 1
            headers: list[Header] = [*prepared.headers_of_304, lease, named]
            return {"type": "http.response.start", "status": 304, "headers": headers}, _NO_BODY
        self._books.counts.answers["activation", 200] += 1
        headers = [*prepared.headers_of_200, lease, named]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        return start, {"type": "http.response.body", "body": prepared.body}


_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b""}
