"""The way to Django for everything that is not answered from memory: counted, bounded, and read whole on the loop.

Acts that close gates do not come this way: they have lanes of their own, and no limit.
"""

from __future__ import annotations

import asyncio
from typing import Final

from django.conf import settings

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError, OverloadedError, RateLimitedError, RequestTooSlowError
from qmtl_worlds.wsgi_pool import WsgiPool
from worlds.live.counts import Counts
from worlds.live.http import Asked, Receive, Scope, Send, respond
from worlds.live.limits import Budgets, Places
from worlds.live.problems import refuse

BODY_LIMIT: Final = 16_777_216
"""The longest body that any route takes; most take far less, and refuse the rest by themselves."""
BUSY_RETRY_SECONDS: Final = 1.0


class Intake:
    """Lets requests in, one place and so many bytes each, and gives them to the pool."""

    def __init__(self, pool: WsgiPool, counts: Counts | None = None) -> None:
        """Prepare with the limits of the settings; what is answered is noted in ``counts``."""
        self._pool = pool
        self._counts = counts or Counts()
        self._budgets = Budgets(settings.REQUESTS_PER_SECOND)
        self._places = Places(settings.WAITING_REQUESTS)
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send, Asked(scope["headers"]))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, asked: Asked) -> None:
        wait = self._budgets.wait(_who(scope, asked), now=boot_time())
        if wait:
            error = RateLimitedError(per_second=settings.REQUESTS_PER_SECOND)
            await self._refuse(send, asked, error, retry_seconds=wait)
            return
        if not self._places.take():
            full = OverloadedError("requests", limit=settings.WAITING_REQUESTS)
            await self._refuse(send, asked, full, retry_seconds=BUSY_RETRY_SECONDS)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(settings.BODY_SECONDS):
                await self._read(receive, body)
            answer = await self._pool.answer(scope, bytes(body))
        except TimeoutError:
            slow = RequestTooSlowError(seconds=settings.BODY_SECONDS)
            await self._refuse(send, asked, slow, retry_seconds=0)
            return
        except WorldsError as refused:
            await self._refuse(send, asked, refused, retry_seconds=BUSY_RETRY_SECONDS)
            return
        except ConnectionError:
            return  # the caller has gone
        finally:
            self._bytes -= len(body)
            self._places.give_back()
        self._counts.answers["other", answer.status] += 1
        await respond(send, answer.status, answer.headers, answer.body)

    async def _refuse(self, send: Send, asked: Asked, error: WorldsError, *, retry_seconds: float) -> None:
        self._counts.refusals[error.code] += 1
        await refuse(send, asked, error, retry_seconds=retry_seconds)

    async def _read(self, receive: Receive, body: bytearray) -> None:
        """Read the whole body.

        Raises:
            BodyTooLargeError: no route takes as much.
            OverloadedError: too much is waiting already.
            ConnectionError: the caller has gone.
        """
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            body += part
            self._bytes += len(part)
            if len(body) > BODY_LIMIT:
                raise BodyTooLargeError(limit=BODY_LIMIT)
            if self._bytes > settings.WAITING_BYTES:
                raise OverloadedError("bytes of bodies", limit=settings.WAITING_BYTES)
            if not message.get("more_body", False):
                return


def _who(scope: Scope, asked: Asked) -> bytes:
    """Tell callers apart: by token, by session, else by address."""
    if asked.authorization:
        return asked.authorization[:256]
    if asked.cookie:
        return asked.cookie[:512]
    return str((scope.get("client") or ("",))[0]).encode()
