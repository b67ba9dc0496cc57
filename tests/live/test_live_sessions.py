"""Which Runners are heard of, what they proved to hold, and how long that took."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.lease import find_position
from tests.live.asgi import NOT_HOT, Stream, ask, on_loop, tell
from tests.live.conftest import Headers, bearer
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.live.acks import find_ack
from worlds.live.app import Live
from worlds.live.scribe import Scribe
from worlds.models import RunnerSession, World
from worlds.services.holds import freeze
from worlds.services.sessions import connected_sessions, spread_of
from worlds.stores.clock import database_now

GOOD = "/worlds/w1/activation?strategy_id=good&side=long&client_id=r1"
ACKS = "/worlds/w1/acks"
CatchUp = Callable[[], None]


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


@pytest.fixture
def written(live: Live) -> Callable[[], RunnerSession]:
    """Have everything written that is noted, and return the one session."""

    def write() -> RunnerSession:
        Scribe(live.books, live.tokens, live.store).write()
        return RunnerSession.objects.get()

    return write


def test_runner_that_polls_holds_what_its_etag_names(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp, written: Callable[[], RunnerSession]
) -> None:
    first = ask(live, GOOD, **runner)
    before = written()
    freeze(world_id="w1", act=act_of(alice))
    catch_up()
    newest = ask(live, GOOD, **runner, if_none_match=first.headers["etag"]).headers["etag"]
    behind = spread_of(World.objects.get(), connected_sessions(World.objects.get(), now=database_now()))
    ask(live, GOOD, **runner, if_none_match=newest)

    after = written()

    world = World.objects.get()
    spread = spread_of(world, connected_sessions(world, now=database_now()))
    assert (before.connection, before.sequence, before.skew_ms) == ("poll", 0, None)
    assert (behind.connected, behind.holding) == (1, 0)
    assert (after.sequence, spread.holding, spread.slowest_client) == (world.sequence, 1, "r1")
    assert after.skew_ms is not None
    assert after.skew_ms >= 0


def test_runner_that_came_after_a_change_was_not_slow_to_have_it(
    live: Live, trading: World, alice: User, runner: Headers, catch_up: CatchUp, written: Callable[[], RunnerSession]
) -> None:
    ask(live, GOOD.replace("r1", "other"), **bearer("gateway"))
    freeze(world_id="w1", act=act_of(alice))
    catch_up()
    present = ask(live, GOOD.replace("r1", "other"), **bearer("gateway")).headers["etag"]

    ask(live, GOOD, **runner, if_none_match=present)

    assert (written().sequence, written().skew_ms) == (World.objects.get().sequence, None)


def test_position_from_the_future_proves_nothing(
    live: Live, trading: World, runner: Headers, written: Callable[[], RunnerSession]
) -> None:
    ask(live, GOOD, **runner, if_none_match='"1.999.0-abc"')

    assert written().sequence == 0


def test_acknowledgement_is_noted_from_memory(
    live: Live, trading: World, runner: Headers, written: Callable[[], RunnerSession]
) -> None:
    present = find_position(ask(live, GOOD, **runner).headers["etag"])
    assert present is not None

    answer = tell(live, ACKS, {"client_id": "r2", "sequence": present.sequence}, **runner)

    assert (answer.status, answer.json()["position"]) == (200, present.text)
    Scribe(live.books, live.tokens, live.store).write()
    assert RunnerSession.objects.get(client_id="r2").sequence == present.sequence


@pytest.mark.parametrize(
    "body",
    [
        {"client_id": "r1", "sequence": 1, "flat": [{"strategy_id": "good"}]},
        {"client_id": "r1", "sequence": 10_000},
        {"client_id": "r1", "sequence": 1, "incarnation": 9},
        {"client_id": "", "sequence": 1},
        {"client_id": "r1"},
    ],
)
def test_any_other_word_of_a_runner_is_left_to_django_whole(
    live: Live, trading: World, runner: Headers, body: dict[str, object]
) -> None:
    answer = tell(live, ACKS, body, **runner)

    assert (answer.status, answer.json()) == (NOT_HOT, body)


@pytest.mark.parametrize("client_id", ["%00", "r" * 129])
def test_reader_with_a_name_that_cannot_be_stored_is_left_to_django(
    live: Live, trading: World, runner: Headers, client_id: str
) -> None:
    assert ask(live, f"/worlds/w1/events?client_id={client_id}", **runner).status == NOT_HOT


@pytest.mark.parametrize("text", [b'{"client_id":"\xff","sequence":1}', b'{"client_id":"r1\\n","sequence":1}'])
def test_word_of_a_runner_that_is_no_name_is_no_ack(text: bytes) -> None:
    assert find_ack([{"type": "http.request", "body": text}]) is None


def test_token_that_may_not_report_is_left_to_django(live: Live, trading: World) -> None:
    assert tell(live, ACKS, {"client_id": "r1", "sequence": 1}, **bearer("gateway")).status == NOT_HOT


def test_reader_of_a_stream_is_heard_of(
    live: Live, trading: World, runner: Headers, written: Callable[[], RunnerSession]
) -> None:
    async def story() -> None:
        stream = Stream(live, "/worlds/w1/events?client_id=s1", **runner)
        event = await stream.next()
        assert json.dumps(event.data)
        await stream.leave()

    on_loop(story)

    assert (written().client_id, written().connection) == ("s1", "stream")
