"""Streams that go on behind what a client has seen, here or at another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection

from qmtl_worlds.contracts.clock import boot_time
from tests.live.asgi import Stream, ask, on_loop
from tests.live.conftest import Headers
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.models import World
from worlds.selectors import position_of
from worlds.services.holds import freeze

GOOD = "/worlds/w1/events?strategy_id=good"
GOOD_READ = "/worlds/w1/activation?strategy_id=good&side=long"


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


def test_stream_resumes_behind_what_was_seen(live: Live, runner: Headers, change: Callable[..., None]) -> None:
    async def story() -> None:
        before = Stream(live, GOOD, **runner)
        seen = (await before.next()).id
        await asyncio.to_thread(change, freeze)
        latest = (await before.until("activation")).id
        await before.leave()

        after = Stream(live, GOOD, **runner, last_event_id=seen)
        missed = await after.until("activation")
        await after.leave()

        assert (missed.id, missed.data["gate"]) == (latest, "reduce_only")

    on_loop(story)


def test_stream_that_comes_from_another_process_begins_with_nothing_older(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: Callable[[], None]
) -> None:
    def freeze_unheard() -> str:
        live._listener.stop()  # noqa: SLF001 - no news come in
        World.objects.filter(id="w1").update(lease_ms=60_000)
        ask(live, GOOD_READ, **runner)
        catch_up()
        live.keeper._due = boot_time() + 1000  # noqa: SLF001 - nothing is looked at unless it is asked for
        freeze(world_id="w1", act=act_of(alice))
        told_elsewhere = position_of(World.objects.get(id="w1")).text
        connection.close()
        return told_elsewhere

    async def story() -> None:
        told_elsewhere = await asyncio.to_thread(freeze_unheard)
        stream = Stream(live, GOOD, **runner, last_event_id=told_elsewhere)
        first = await stream.next()
        await stream.leave()

        assert (first.id, first.data["gate"]) == (told_elsewhere, "reduce_only")

    on_loop(story)


@pytest.mark.parametrize("last", ["9.999.0", "rubbish", "1.0.0"])
def test_stream_that_cannot_be_resumed_begins_anew(
    live: Live, trading: World, runner: Headers, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worlds.live.streams.CATCH_UP_SECONDS", 0.05)

    async def story() -> None:
        stream = Stream(live, GOOD, **runner, last_event_id=last)

        assert (await stream.next()).kind == "snapshot"
        await stream.leave()

    on_loop(story)
