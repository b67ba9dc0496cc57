"""One open stream of events, read by a thread."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Protocol

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.sdk.address import Address
from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError, refusal
from qmtl_worlds.sdk.transport import Request

EVENT_STREAM: Final = "text/event-stream"
CHUNK_BYTES: Final = 65_536
MAX_REFUSAL_BYTES: Final = 65_536


class EventStream(Protocol):
    """Bytes of one stream, as they come."""

    @property
    def sent_at(self) -> float:
        """Return the monotonic time just before the request was sent."""
        ...

    def read(self, timeout_seconds: float) -> bytes:
        """Wait for more and return it; empty at the end of the stream.

        Raises:
            ServerUnreachableError: nothing came in time, or the connection broke.
        """
        ...

    def abort(self) -> None:
        """Make a ``read`` of another thread return; takes no lock, so a signal handler may call it."""
        ...

    def close(self) -> None:
        """Close; only for the thread that reads."""
        ...


class HttpStream:
    """An ``EventStream`` over ``http.client``; redirects and proxies are not followed."""

    def __init__(self, address: Address, request: Request, *, monotonic: Callable[[], float] = boot_time) -> None:
        """Connect and ask.

        Raises:
            ServerUnreachableError: no answer in time.
            WorldsError: the server refused, by code.
            SdkError: the answer is no stream.
        """
        kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
        self._connection = kind(address.host, address.port, timeout=request.timeout_seconds)
        try:
            self._connection.connect()
            self._socket: socket.socket = self._connection.sock
            self.sent_at = monotonic()
            self._connection.request(request.method, address.prefix + request.target, headers=dict(request.headers))
            self._response = self._connection.getresponse()
            self._check()
        except _FAILURES as error:
            self._connection.close()
            raise _broken(error) from error

    def read(self, timeout_seconds: float) -> bytes:
        """Wait for more."""
        try:
            self._socket.settimeout(timeout_seconds)
            return self._response.read1(CHUNK_BYTES)
        except _FAILURES as error:
            raise _broken(error) from error

    def abort(self) -> None:
        """Shut the connection down under its reader."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close."""
        self._response.close()
        self._connection.close()

    def _check(self) -> None:
        status = self._response.status
        if status >= HTTPStatus.BAD_REQUEST:
            body = self._response.read(MAX_REFUSAL_BYTES)
            self._connection.close()
            raise refusal(status, body)
        kind = self._response.headers.get_content_type()
        if status != HTTPStatus.OK or kind != EVENT_STREAM:
            self._connection.close()
            raise ReplyInvalidError(f"status {status} with {kind} is no stream")


_FAILURES: Final = (OSError, http.client.HTTPException)


def _broken(error: Exception) -> ServerUnreachableError:
    return ServerUnreachableError(f"The stream broke: {type(error).__name__}: {error}")
