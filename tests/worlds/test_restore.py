from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User
from django.db import OperationalError

from audit.models import AuditEvent
from tests.worlds.factories import shell
from tests.worlds.steps import (
    GOOD,
    chain_is_whole,
    first_apply,
)
from worlds.models import GateHold, OutboxEvent, World
from worlds.services import restore
from worlds.services.activation import activation_of
from worlds.services.authority import act_of_system
from worlds.services.projection import project_world
from worlds.services.relay import relay_outbox
from worlds.services.restore import FENCED, SUSPECTED, close_restored, fence_world, lift_boot
from worlds.services.tick_memory import Memory
from worlds.stores.bus import MARKS_KEY
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db
FAR = 60_000


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades; Redis is there and empty."""
    first_apply(world, alice, bob)
    World.objects.filter(pk=world.pk).update(lease_ms=FAR)  # a slow machine is no reason for a copy to die
    world.refresh_from_db()
    return world


def check(memory: Memory) -> None:
    close_restored(memory=memory, act=act_of_system(reason="test"))


def boot_owners(world: World) -> list[str]:
    return list(GateHold.objects.filter(world=world, kind="boot").values_list("owner", flat=True))


def go_back(world: World, by: int = 1) -> None:
    """Let the rows be older than what was told of them, as after a restore."""
    OutboxEvent.objects.filter(world=world, sequence__gt=world.sequence - by).delete()
    World.objects.filter(pk=world.pk).update(sequence=world.sequence - by)


def gate(world: World) -> tuple[str, str]:
    envelope = activation_of(world_id=world.id, key=GOOD).envelope
    return envelope.gate.value, envelope.reason


def test_rows_that_go_back_under_a_running_tick_close_the_world(trading: World) -> None:
    memory = Memory()
    check(memory)
    go_back(trading)

    check(memory)

    assert boot_owners(trading) == [SUSPECTED]
    assert gate(trading) == ("closed", "boot")
    assert AuditEvent.objects.filter(kind="gate.hold_placed", subject="boot").count() == 1
    assert chain_is_whole(trading)


@pytest.mark.parametrize("remembers", ["the bus", "the copy"])
def test_process_that_starts_on_older_rows_than_redis_remembers_closes_the_world(
    trading: World, redis_client: redis.Redis, remembers: str
) -> None:
    if remembers == "the bus":
        relay_outbox()
    else:
        project_world(world_id=trading.id)
    go_back(trading)

    tick(Memory())

    assert boot_owners(trading) == [SUSPECTED]
    assert gate(trading) == ("closed", "boot")


def test_process_that_starts_on_the_rows_that_redis_knows_closes_nothing(trading: World) -> None:
    relay_outbox()
    project_world(world_id=trading.id)
    memory = Memory()

    tick(memory)
    tick(memory)

    assert boot_owners(trading) == []
    assert memory.compared == {trading.id}


def test_what_redis_remembers_of_another_database_closes_nothing(trading: World, redis_client: redis.Redis) -> None:
    redis_client.hset(MARKS_KEY, trading.id, "1.999@2020-01-01T00:00:00+00:00")

    check(Memory())

    assert boot_owners(trading) == []


def test_check_waits_for_redis_and_is_done_once(trading: World, monkeypatch: pytest.MonkeyPatch) -> None:
    relay_outbox()
    go_back(trading)
    memory = Memory()
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr("worlds.stores.bus.redis_client", lambda: nowhere)
        check(memory)
    without = boot_owners(trading)

    check(memory)

    assert without == []
    assert boot_owners(trading) == [SUSPECTED]


def test_what_redis_remembers_is_kept_until_the_world_is_closed(
    trading: World, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay_outbox()
    project_world(world_id=trading.id)
    go_back(trading)
    memory = Memory()

    def locked(**_: object) -> None:
        raise OperationalError("somebody holds the lock")

    with monkeypatch.context() as patch:
        patch.setattr(restore, "suspect_restore", locked)
        tick(memory)
    meanwhile = boot_owners(trading)
    tick(memory)

    assert meanwhile == []
    assert boot_owners(trading) == [SUSPECTED]


def test_suspicion_is_not_lifted_but_by_the_fence(trading: World) -> None:
    memory = Memory()
    check(memory)
    go_back(trading)
    check(memory)

    lifted = lift_boot(world_id=trading.id, act=shell())

    assert not lifted
    assert boot_owners(trading) == [SUSPECTED]
    fence_world(world_id=trading.id, act=shell())
    assert boot_owners(trading) == [FENCED]
