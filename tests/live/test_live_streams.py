"""Streams: first everything, then each change, and a heartbeat that renews."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.lease import find_position
from tests.live.asgi import Event, Stream, on_loop, scope_of
from tests.live.conftest import Headers, bearer
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.live.http import Message
from worlds.models import ApiToken, World
from worlds.services.holds import freeze, unfreeze
from worlds.services.tokens import revoke_token

ALL = "/worlds/w1/events"
GOOD = "/worlds/w1/events?strategy_id=good"


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


def test_stream_begins_with_the_members_and_their_lease(live: Live, trading: World, runner: Headers) -> None:
    async def story() -> None:
        stream = Stream(live, ALL, **runner)

        first = await stream.next()
        await stream.leave()

        assert (first.kind, first.data["gate"], first.data["generation"]) == ("snapshot", "open", 1)
        assert {entry["strategy_id"]: entry["active"] for entry in first.data["entries"]} == {
            "better": True,
            "good": True,
        }
        assert 0 < first.data["lease_ms"] <= trading.lease_ms
        assert find_position(first.id) is not None

    on_loop(story)


def test_stream_of_one_strategy_tells_both_sides_in_full(live: Live, trading: World, runner: Headers) -> None:
    async def story() -> None:
        stream = Stream(live, GOOD, **runner)

        entries = (await stream.next()).data["entries"]
        await stream.leave()

        told = {entry["activation"]["side"]: entry["activation"] for entry in entries}
        assert (told["long"]["active"], told["short"]["reason"]) == (True, "unknown")
        assert entries[0]["changes_at_ms"] > boot_time() * 1000

    on_loop(story)


def test_change_and_its_undoing_are_told_in_full(live: Live, runner: Headers, change: Callable[..., None]) -> None:
    async def story() -> None:
        stream = Stream(live, GOOD, **runner)
        gates = [(await stream.next()).data["gate"]]

        for verb in (freeze, unfreeze):
            await asyncio.to_thread(change, verb)
            gates.append((await stream.until("activation")).data["gate"])
        await stream.leave()

        assert gates == ["open", "reduce_only", "open"]

    on_loop(story)


def test_heartbeat_renews_the_lease_of_what_was_told(live: Live, trading: World, runner: Headers) -> None:
    async def story() -> None:
        stream = Stream(live, GOOD, **runner)
        first = await stream.next()

        beat = await stream.until("heartbeat")
        while ends(beat) <= ends(first):  # the rows were not looked at again yet
            beat = await stream.until("heartbeat")
        await stream.leave()

        assert beat.id == first.id
        assert beat.data["server_ms"] > first.data["server_ms"]
        assert 0 < beat.data["lease_ms"] <= 1000

    World.objects.filter(id="w1").update(lease_ms=1000)
    on_loop(story)


def test_reader_that_takes_nothing_for_a_while_is_told_the_latest_state_alone(
    live: Live, runner: Headers, change: Callable[..., None]
) -> None:
    async def story() -> None:
        stream = Stream(live, GOOD, **runner)
        await stream.next()
        watcher = Stream(live, GOOD, **runner)
        await watcher.next()
        stream.takes.clear()

        for verb in (freeze, unfreeze) * 10:
            await asyncio.to_thread(change, verb)
            await watcher.until("activation")
        await asyncio.to_thread(change, freeze)
        latest = (await watcher.until("activation")).id
        stream.takes.set()
        told = [await stream.next()]
        while told[-1].id != latest:
            told.append(await stream.next())
        await stream.leave()
        await watcher.leave()

        assert len([event for event in told if event.kind != "heartbeat"]) < 5
        assert told[-1].data["gate"] == "reduce_only"

    World.objects.filter(id="w1").update(lease_ms=60_000)
    on_loop(story)


def test_stream_ends_when_its_token_is_revoked(live: Live, trading: World, runner: Headers) -> None:
    async def story() -> None:
        stream = Stream(live, GOOD, **runner)
        await stream.next()

        token = await asyncio.to_thread(ApiToken.objects.get)
        await asyncio.to_thread(lambda: revoke_token(token_id=token.id, act=shell()))
        ended = await stream.until("end")
        await stream.ends()

        assert ended.data == {"reason": "revoked"}

    World.objects.filter(id="w1").update(lease_ms=60_000)  # long before a heartbeat would look
    on_loop(story)


def test_stream_for_a_token_that_is_no_runners_permits_nothing(live: Live, trading: World) -> None:
    gateway = bearer("gateway")

    async def story() -> None:
        stream = Stream(live, GOOD, **gateway)

        assert (await stream.next()).data["lease_ms"] == 0
        await stream.leave()

    on_loop(story)


def test_token_of_one_strategy_streams_nothing_of_another(live: Live, trading: World) -> None:
    limited = bearer("runner", strategies=("better",))

    async def story() -> None:
        stream = Stream(live, ALL, **limited)

        entries = (await stream.next()).data["entries"]
        await stream.leave()

        assert {entry["strategy_id"] for entry in entries} == {"better"}

    on_loop(story)


def test_frames_for_all_who_see_the_same_are_encoded_once(
    live: Live, runner: Headers, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []

    async def story() -> None:
        streams = [Stream(live, GOOD, **runner) for _ in range(20)]
        for stream in streams:
            await stream.next()
        monkeypatch.setattr("worlds.live.topic.entries_between", _counting(encoded))

        await asyncio.to_thread(change, freeze)
        events = [await stream.until("activation") for stream in streams]
        for stream in streams:
            await stream.leave()

        assert len({json.dumps(event.data) for event in events}) == 1
        assert len(encoded) == 1

    World.objects.filter(id="w1").update(lease_ms=60_000)
    on_loop(story)


def ends(event: Event) -> float:
    """Return when what a frame permits ends, on the server's clock."""
    return float(event.data["server_ms"] + event.data["lease_ms"])


