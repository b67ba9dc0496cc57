"""A client's end of a WebSocket, over raw ASGI."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from worlds.live.app import Live
from worlds.live.http import Message
from worlds.services.subscriptions import STREAM_PATH


class Socket:
    """A client's end: what it is sent, and how it was closed."""

    def __init__(self, live: Live, *, path: str = STREAM_PATH, query: str = "", **headers: str) -> None:
        self._frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        self.takes = asyncio.Event()
        self.takes.set()
        self.code: int | None = None
        self.accepted = False
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": named,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._task = asyncio.create_task(self._run(live, scope))

    async def next(self) -> dict[str, Any]:
        """Return the next frame; the end is an error."""
        frame = await asyncio.wait_for(self._frames.get(), 10)
        assert frame is not None, f"closed with {self.code}"
        return frame

    async def until(self, kind: str, **data: object) -> dict[str, Any]:
        """Return the next frame of a kind whose data says so."""
        while True:
            frame = await self.next()
            told = frame.get("data", {})
            if frame["type"] == kind and all(told.get(name) == value for name, value in data.items()):
                return frame

    async def ends(self) -> int | None:
        """Wait until the server has closed, and return its code."""
        while await asyncio.wait_for(self._frames.get(), 10) is not None:
            pass
        return self.code

    def say(self, text: str) -> None:
        """Send a frame."""
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        """Go away."""
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1000})
        self.takes.set()
        await self._task

    async def _run(self, live: Live, scope: dict[str, Any]) -> None:
        await live(scope, self._said.get, self._send)
        self._frames.put_nowait(None)

    async def _send(self, message: Message) -> None:
        await self.takes.wait()
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close":
            self.code = message["code"]
        else:
            self._frames.put_nowait(json.loads(message["text"]))
