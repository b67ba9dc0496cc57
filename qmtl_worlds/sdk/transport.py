"""One HTTP request and its reply, over a connection that is kept open."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.sdk.address import read_address
from qmtl_worlds.sdk.errors import ServerUnreachableError

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; ``target`` is the path with its query, ``repeatable`` says that sending it twice does no harm.

    Headers are kept out of ``repr``: they hold the token.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; header names are lower case, ``sent_at`` is the monotonic time just before sending."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    sent_at: float


class Transport(Protocol):
    """Carries a request; tests put their own in place of the network."""

    def send(self, request: Request) -> Reply:
        """Send ``request`` once and return the reply, whatever its status.

        Raises:
            ServerUnreachableError: no whole reply came back in time.
        """
        ...

    def close(self) -> None:
        """Close what is open; a later ``send`` opens it again."""
        ...


class HttpTransport:
    """A ``Transport`` over ``http.client``; redirects and proxies are not followed.

    Each thread keeps one connection of its own, so that a slow call never delays a gate's question. A request that is
    not repeatable always opens a new one: a kept one may have died without our knowing whether the server acted. A
    connection is kept only while each reply names its request by ``X-Request-ID``: one to an earlier request, as a
    broken proxy sends it, is older than the question.
    """

    def __init__(self, base_url: str, *, monotonic: Callable[[], float] = boot_time) -> None:
        """Aim at ``base_url``, ``http://`` or ``https://``, with an optional path prefix.

        Raises:
            ValueError: the address is not such a URL, or holds a user name or password.
        """
        address = read_address(base_url)
        self._connection_type = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
        self._host, self._port, self._prefix = address.host, address.port, address.prefix
        self._monotonic = monotonic
        self._kept = threading.local()

    def send(self, request: Request) -> Reply:
        """Send ``request``; a repeatable one is sent anew, once, where the kept connection proves to be dead."""
        kept = self._connection() is not None and request.repeatable
        try:
            return self._send_once(request)
        except _FAILURES as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                raise _unreachable(error) from error
        try:
            return self._send_once(request)
        except _FAILURES as error:
            self.close()
            raise _unreachable(error) from error

    def close(self) -> None:
        """Close the connection of the calling thread."""
        connection = self._connection()
        if connection is not None:
            connection.close()
            self._kept.connection = None

    def _send_once(self, request: Request) -> Reply:
        connection = self._open(request)
        is_kept = connection.sock is not None
        sent_at = self._monotonic()
        connection.request(request.method, self._prefix + request.target, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read(MAX_REPLY_BYTES + 1)
        if len(body) > MAX_REPLY_BYTES:
            raise http.client.HTTPException(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
        if response.length:  # a bounded read does not say so by itself
            raise http.client.IncompleteRead(body, response.length)
        headers = {name.lower(): value for name, value in response.getheaders()}
        if headers.get("x-request-id") != request.headers.get("X-Request-ID"):
            if is_kept:
                raise http.client.HTTPException("the reply names another request")
            self.close()
        return Reply(response.status, headers, body, sent_at)

    def _open(self, request: Request) -> http.client.HTTPConnection:
        if not request.repeatable:
            self.close()
        connection = self._connection()
        if connection is None:
            connection = self._connection_type(self._host, self._port, timeout=request.timeout_seconds)
            self._kept.connection = connection
        connection.timeout = request.timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(request.timeout_seconds)
        return connection

    def _connection(self) -> http.client.HTTPConnection | None:
        connection: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        return connection


_FAILURES: Final = (OSError, http.client.HTTPException)


def _unreachable(error: Exception) -> ServerUnreachableError:
    return ServerUnreachableError(f"No whole reply from the server: {type(error).__name__}: {error}")
