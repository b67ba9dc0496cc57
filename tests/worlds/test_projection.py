from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.lifecycle.gate import EntryFacts
from tests.worlds.factories import act_of
from tests.worlds.steps import approve_now, first_apply, go_on, wait_with_increase
from worlds.models import World
from worlds.selectors import position_of
from worlds.services import projection
from worlds.services.gate_facts import member_facts
from worlds.services.holds import freeze, unfreeze
from worlds.services.projection import project_world
from worlds.stores import redis_projection
from worlds.stores.redis_projection import active_key, meta_key, read_copy, redis_now_ms, replace_copy
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db
FAR = 60_000


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades; Redis is there and empty."""
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


def copy_at(position: Position, *, deadline_ms: int | None = None) -> bool:
    return replace_copy(
        world_id="w1",
        position=position,
        deadline_ms=redis_now_ms() + FAR if deadline_ms is None else deadline_ms,
        meta={"sequence": position.sequence},
        entries={"good|long": {"active": True}},
    )


def test_copy_holds_the_set_and_the_position_that_it_is_of(trading: World) -> None:
    assert project_world(world_id=trading.id)

    copy = read_copy(trading.id)
    assert copy is not None
    assert copy.position == position_of(trading)
    assert copy.meta == {"generation": 1, "sequence": trading.sequence, "origin": trading.created_at.isoformat()}
    assert set(copy.entries) == {"better|long", "good|long"}
    assert copy.entries["good|long"] == {"active": True, "weight": 0.3, "gate": "open", "reason": "active"}


def test_copy_dies_by_itself_after_one_lease(trading: World, redis_client: redis.Redis) -> None:
    project_world(world_id=trading.id)

    left = [redis_client.pttl(key) for key in (active_key(trading.id), meta_key(trading.id))]

    assert all(0 < ms <= trading.lease_ms for ms in left)


def test_copy_is_written_by_one_call(trading: World, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()

    project_world(world_id=trading.id)

    calls = {name: facts["calls"] for name, facts in redis_client.info("commandstats").items()}
    assert calls.get("cmdstat_eval", 0) + calls.get("cmdstat_evalsha", 0) == 1


def test_copy_follows_a_freeze(trading: World, alice: User) -> None:
    freeze(world_id=trading.id, act=act_of(alice))
    project_world(world_id=trading.id)

    copy = read_copy(trading.id)
    assert copy is not None
    assert {entry["gate"] for entry in copy.entries.values()} == {"reduce_only"}


def test_copy_of_an_older_position_is_refused(redis_client: redis.Redis) -> None:
    assert copy_at(Position(1, 9, 0))

    assert not copy_at(Position(1, 8, 5))
    assert not copy_at(Position(0, 99, 0))
    kept = read_copy("w1")
    assert kept is not None
    assert kept.position == Position(1, 9, 0)


def test_copy_of_a_later_position_wins_by_incarnation_then_sequence_then_kills(redis_client: redis.Redis) -> None:
    positions = [Position(1, 9, 0), Position(1, 9, 1), Position(1, 10, 0), Position(2, 1, 0)]

    assert [copy_at(position) for position in positions] == [True, True, True, True]


def test_copy_that_comes_too_late_is_refused(redis_client: redis.Redis) -> None:
    assert not copy_at(Position(1, 1, 0), deadline_ms=redis_now_ms() - 1)
    assert read_copy("w1") is None


def test_wiped_redis_is_repaired_by_the_next_tick(trading: World, redis_client: redis.Redis) -> None:
    tick()
    redis_client.flushall()
    wiped = read_copy(trading.id)

    tick()

    assert wiped is None
    copy = read_copy(trading.id)
    assert copy is not None
    assert set(copy.entries) == {"better|long", "good|long"}


def test_altered_copy_is_rewritten_by_the_next_tick(trading: World, redis_client: redis.Redis) -> None:
    tick()
    redis_client.hset(active_key(trading.id), "bad|long", '{"active": true}')

    tick()

    copy = read_copy(trading.id)
    assert copy is not None
    assert set(copy.entries) == {"better|long", "good|long"}


def test_members_that_left_are_gone_from_the_copy(trading: World, alice: User, bob: User) -> None:
    project_world(world_id=trading.id)
    World.objects.filter(pk=trading.pk).update(generation=0, sequence=trading.sequence + 1)

    project_world(world_id=trading.id)

    copy = read_copy(trading.id)
    assert copy is not None
    assert copy.entries == {}


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is not there."""
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    monkeypatch.setattr(redis_projection, "_client", lambda: nowhere)


def test_apply_ends_well_without_redis(world: World, alice: User, bob: User, no_redis: None) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)

    drained = go_on(world, run.run_id)
    tick()

    assert drained.state == "draining"
    with pytest.raises(StoreUnavailableError):
        project_world(world_id=world.id)


def test_world_that_never_stands_still_is_not_copied(
    trading: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def facts_while_somebody_toggles(*, world: World) -> dict[InstanceKey, EntryFacts]:
        calls.append(world.id)
        (freeze if len(calls) % 2 else unfreeze)(world_id=world.id, act=act_of(alice))
        return member_facts(world=world)

    monkeypatch.setattr(projection, "member_facts", facts_while_somebody_toggles)

    assert not project_world(world_id=trading.id)
    assert read_copy(trading.id) is None
