"""Refusals of the live side, in the form of all others: application/problem+json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError, OverloadedError, RateLimitedError, RequestTooSlowError
from worlds.live.http import REQUEST_ID, Asked, Header, Send, respond

STATUSES: Final[Mapping[type[WorldsError], HTTPStatus]] = {
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    RequestTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
}
_HANG_UP: Final = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT})
"""After these the rest of the body is still on its way."""


async def refuse(send: Send, asked: Asked, error: WorldsError, *, retry_seconds: float | None = None) -> HTTPStatus:
    """Tell why a request is not served; return the status."""
    status = STATUSES[type(error)]
    document = {"type": f"urn:qmtl-worlds:{error.code}", "title": error.title, "status": int(status)}
    body = msgspec.json.encode({**error.facts, **document, "detail": error.detail})
    headers: list[Header] = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (REQUEST_ID, asked.answer_id()),
    ]
    if retry_seconds is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_seconds))))
    if status in _HANG_UP:
        headers.append((b"connection", b"close"))
    await respond(send, status, headers, body)
    return status
