"""The little of HTTP that the hot routes need, over raw ASGI."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

REQUEST_ID: Final = b"x-request-id"
CORRELATION_ID: Final = b"x-correlation-id"
_ID = re.compile(OBJECT_ID_PATTERN.encode())
_PROCESS: Final = os.urandom(8).hex()
_counter = itertools.count(1)


class Asked:
    """What the hot routes look at of a request."""

    __slots__ = ("authorization", "cookie", "correlation_id", "if_none_match", "last_event_id", "request_id")

    def __init__(self, headers: Iterable[Header]) -> None:
        """Pick the headers that count; of one that comes twice the last is taken."""
        given = dict(headers)
        self.authorization = given.get(b"authorization", b"")
        self.cookie = given.get(b"cookie", b"")
        self.if_none_match = given.get(b"if-none-match", b"")
        self.last_event_id = given.get(b"last-event-id", b"")
        self.request_id = given.get(REQUEST_ID, b"")
        self.correlation_id = given.get(CORRELATION_ID, b"")

    def answer_id(self) -> bytes:
        """Return the id to answer with: the caller's where it gave one that can be told on, else a new one."""
        if self.request_id or self.correlation_id:
            for given in (self.request_id, self.correlation_id):
                if _ID.fullmatch(given):
                    return given
        return b"%s%08x" % (_PROCESS.encode(), next(_counter))


def parameters(query: bytes, *, known: frozenset[str]) -> dict[str, str] | None:
    """Return the query's parameters; None where one comes twice, is not known or cannot be read."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        return None
    found = dict(pairs)
    return found if len(found) == len(pairs) and found.keys() <= known else None


async def respond(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
