"""Connections that cannot be held for nothing: heads come in time and in bounds, and answers are taken in time.

``uvicorn --http qmtl_worlds.connections:GuardedProtocol`` serves with it.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD: Final = 65_536
TAKING_SECONDS: Final = 20.0
"""A peer that takes nothing of what waits for it for so long is cut off; streams do so sooner."""
_REFUSAL: Final = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
)
_BODY: Final = b'{"type":"urn:qmtl-worlds:%s","title":"%s","status":%d,"detail":"%s"}'


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the number of connections, on a head, and on a reader's patience."""

    in_head = True
    head_bytes = 0
    head_timer: asyncio.TimerHandle | None = None
    taking_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection where there is a place for it."""
        is_full = len(self.connections) >= settings.CONNECTIONS
        super().connection_made(cast("asyncio.Transport", transport))
        if is_full:
            self._refuse(503, b"Service Unavailable", b"overloaded", b"This process serves no more connections.")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self.head_timer, self.taking_timer):
            if timer is not None:
                timer.cancel()
        self.head_timer = self.taking_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is too long ends here."""
        super().data_received(data)
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > LONGEST_HEAD:
                self._refuse(431, b"Request Header Fields Too Large", b"malformed-request", b"The head is too long.")
            elif self.head_timer is None:
                self._expect_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.in_head = True
        self.head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End the head in time."""
        self.in_head = False
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a peer that does not take what is there for it."""
        super().pause_writing()
        if self.taking_timer is None:
            self.taking_timer = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting."""
        if self.taking_timer is not None:
            self.taking_timer.cancel()
            self.taking_timer = None
        super().resume_writing()

    def _expect_head(self) -> None:
        self.head_timer = self.loop.call_later(settings.HEADER_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self.head_timer = None
        self._refuse(408, b"Request Timeout", b"request-too-slow", b"The head of the request did not come in time.")

    def _refuse(self, status: int, phrase: bytes, code: bytes, detail: bytes) -> None:
        if self.transport.is_closing():
            return
        body = _BODY % (code, code.replace(b"-", b" ").capitalize(), status, detail)
        retry = b"retry-after: 1\r\n" if status == 503 else b""  # noqa: PLR2004 - HTTP's number
        self.transport.write(_REFUSAL % (b"%d %s" % (status, phrase), len(body), retry, body))
        self.transport.close()
