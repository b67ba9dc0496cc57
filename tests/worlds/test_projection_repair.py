from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
from django.contrib.auth.models import User
from pytest_django.fixtures import DjangoAssertNumQueries

from audit.models import AuditEvent
from strategies.models import StrategyInstance
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.models import Alert, World
from worlds.selectors import position_of
from worlds.services import projection
from worlds.services.authority import act_of_system
from worlds.services.holds import freeze
from worlds.services.projection import reconcile_copies
from worlds.services.tick_memory import Memory
from worlds.stores.clock import database_now
from worlds.stores.redis_projection import (
    active_key,
    meta_key,
    read_copy,
)

pytestmark = pytest.mark.django_db
FAR = 60_000
COPY, META = active_key("w1"), meta_key("w1")


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades; Redis is there and empty."""
    first_apply(world, alice, bob)
    World.objects.filter(pk=world.pk).update(lease_ms=FAR)  # a slow machine is no reason for a copy to die
    world.refresh_from_db()
    return world


@pytest.fixture
def memory() -> Memory:
    """One process of the tick, which has found the rows and Redis to agree."""
    return Memory(compared={"w1"})


def reconcile(memory: Memory) -> bool:
    return reconcile_copies(memory=memory, act=act_of_system(reason="test"))


def repairs() -> int:
    return AuditEvent.objects.filter(kind="projection.repaired").count()


def is_whole(world: World) -> bool:
    world.refresh_from_db()
    copy = read_copy(world.id)
    return (
        copy is not None and copy.position == position_of(world) and set(copy.entries) == {"better|long", "good|long"}
    )


def retype(key: str, server: redis.Redis) -> None:
    server.delete(key)
    server.lpush(key, "open")


def test_equal_copy_is_extended_and_not_written(trading: World, memory: Memory, redis_client: redis.Redis) -> None:
    reconcile(memory)
    redis_client.pexpire(active_key(trading.id), FAR // 2)
    redis_client.config_resetstat()

    reconcile(memory)

    commands = redis_client.info("commandstats")
    assert FAR // 2 < redis_client.pttl(active_key(trading.id)) <= FAR
    assert commands["cmdstat_eval"]["calls"] == 1
    assert "cmdstat_hset" not in commands


def test_known_content_is_confirmed_without_reading_it_again(
    trading: World, memory: Memory, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    reconcile(memory)
    act = act_of_system(reason="test")

    with django_assert_num_queries(3):  # worlds, kills, time
        assert reconcile_copies(memory=memory, act=act)


DAMAGES: dict[str, Callable[[redis.Redis], object]] = {
    "entry": lambda server: server.hset(COPY, "good|long", '{"active": true, "weight": 1.0}'),
    "added": lambda server: server.hset(COPY, "bad|long", '{"active": true}'),
    "removed": lambda server: server.delete(COPY),
    "meta": lambda server: server.hset(META, mapping={"meta": "no json", "digest": "0"}),
    "digest": lambda server: server.hset(META, "digest", "0"),
    "position": lambda server: server.hset(META, "sequence", "a lot"),
    "endless position": lambda server: server.hset(META, "sequence", "9" * 400),
    "lost field": lambda server: server.hdel(META, "hold_sequence"),
    "type": lambda server: retype(COPY, server),
    "type of meta": lambda server: retype(META, server),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_copy_that_somebody_else_wrote_is_rewritten_and_audited_once(
    trading: World, memory: Memory, redis_client: redis.Redis, damage: Callable[[redis.Redis], object]
) -> None:
    reconcile(memory)
    states = []
    for _ in range(2):
        damage(redis_client)
        reconcile(memory)
        states.append(is_whole(trading))

    assert states == [True, True]
    assert repairs() == 1
    assert redis_client.pttl(COPY) > 0


def test_repeated_repairs_call_a_person_and_the_alert_ends_when_they_stop(
    trading: World, memory: Memory, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        reconcile(memory)
        redis_client.hset(active_key(trading.id), "bad|long", '{"active": true}')
    raised = Alert.objects.filter(kind="drift", cleared_at=None).count()

    monkeypatch.setattr(projection, "INCIDENT_SECONDS", 0.0)
    for _ in range(4):  # repaired; the alert itself is a change; then it is calm
        reconcile(memory)

    assert raised == 1
    assert repairs() == 1
    assert Alert.objects.get(kind="drift").cleared_at is not None
    assert memory.drifts == {}


def test_restarted_process_ends_the_alert_that_its_predecessor_raised(
    trading: World, memory: Memory, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        reconcile(memory)
        redis_client.hset(active_key(trading.id), "bad|long", '{"active": true}')
    successor = Memory()

    monkeypatch.setattr(projection, "INCIDENT_SECONDS", -math.inf)
    for _ in range(4):
        reconcile(successor)

    assert Alert.objects.get(kind="drift").cleared_at is not None


def test_copy_of_an_older_position_is_no_drift(trading: World, memory: Memory, alice: User) -> None:
    reconcile(memory)
    freeze(world_id=trading.id, act=act_of(alice))  # its projection waits for a commit that a test never makes

    reconcile(memory)

    copy = read_copy(trading.id)
    assert copy is not None
    assert {entry["gate"] for entry in copy.entries.values()} == {"reduce_only"}
    assert repairs() == 0


def test_copy_follows_data_that_turns_stale_without_a_change_of_position(trading: World, memory: Memory) -> None:
    reconcile(memory)
    StrategyInstance.objects.filter(world=trading).update(fresh_until=database_now() - timedelta(seconds=1))
    memory.known.clear()  # four seconds pass

    reconcile(memory)

    copy = read_copy(trading.id)
    assert copy is not None
    assert not any(entry["active"] for entry in copy.entries.values())
    assert repairs() == 0


def test_content_is_read_again_once_time_may_have_changed_it(trading: World, memory: Memory) -> None:
    reconcile(memory)
    known = memory.known[trading.id]
    end = known.true_until
    assert end is not None

    verdicts = [
        known.still_true(position=known.mark.position, lease_ms=known.lease_ms, at=at)
        for at in (end, end + timedelta(microseconds=1))
    ]

    assert verdicts == [True, False]
