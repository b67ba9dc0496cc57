"""Requests that close gates have threads and database connections of their own, so that nothing keeps them waiting.

A full pool of threads, a full pool of connections and a caller that sends its body byte by byte hold up everything else
first. Kills have a lane to themselves: a freeze locks the world's row and may have to wait for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final, cast

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi_typing import Environ, StartResponse, WSGIApp
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from qmtl_worlds.own_connection import own_connection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT: Final = 65_536
"""A closing act says little; a longer body waits in the common pool, where it is refused."""
KILL_WRITER_WAIT_MS: Final = 250
_KILL: Final = re.compile(r"/worlds/[^/]+/kill|/admin/(worlds/world|strategies/strategyinstance)/.+/act/kill/")
_CLOSE: Final = re.compile(r"/worlds/[^/]+/(freeze|gate|suspend|pause)|/admin/worlds/world/.+/act/(freeze|suspend)/")


class Lane:
    """One thread that serves a few routes over one connection that it keeps."""

    def __init__(self, wsgi: WSGIApp, *, writer_wait_ms: int | None = None) -> None:
        """Prepare; ``writer_wait_ms`` is how long SQLite's writer is waited for, None as everywhere."""
        self._wsgi = wsgi
        self._writer_wait_ms = writer_wait_ms
        self._connection: BaseDatabaseWrapper | None = None
        self._middleware = WSGIMiddleware(self._serve, workers=1)
        self.application = cast("Application", self._middleware)

    def warm(self) -> None:
        """Open the connection before it is needed: later there may be none to be had."""
        self._middleware.executor.submit(self._open)

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._middleware.executor.submit(self._shut).result()
        self._middleware.executor.shutdown()

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._take()
        return self._wsgi(environ, start_response)

    def _take(self) -> BaseDatabaseWrapper:
        """Make the connection what this thread knows as the database."""
        if self._connection is None:
            self._connection = own_connection(writer_wait_ms=self._writer_wait_ms)
            connections[DEFAULT_DB_ALIAS] = self._connection
        return self._connection

    def _open(self) -> None:
        try:
            self._take().ensure_connection()
        except Error:
            return  # it is opened by the first request that needs it

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Lanes:
    """Sends closing acts down their lanes, and everything else to the pool."""

    def __init__(self, wsgi: WSGIApp, *, pool: Application) -> None:
        """Prepare; connections open with the first request."""
        self._pool = pool
        self._kills = Lane(wsgi, writer_wait_ms=KILL_WRITER_WAIT_MS)
        self._closings = Lane(wsgi)
        self._is_warm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not self._is_warm:
            self._is_warm = True
            self._kills.warm()
            self._closings.warm()
        lane = self.lane_of(scope)
        if lane is None:
            await self._pool(scope, receive, send)
            return
        received: list[Message] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.BODY_SECONDS):
                await _read_body(receive, received)
        if received and received[-1]["type"] == "http.disconnect":
            return  # nobody is there, and half a body could mean another act
        whole = bool(received) and not received[-1].get("more_body", False)
        await (lane.application if whole else self._pool)(scope, _replay(received, receive), send)

    def lane_of(self, scope: Scope) -> Lane | None:
        """Return the lane of a request, None for the pool."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        if _KILL.fullmatch(scope["path"]):
            return self._kills
        return self._closings if _CLOSE.fullmatch(scope["path"]) else None

    def close(self) -> None:
        """Close the lanes' connections and end their threads."""
        self._kills.close()
        self._closings.close()


async def _read_body(receive: Receive, received: list[Message]) -> None:
    """Read the whole body on the event loop, where a slow caller holds no thread; stop at what is too long."""
    size = 0
    while True:
        message = await receive()
        received.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body", False) or size > BODY_LIMIT:
            return


def _replay(received: list[Message], receive: Receive) -> Receive:
    """Return a ``receive`` that gives what was read, then what follows."""
    left = iter(received)

    async def replayed() -> Message:
        for message in left:
            return message
        return await receive()

    return replayed
