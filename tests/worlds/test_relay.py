from __future__ import annotations

from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.contracts.lease import Position
from tests.worlds.bus_steps import change, every_sequence, relayed, saved, sequences, told
from tests.worlds.factories import act_of, make_world, shell
from tests.worlds.steps import first_apply
from worlds.models import OutboxEvent, World
from worlds.selectors import position_of
from worlds.services import relay
from worlds.services.authority import act_of_system
from worlds.services.holds import freeze, unfreeze
from worlds.services.relay import relay_outbox
from worlds.services.restore import fence_world, suspect_restore
from worlds.services.tick_memory import Memory
from worlds.stores import bus
from worlds.stores.bus import ACTIVATION, MARKS_KEY, POLICY, TOPICS, read_marks
from worlds.stores.redis_projection import active_key, read_copy
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades after a busy first day; nothing was relayed yet, Redis is there and empty."""
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


def test_every_sequence_of_a_busy_day_has_one_row(trading: World, alice: User) -> None:
    freeze(world_id=trading.id, act=act_of(alice))
    unfreeze(world_id=trading.id, act=act_of(alice))

    rows = list(OutboxEvent.objects.filter(world=trading).order_by("sequence").values_list("sequence", flat=True))

    assert rows == every_sequence(trading)


def test_every_row_is_told_once_and_in_order(trading: World, redis_client: redis.Redis) -> None:
    relay_outbox()
    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)
    for topic in TOPICS:
        ours = sequences(told(redis_client, trading, topic))
        assert ours == sorted(ours)
    assert relayed(trading) == trading.sequence
    assert sequences(told(redis_client, trading, POLICY)) == [
        row.sequence for row in OutboxEvent.objects.filter(kind="policy_updated")
    ]


def test_event_is_a_cloudevent_with_its_world_as_key(trading: World, redis_client: redis.Redis) -> None:
    change(trading, hold="freeze")
    relay_outbox()
    trading.refresh_from_db()

    event = told(redis_client, trading, ACTIVATION)[-1]

    row = OutboxEvent.objects.get(world=trading, sequence=trading.sequence)
    assert event.pop("time") == row.created_at.isoformat().replace("+00:00", "Z")
    assert event == {
        "specversion": "1.0",
        "id": f"w1:1.{trading.sequence}",
        "source": "/worlds/w1",
        "type": "activation_updated",
        "subject": "w1",
        "datacontenttype": "application/json",
        "partitionkey": "w1",
        "idempotencykey": f"w1:1.{trading.sequence}",
        "incarnation": "1",
        "sequence": str(trading.sequence),
        "data": {"hold": "freeze", "world_id": "w1"},
    }


def test_crash_between_redis_and_row_tells_nothing_twice(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(relay, "_store", die)
        with pytest.raises(KeyboardInterrupt):
            relay_outbox()
    change(trading)

    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)
    assert relayed(trading) == trading.sequence


def test_process_that_slept_tells_nothing_again_and_moves_no_row_back(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = bus.publish

    def sleep_meanwhile(**batch: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(relay, "publish", publish)
            change(trading, 3)
            relay_outbox()
        publish(**batch)

    monkeypatch.setattr(relay, "publish", sleep_meanwhile)
    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)
    assert relayed(trading) == trading.sequence


def test_bus_that_is_away_loses_nothing(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(bus, "redis_client", lambda: nowhere)
        away = relay_outbox()
    change(trading, 2)

    back = relay_outbox()

    assert (away, back) == (False, True)
    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)


def test_bus_that_fell_back_to_an_older_state_is_told_what_it_lost(trading: World, redis_client: redis.Redis) -> None:
    relay_outbox()
    bring_back = saved(redis_client)
    change(trading, 5)
    relay_outbox()
    bring_back()

    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)


def test_bus_that_forgot_everything_is_told_the_latest_again(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "TOLD_AGAIN", 4)
    relay_outbox()
    redis_client.flushall()

    relay_outbox()

    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)[-4:]


@pytest.mark.parametrize("lie", ["1.999999@{origin}", "7.1@{origin}", "1.999999@another", "nonsense", "1.2.3@{origin}"])
def test_mark_that_no_row_bears_out_holds_nothing_back(trading: World, redis_client: redis.Redis, lie: str) -> None:
    relay_outbox()
    redis_client.hset(MARKS_KEY, trading.id, lie.format(origin=trading.created_at.isoformat()))
    change(trading)

    relay_outbox(compared={trading.id})

    assert sequences(told(redis_client, trading, ACTIVATION))[-1] == every_sequence(trading)[-1]
    assert read_marks()[trading.id].sequence == trading.sequence


def test_mark_that_says_more_than_the_rows_keeps_a_world_silent_that_was_never_compared(
    trading: World, redis_client: redis.Redis
) -> None:
    redis_client.hset(MARKS_KEY, trading.id, f"1.999999@{trading.created_at.isoformat()}")

    relay_outbox()

    assert told(redis_client, trading) == []
    assert read_marks()[trading.id].sequence == 999999


def test_what_is_no_text_is_read_as_something_else(trading: World, redis_client: redis.Redis) -> None:
    redis_client.hset(MARKS_KEY, b"\xff", b"\xff")
    redis_client.hset(active_key(trading.id), b"good|long", b"\xff")
    memory = Memory()

    tick(memory)
    tick(memory)

    copy = read_copy(trading.id)
    assert copy is not None
    assert copy.position == position_of(World.objects.get())
    assert sequences(told(redis_client, trading, ACTIVATION))[-1] == every_sequence(trading)[-1]


def test_keys_of_another_type_give_way(trading: World, redis_client: redis.Redis) -> None:
    for key in (MARKS_KEY, ACTIVATION):
        redis_client.set(key, "mine")

    assert relay_outbox()
    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)


def test_event_that_cannot_be_told_keeps_its_own_world_waiting_only(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_world("a-world")
    publish = bus.publish

    def refuse(**batch: Any) -> None:
        if batch["world_id"] == other.id:
            raise ValueError("not a number")
        publish(**batch)

    monkeypatch.setattr(relay, "publish", refuse)
    relay_outbox()

    assert told(redis_client, other) == []
    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)


def test_flood_in_one_world_is_told_in_batches(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 7)
    relay_outbox()
    first = len(told(redis_client, trading))
    for _ in range(10):
        relay_outbox()

    assert first == 7
    assert sorted(sequences(told(redis_client, trading))) == every_sequence(trading)


def test_streams_are_trimmed(trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUS_MAX_LENGTH", 10)
    change(trading, 600)
    for _ in range(2):
        relay_outbox()

    assert redis_client.xlen(ACTIVATION) < 300


def test_relay_of_named_worlds_leaves_others_alone(trading: World, redis_client: redis.Redis) -> None:
    other = make_world("other")

    relay_outbox(world_ids=[other.id])

    assert sequences(told(redis_client, other)) == [1]
    assert told(redis_client, trading) == []


def test_world_that_awaits_its_fence_tells_nothing_and_then_all_in_its_new_incarnation(
    trading: World, redis_client: redis.Redis
) -> None:
    relay_outbox()
    before = trading.sequence
    system = act_of_system(reason="test")
    suspect_restore(world_id=trading.id, remembered=Position(1, before + 50, 0), act=system)
    relay_outbox()
    silent = len(told(redis_client, trading))

    fence = fence_world(world_id=trading.id, act=shell())
    relay_outbox()

    events = [event for event in told(redis_client, trading) if int(event["sequence"]) > before]
    assert silent == before
    assert [event["type"] for event in events] == ["activation_updated", "world_restored"]
    assert {event["incarnation"] for event in events} == {str(fence.incarnation)}


def test_bus_that_lost_all_since_a_fence_is_told_it_again(trading: World, redis_client: redis.Redis) -> None:
    relay_outbox()
    bring_back = saved(redis_client)
    fence = fence_world(world_id=trading.id, act=shell())
    change(trading, 2)
    relay_outbox()
    bring_back()

    relay_outbox()

    events = told(redis_client, trading)
    assert sorted(sequences(events)) == every_sequence(trading)
    assert [event["incarnation"] for event in events].count(str(fence.incarnation)) == 3


def test_relay_raises_nothing_where_redis_answers_late(trading: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailableError("Redis")

    monkeypatch.setattr(relay, "read_marks", away)

    assert not relay_outbox()
