"""The hot routes, answered from memory on the event loop; everything else goes to Django."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from django.db import DatabaseError, InterfaceError

from qmtl_worlds.contracts.lease import find_position
from worlds.live.activation import Questions, answer_activation
from worlds.live.frames import Wanted
from worlds.live.http import REQUEST_ID, Application, Asked, Receive, Scope, Send, parameters
from worlds.live.keeper import Keeper
from worlds.live.listener import Listener
from worlds.live.store import LiveStore, LiveWorld
from worlds.live.tokens import Caller, TokenBook
from worlds.live.topic import Reader, Topic

PREFIX: Final = "/worlds/"
LOOK_UP_SECONDS: Final = 1.0
"""How long a first question waits for the rows; then Django asks them itself."""
_STREAM_PARAMETERS: Final = frozenset({"strategy_id", "client_id"})
T = TypeVar("T")


class Live:
    """The web process's one ASGI application: hot routes before, Django behind."""

    def __init__(self, django: Application) -> None:
        """Prepare; the threads start with the first request."""
        self._django = django
        self._questions = Questions()
        self.store = LiveStore()
        self.tokens = TokenBook()
        self.keeper = Keeper(self.store, self.tokens)
        self._listener = Listener(self.keeper)
        self._topics: dict[str, Topic] = {}
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(PREFIX):
            world_id, _, rest = scope["path"][len(PREFIX) :].partition("/")
            if rest == "activation" and await self._activation(scope, send, world_id):
                return
            if rest == "events" and await self._events(scope, receive, send, world_id):
                return
        await self._django(scope, receive, send)

    def start(self) -> None:
        """Start what reads rows and hears notices, once."""
        if not self._started:
            self._started = True
            self.keeper.start()
            self._listener.start()

    def stop(self) -> None:
        """End the threads."""
        if self._started:
            self._started = False
            self._listener.stop()
            self.keeper.stop()

    async def _activation(self, scope: Scope, send: Send, world_id: str) -> bool:
        key = self._questions.instance(scope["query_string"])
        if key is None:
            return False
        asked = Asked(scope["headers"])
        found = await self._known(asked, world_id)
        if found is None:
            return False
        caller, world = found
        await answer_activation(send, asked, world=world, caller=caller, key=key)
        return True

    async def _events(self, scope: Scope, receive: Receive, send: Send, world_id: str) -> bool:
        asked = Asked(scope["headers"])
        found = await self._known(asked, world_id)
        query = parameters(scope["query_string"], known=_STREAM_PARAMETERS)
        if found is None or query is None:
            return False
        caller, world = found
        wanted = Wanted(query.get("strategy_id"), caller.grants.strategies)
        reader = Reader(caller, wanted, leased=caller.rights(world_id)[1])
        last_seen = find_position(asked.last_event_id.decode("latin-1"))
        await send({"type": "http.response.start", "status": 200, "headers": _stream_headers(asked)})
        gone = asyncio.ensure_future(_left(receive, reader))
        try:
            with suppress(asyncio.CancelledError):
                await self._topic(world).serve(reader, lambda frame: _part(send, frame), last_seen=last_seen)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
        return True

    async def _known(self, asked: Asked, world_id: str) -> tuple[Caller, LiveWorld] | None:
        """Return who asks, and the world; None where Django has to look, and to refuse."""
        self.start()
        caller = self.tokens.find(asked.authorization, now=time.monotonic())
        if caller is None:
            caller = await self._on_keeper(lambda: self.tokens.look_up(asked.authorization))
        if caller is None or not caller.rights(world_id)[0]:
            return None
        world = self.store.find(world_id) or await self._on_keeper(lambda: self.keeper.load(world_id))
        return None if world is None else (caller, world)

    async def _on_keeper(self, job: Callable[[], T | None]) -> T | None:
        """Have the keeper's thread find something; None where it finds nothing, or not in time."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[T | None] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except (DatabaseError, InterfaceError):
                loop.call_soon_threadsafe(_settle, found, None)
                raise
            loop.call_soon_threadsafe(_settle, found, result)

        self.keeper.submit(run)
        with suppress(TimeoutError):
            return await asyncio.wait_for(found, LOOK_UP_SECONDS)
        return None

    def _topic(self, world: LiveWorld) -> Topic:
        topic = self._topics.get(world.world_id)
        if topic is None or topic.world is not world:
            topic = self._topics[world.world_id] = Topic(world, asyncio.get_running_loop())
        return topic


def _settle(future: asyncio.Future[T | None], result: T | None) -> None:
    if not future.done():
        future.set_result(result)


def _stream_headers(asked: Asked) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        (REQUEST_ID, asked.answer_id()),
    ]


async def _part(send: Send, frame: bytes) -> None:
    await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _left(receive: Receive, reader: Reader) -> None:
    """Wait until the client goes away, then end its stream."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if reader.task is not None:
        reader.task.cancel()