def _counting(encoded: list[str]) -> Callable[..., bytes]:
    def encode(*_states: object, **_time: object) -> bytes:
        encoded.append("once")
        return b"[]"

    return encode


def test_stream_whose_client_left_without_a_word_ends_quietly(live: Live, trading: World, runner: Headers) -> None:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise RuntimeError("the handler is closed")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def story() -> None:
        await live(scope_of(GOOD, **runner), receive, send)

        assert live.topics.of(live.store.worlds["w1"]).is_empty

    on_loop(story)


def test_reader_whose_wire_has_ended_keeps_nobody_else_from_hearing(
    live: Live, runner: Headers, change: Callable[..., None]
) -> None:
    async def story() -> None:
        gone, stays = Stream(live, GOOD, **runner), Stream(live, GOOD, **runner)
        for stream in (gone, stays):
            await stream.next()
        gone.break_wire()

        await asyncio.to_thread(change, freeze)
        heard = await stays.until("activation")
        await gone.ends()
        await stays.leave()

        assert heard.data["gate"] == "reduce_only"

    World.objects.filter(id="w1").update(lease_ms=60_000)
    on_loop(story)


def test_stream_that_was_woken_still_notices_that_its_client_leaves(
    live: Live, runner: Headers, change: Callable[..., None]
) -> None:
    async def story() -> None:
        stream = Stream(live, ALL, **runner)
        await stream.next()
        stream.takes.clear()
        await asyncio.to_thread(change, freeze, unfreeze)
        stream.takes.set()

        await stream.until("activation")
        async with asyncio.timeout(5):
            await stream.leave()

        assert live.store.worlds["w1"].streams == 0

    on_loop(story)


def test_stream_that_has_left_is_let_go_without_the_collector(live: Live, runner: Headers, world: World) -> None:
    async def story() -> None:
        path = f"/worlds/{world.id}/events"
        stays, leaves = Stream(live, path, **runner), Stream(live, path, **runner)
        await stays.next()
        await leaves.next()

        await leaves.leave()
        left = weakref.ref(leaves)
        del leaves

        assert left() is None
        await stays.leave()

    gc.disable()
    try:
        on_loop(story)
    finally:
        gc.enable()
