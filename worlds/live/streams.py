"""``GET /worlds/{id}/events``: server-sent events over ASGI."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from qmtl_worlds.contracts.lease import Position, find_position
from worlds.live.frames import Wanted
from worlds.live.http import REQUEST_ID, Asked, Header, Receive, Send
from worlds.live.keeper import Keeper
from worlds.live.reader import LeftError, Reader
from worlds.live.store import LiveWorld
from worlds.live.tokens import Caller
from worlds.live.topic import Topic

PARAMETERS: Final = frozenset({"strategy_id", "client_id"})
CATCH_UP_SECONDS: Final = 1.0


class Topics:
    """The topic of each world that somebody streams, on the running loop."""

    def __init__(self) -> None:
        """Begin without any."""
        self._topics: dict[str, Topic] = {}

    def of(self, world: LiveWorld) -> Topic:
        """Return the world's topic."""
        for world_id in [world_id for world_id, topic in self._topics.items() if topic.is_empty]:
            del self._topics[world_id]
        topic = self._topics.get(world.world_id)
        if topic is None or topic.world is not world:
            topic = self._topics[world.world_id] = Topic(world, asyncio.get_running_loop())
        return topic


def last_seen_of(asked: Asked) -> Position | None:
    """Return how far the client has heard already, None where it does not say."""
    return find_position(asked.last_event_id.decode("latin-1"))


async def catch_up(keeper: Keeper, world: LiveWorld, *, last_seen: Position | None) -> None:
    """Wait a moment until the world is here where another process has already told it to be (I6)."""
    if last_seen is None or last_seen <= world.confirmed.snapshot.position:
        return
    news, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(news.set)

    world.wakes.add(wake)
    keeper.world_changed(world.world_id)
    try:
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while last_seen > world.confirmed.snapshot.position:
                await news.wait()
                news.clear()
    except TimeoutError:
        return  # it names what nobody knows
    finally:
        world.wakes.discard(wake)


async def serve_events(
    receive: Receive, send: Send, asked: Asked, *, topic: Topic, caller: Caller, strategy_id: str | None
) -> None:
    """Stream until the client goes away, its token is revoked or the world is gone."""
    leased = caller.rights(topic.world.world_id)[1]
    reader = Reader(caller, Wanted(strategy_id, caller.grants.strategies), leased=leased)
    last_seen = last_seen_of(asked)
    await send({"type": "http.response.start", "status": 200, "headers": _headers(asked)})
    with suppress(LeftError):
        with suppress(asyncio.CancelledError):
            put, left = partial(_part, send, more=True), partial(_left, receive)
            await topic.serve(reader, put, left, last_seen=last_seen)
        await _part(send, b"", more=False)


def _headers(asked: Asked) -> list[Header]:
    return [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        (REQUEST_ID, asked.answer_id()),
    ]


async def _part(send: Send, frame: bytes, *, more: bool) -> None:
    """Send a part; uvloop raises where the client closed its side and the server was not told so yet."""
    try:
        await send({"type": "http.response.body", "body": frame, "more_body": more})
    except RuntimeError as error:
        raise LeftError from error


async def _left(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
