"""Kills reach what is served from memory, also while only a file stands for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tests.live.asgi import Stream, ask, on_loop
from tests.live.conftest import Headers
from tests.worlds.factories import act_of
from tests.worlds.kill_steps import follow_up
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.models import World
from worlds.services.kills import kill
from worlds.stores import kill_file

GOOD = "/worlds/w1/activation?strategy_id=good&side=long"
CatchUp = Callable[[], None]


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> Iterator[World]:
    """A world whose first set is applied; no file of a kill is left behind."""
    first_apply(world, alice, bob)
    yield world
    for file in Path(settings.DATA_DIR).glob("kills/*"):
        file.unlink()


def test_kill_is_seen_with_the_next_look(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp
) -> None:
    before = ask(live, GOOD, **runner).json()

    kill(world_id="w1", act=act_of(alice))
    catch_up()

    after = ask(live, GOOD, **runner).json()
    assert (before["gate"], after["gate"], after["reason"]) == ("open", "closed", "killed")


def test_file_is_seen_with_the_next_look_and_its_row_opens_nothing(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp
) -> None:
    ask(live, GOOD, **runner)

    kill_file.drop(world_id="w1", scope="", act=act_of(alice))
    catch_up()
    filed = ask(live, GOOD, **runner).json()
    follow_up()
    catch_up()
    recorded = ask(live, GOOD, **runner).json()

    if kill_file.are_used():
        assert (filed["gate"], filed["reason"]) == ("closed", "killed")
        assert (recorded["gate"], recorded["reason"]) == ("closed", "killed")


def test_stream_does_not_resume_behind_a_state_that_only_a_file_has_closed(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp
) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")

    async def story() -> None:
        before = Stream(live, "/worlds/w1/events?strategy_id=good", **runner)
        seen = await before.next()
        await before.leave()
        act = await asyncio.to_thread(act_of, alice)
        await asyncio.to_thread(kill_file.drop, world_id="w1", scope="", act=act)
        await asyncio.to_thread(catch_up)
        after = Stream(live, "/worlds/w1/events?strategy_id=good", **runner, last_event_id=seen.id)
        first = await after.next()
        await after.leave()

        assert (seen.data["gate"], first.id) == ("open", seen.id)
        assert (first.kind, first.data["gate"], first.data["reason"]) == ("snapshot", "closed", "killed")

    on_loop(story)


def test_stream_is_told_of_a_file(live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")

    async def story() -> None:
        stream = Stream(live, "/worlds/w1/events?strategy_id=good", **runner)
        first = await stream.next()
        act = await asyncio.to_thread(act_of, alice)
        await asyncio.to_thread(kill_file.drop, world_id="w1", scope="", act=act)
        await asyncio.to_thread(catch_up)
        told = await stream.next()
        while told.kind == "heartbeat":
            told = await stream.next()
        await stream.leave()

        assert first.data["gate"] == "open"
        assert told.data["gate"] == "closed"

    on_loop(story)
