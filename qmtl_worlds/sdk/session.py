"""Calls to the API: headers, JSON, repeats and refusals, in one place."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError, refusal
from qmtl_worlds.sdk.transport import Reply, Request, Transport

JsonObject = dict[str, object]

ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.1
JSON_TYPE: Final = "application/json"
_AWAY: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Content:
    """A request body and its type."""

    data: bytes = field(repr=False)
    content_type: str = JSON_TYPE


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API.

    ``repeatable`` says that the server answers the same request twice as if it had come once: reads, and writes that
    carry a run id or whole rows. Only such calls are sent again, up to ``attempts`` times, when a reply stays away.
    """

    method: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    content: Content | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    timeout_seconds: float | None = None
    attempts: int = ATTEMPTS


class ApiSession:
    """Sends calls with one token; safe to share between threads."""

    def __init__(
        self,
        transport: Transport,
        token: str,
        *,
        timeout_seconds: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use ``token`` as bearer; it appears in no error and no ``repr``."""
        self._transport = transport
        self._authorization = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._pause = pause

    def send(self, call: Call) -> Reply:
        """Send a call and return its reply if that is no refusal (below 400).

        Raises:
            ServerUnreachableError: no reply, after repeats where the call allows them.
            WorldsError: the server refused, by code.
            ResponseError: it refused in words that this client does not know.
        """
        reply = self._send_patiently(self.request(call), attempts=call.attempts)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(reply.status, reply.body)
        return reply

    def json(self, call: Call) -> JsonObject:
        """Send a call and return the JSON object of its reply; an empty reply is an empty object."""
        return read_object(self.send(call).body)

    def close(self) -> None:
        """Close the calling thread's connection."""
        self._transport.close()

    def wait(self, seconds: float) -> None:
        """Pause the calling thread."""
        self._pause(seconds)

    def request(self, call: Call) -> Request:
        """Return what is sent for a call."""
        return make_request(call, authorization=self._authorization, timeout_seconds=self._timeout_seconds)

    def _send_patiently(self, request: Request, *, attempts: int) -> Reply:
        """Repeat what may be repeated, under one request id, while the server is away."""
        for attempt in range(1, attempts if request.repeatable else 1):
            try:
                reply = self._transport.send(request)
            except ServerUnreachableError:
                reply = None
            if reply is not None and reply.status not in _AWAY:
                return reply
            self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        return self._transport.send(request)


def make_request(call: Call, *, authorization: str, timeout_seconds: float) -> Request:
    """Return what is sent for a call, under a request id of its own."""
    headers = {
        "Authorization": authorization,
        "Accept": JSON_TYPE,
        "X-Request-ID": uuid.uuid4().hex,
        **call.headers,
    }
    if call.content is not None:
        headers["Content-Type"] = call.content.content_type
    given = {name: _query_text(value) for name, value in call.query.items() if value is not None}
    return Request(
        method=call.method,
        target=f"{call.path}?{urlencode(given)}" if given else call.path,
        headers=headers,
        body=call.content.data if call.content else None,
        repeatable=call.repeatable or call.method == "GET",
        timeout_seconds=call.timeout_seconds or timeout_seconds,
    )


def json_content(value: object) -> Content:
    """Encode a JSON body.

    Raises:
        ValueError: a float in it is NaN or infinite.
    """
    return Content(json.dumps(value, allow_nan=False).encode())


def read_object(body: bytes) -> JsonObject:
    """Decode a JSON object; NaN and infinity are refused, an empty body is an empty object.

    Raises:
        ReplyInvalidError: it is none.
    """
    if not body:
        return {}
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReplyInvalidError(f"the reply is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ReplyInvalidError("the reply is no JSON object")
    return value


def path_of(*parts: object) -> str:
    """Join path segments, each escaped."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def _query_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
