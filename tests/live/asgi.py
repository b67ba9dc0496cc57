"""Asks the live application as an ASGI server would, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from worlds.live.app import Live
from worlds.live.http import Message, Receive, Scope, Send

NOT_HOT = 599
"""The status that the stand-in for Django answers with."""


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    kind: str
    id: str
    data: dict[str, Any]


async def django(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in for Django: tell that the live side did not answer, and which body it left."""
    body = (await receive()).get("body", b"") if scope["method"] == "POST" else b""
    await send({"type": "http.response.start", "status": NOT_HOT, "headers": []})
    await send({"type": "http.response.body", "body": body})


def scope_of(path: str, **headers: str) -> Scope:
    """Return the scope of a GET; ``if_none_match="x"`` becomes the header If-None-Match."""
    route, _, query = path.partition("?")
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": route, "query_string": query.encode(), "headers": named}


def ask(live: Live, path: str, **headers: str) -> Answer:
    """Ask once."""
    return asyncio.run(ask_on_loop(live, path, **headers))


def tell(live: Live, path: str, body: object, **headers: str) -> Answer:
    """Post JSON."""
    return asyncio.run(ask_on_loop(live, path, body=body, **headers))


async def ask_on_loop(live: Live, path: str, *, body: object = None, **headers: str) -> Answer:
    """Ask once, on the running loop; with a body, post it as JSON."""
    answer = Answer()
    scope = {**scope_of(path, **headers), "method": "GET" if body is None else "POST"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    await live(scope, receive, send)
    return answer


class Stream:
    """An open stream, read event by event; ``block`` keeps it from taking anything."""

    def __init__(self, live: Live, path: str, **headers: str) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self._wire_is_broken = False
        self._task = asyncio.create_task(self._run(live, path, headers))

    async def next(self) -> Event:
        """Return the next event; the stream's end is an error."""
        event = await asyncio.wait_for(self._events.get(), 10)
        assert event is not None, "the stream ended"
        return event

    async def until(self, kind: str) -> Event:
        """Return the next event of a kind."""
        while (event := await self.next()).kind != kind:
            pass
        return event

    async def ends(self) -> None:
        """Wait until the server has closed the stream."""
        while await asyncio.wait_for(self._events.get(), 10) is not None:
            pass

    def break_wire(self) -> None:
        """End the connection without a word; the next write is refused, as uvloop does."""
        self._wire_is_broken = True

    async def leave(self) -> None:
        """Go away."""
        self._gone.set()
        await self._task

    async def _run(self, live: Live, path: str, headers: dict[str, str]) -> None:
        await live(scope_of(path, **headers), self._receive, self._send)
        self._events.put_nowait(None)

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.takes.wait()
        if self._wire_is_broken:
            raise RuntimeError("unable to perform operation on the transport; the handler is closed")
        for text in message.get("body", b"").decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if "event" in fields:
                self._events.put_nowait(Event(fields["event"], fields.get("id", ""), json.loads(fields["data"])))


def on_loop(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story on a loop of its own."""
    asyncio.run(_awaited(story))


async def _awaited(story: Callable[[], Awaitable[None]]) -> None:
    await story()
