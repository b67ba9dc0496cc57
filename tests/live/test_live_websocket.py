"""The WebSocket for QMTL's clients: one strategy in full, closed as data, gone with its token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import override_settings

from tests.live.asgi import on_loop
from tests.live.conftest import Headers, bearer
from tests.live.sockets import Socket
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.models import ApiToken, World
from worlds.services.dev_open import DEV_TOKEN_ID
from worlds.services.holds import freeze, unfreeze
from worlds.services.subscriptions import LIFETIME, Ticket, sign
from worlds.services.tokens import revoke_token
from worlds.stores.clock import database_now

REFUSED = 1008


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def change(trading: World, alice: User) -> Callable[..., None]:
    """Freeze or unfreeze the world, from a thread of the story."""

    def make(*verbs: Callable[..., World]) -> None:
        for verb in verbs:
            verb(world_id="w1", act=act_of(alice))

    return make


@pytest.fixture
def gateway(transactional_db: None) -> Headers:
    """The token that asked for the ticket."""
    return bearer("qmtl")


def ticket(strategy_id: str = "good", *topics: str, world_id: str = "w1") -> str:
    """Return a ticket of the only token."""
    token_id = ApiToken.objects.get().id
    return sign(Ticket(token_id, world_id, strategy_id, topics or ("activation",)), now=database_now()).text


def test_first_both_sides_are_told_then_each_change(live: Live, gateway: Headers, change: Callable[..., None]) -> None:
    text = ticket()

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")
        first = [await socket.next(), await socket.next()]

        await asyncio.to_thread(change, freeze)
        frozen = await socket.until("activation_updated", side="long", freeze=True)
        await asyncio.to_thread(change, unfreeze)
        thawed = await socket.until("activation_updated", side="long", freeze=False)
        await socket.leave()

        sides = {frame["data"]["side"]: frame["data"] for frame in first}
        assert {frame["type"] for frame in first} == {"activation_updated"}
        assert (sides["long"]["active"], sides["short"]["active"]) == (True, False)
        assert all(frame["data"]["version"] == 1 for frame in [*first, frozen, thawed])
        assert [frame["data"]["active"] for frame in (frozen, thawed)] == [False, True]
        assert {frame["data"]["strategy_id"] for frame in [*first, frozen, thawed]} == {"good"}

    on_loop(story)


def test_ticket_may_come_in_the_address_and_policies_are_told_by_digest(
    live: Live, gateway: Headers, trading: World
) -> None:
    text = ticket("", "policy")

    async def story() -> None:
        socket = Socket(live, query=f"token={text}")
        first = await socket.next()
        await socket.leave()

        assert first["type"] == "policy_state_hash"
        assert first["data"]["state_hash"].startswith("sha256:")

    on_loop(story)


def test_ack_is_echoed_and_a_fresh_ticket_is_taken(live: Live, gateway: Headers, trading: World) -> None:
    text, other = ticket(), ticket("better")

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")
        socket.say("rubbish")
        socket.say('{"type":"ack","last_id":"7"}')
        echoed = await socket.until("ack")
        socket.say(json.dumps({"type": "refresh", "token": text}))
        refreshed = await socket.until("refresh_ack")
        socket.say(json.dumps({"type": "refresh", "token": other}))

        assert echoed == {"type": "ack", "last_id": "7"}
        assert refreshed == {"type": "refresh_ack"}
        assert await socket.ends() == REFUSED

    on_loop(story)


@pytest.mark.parametrize("kind", ["forged", "expired", "foreign", "none", "token"])
def test_ticket_that_is_none_is_closed_with_1008(live: Live, gateway: Headers, trading: World, kind: str) -> None:
    long_ago = database_now() - LIFETIME - timedelta(seconds=1)
    token_id = ApiToken.objects.get().id
    text = {
        "forged": ticket()[:-1] + "x",
        "expired": sign(Ticket(token_id, "w1", "good", ("activation",)), now=long_ago).text,
        "foreign": ticket(world_id="w2"),
        "none": "",
        "token": gateway["authorization"].removeprefix("Bearer "),
    }[kind]

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")

        assert await socket.ends() == REFUSED
        assert socket.accepted

    on_loop(story)


def test_stream_ends_within_two_seconds_of_its_tokens_revocation(live: Live, gateway: Headers, trading: World) -> None:
    text = ticket()

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")
        await socket.next()
        await asyncio.to_thread(lambda: revoke_token(token_id=ApiToken.objects.get().id, act=shell()))

        async with asyncio.timeout(2):
            assert await socket.ends() == REFUSED

    on_loop(story)


def test_token_of_another_strategy_is_told_nothing(live: Live, trading: World) -> None:
    bearer("qmtl", strategies=("better",))
    text = ticket("good")

    async def story() -> None:
        assert await Socket(live, authorization=f"Bearer {text}").ends() == REFUSED

    on_loop(story)


@override_settings(STREAM_ORIGINS=["https://desk.example"])
@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        ("https://evil.example", False),
        ("http://here:8000", True),
        ("https://desk.example", True),
        ("http://desk.example", False),
        ("null", False),
    ],
)
def test_only_pages_of_this_server_may_connect(
    live: Live, gateway: Headers, trading: World, origin: str, accepted: bool
) -> None:
    text = ticket()

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}", origin=origin, host="here:8000")
        if accepted:
            await socket.next()
            await socket.leave()
        else:
            await socket.ends()

        assert socket.accepted is accepted

    on_loop(story)


def test_other_paths_take_no_websocket(live: Live, trading: World) -> None:
    async def story() -> None:
        socket = Socket(live, path="/ws")

        assert await socket.ends() == REFUSED
        assert not socket.accepted

    on_loop(story)


def test_frame_that_is_too_long_ends_the_stream(live: Live, gateway: Headers, trading: World) -> None:
    text = ticket()

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")
        socket.say("x" * 5_000)

        assert await socket.ends() == 1009

    on_loop(story)


def test_slow_client_is_told_the_latest_state(
    live: Live, gateway: Headers, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worlds.live.websocket.SLOW_SECONDS", 0.0)  # however fast this machine makes its changes
    text = ticket()

    async def story() -> None:
        socket, watcher = (Socket(live, authorization=f"Bearer {text}") for _ in range(2))
        for one in (socket, watcher):
            await one.next()
            await one.next()
        socket.takes.clear()
        for verb in (freeze, unfreeze) * 5:
            await asyncio.to_thread(change, verb)
            await watcher.until("activation_updated", side="long", freeze=verb is freeze)
        await asyncio.to_thread(change, freeze)
        latest = await watcher.until("activation_updated", side="short", freeze=True)
        socket.takes.set()
        told = [await socket.next()]
        while told[-1] != latest:
            told.append(await socket.next())
        await socket.leave()
        await watcher.leave()

        assert len(told) <= 4
        assert told[-2]["data"]["freeze"] is True

    on_loop(story)


def test_state_that_cannot_be_confirmed_any_more_is_told_as_closed(
    live: Live, gateway: Headers, trading: World
) -> None:
    text = ticket()

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}")
        first = await socket.until("activation_updated", side="long")
        await asyncio.to_thread(live.keeper.stop)
        closed = await socket.until("activation_updated", side="long", active=False)
        await socket.leave()

        assert first["data"]["active"] is True
        assert closed["data"]["reason"] == "unconfirmed"

    on_loop(story)


@pytest.mark.parametrize("is_open", [True, False])
def test_ticket_without_a_token_is_for_open_development_servers(
    live: Live, trading: World, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    monkeypatch.setattr(settings, "DEV_OPEN", is_open)
    text = sign(Ticket(DEV_TOKEN_ID, "w1", "good", ("activation",)), now=database_now()).text

    async def story() -> None:
        socket = Socket(live, authorization=f"Bearer {text}", host="localhost:8000")
        if is_open:
            assert (await socket.next())["data"]["strategy_id"] == "good"
            await socket.leave()
        else:
            assert await socket.ends() == REFUSED

    on_loop(story)
