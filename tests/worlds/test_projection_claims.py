from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from qmtl_worlds.contracts.lease import Position
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.models import GateHold, World
from worlds.selectors import position_of
from worlds.services import projection
from worlds.services.authority import act_of_system
from worlds.services.holds import freeze
from worlds.services.projection import project_world, reconcile_copies
from worlds.services.tick_memory import Memory
from worlds.stores import redis_projection
from worlds.stores.redis_projection import (
    Found,
    active_key,
    confirm_copy,
    mark_of,
    meta_key,
    read_copy,
    redis_now_ms,
    replace_copy,
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


def claim(world: World, position: Position) -> None:
    """Let Redis hold a whole copy that says it is of ``position``."""
    meta = {"generation": 9, "sequence": position.sequence, "origin": world.created_at.isoformat()}
    entries = {"evil|long": {"active": True, "weight": 1.0, "gate": "open", "reason": "active"}}
    written = replace_copy(
        world_id=world.id, position=position, deadline_ms=redis_now_ms() + FAR, meta=meta, entries=entries
    )
    assert written


def test_lie_about_a_newer_position_is_overwritten_and_opens_nothing(trading: World, memory: Memory) -> None:
    reconcile(memory)
    claim(trading, Position(trading.incarnation, trading.sequence + 1_000, 0))

    reconcile(memory)

    assert is_whole(trading)
    assert repairs() == 1
    assert not GateHold.objects.exists()


def test_copy_of_a_newer_incarnation_stays_until_it_dies(trading: World, memory: Memory) -> None:
    reconcile(memory)
    claim(trading, Position(trading.incarnation + 1, 1, 0))

    reconcile(memory)

    kept = read_copy(trading.id)
    assert kept is not None
    assert kept.position == Position(trading.incarnation + 1, 1, 0)
    assert repairs() == 0


def test_copy_from_another_database_is_overwritten_without_a_word(
    trading: World, memory: Memory, redis_client: redis.Redis
) -> None:
    claim(trading, Position(trading.incarnation, trading.sequence + 5, 0))
    meta = '{"generation": 9, "sequence": 22, "origin": "another"}'
    redis_client.hset(meta_key(trading.id), "meta", meta)

    reconcile(memory)

    assert is_whole(trading)
    assert repairs() == 0


def test_newer_copy_that_an_honest_process_wrote_meanwhile_stands(
    trading: World, alice: User, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile(memory)
    freeze(world_id=trading.id, act=act_of(alice))
    project_world(world_id=trading.id)
    stale = {trading.id: memory.known[trading.id].mark.position}
    monkeypatch.setattr(projection, "positions_of", lambda _worlds: stale)  # read a moment before the freeze

    reconcile(memory)

    trading.refresh_from_db()
    copy = read_copy(trading.id)
    assert copy is not None
    assert copy.position == position_of(trading)
    assert repairs() == 0


def test_disbelief_is_for_exactly_the_position_that_was_seen(trading: World) -> None:
    claim(trading, Position(1, 1_000, 0))

    assert not project_world(world_id=trading.id, disbelieved=Position(1, 999, 0))
    assert project_world(world_id=trading.id, disbelieved=Position(1, 1_000, 0))


def test_mark_recognizes_its_copy_whatever_its_texts_are(redis_client: redis.Redis) -> None:
    names = ("a|long", "a", "Ünï|short", "", "Z|long", "_|long")
    entries: dict[str, dict[str, object]] = {name: {"weight": 1 / (len(name) + 1)} for name in names}
    position, deadline = Position(3, 2, 1), redis_now_ms() + FAR
    replace_copy(world_id="w1", position=position, deadline_ms=deadline, meta={"é": 1}, entries=entries)

    mark = mark_of(position, meta={"é": 1}, entries=entries)

    assert confirm_copy(world_id="w1", mark=mark, deadline_ms=deadline) == (Found.SAME, position)


def test_confirmation_that_comes_too_late_extends_nothing(trading: World, redis_client: redis.Redis) -> None:
    project_world(world_id=trading.id)
    memory = Memory()
    reconcile(memory)
    redis_client.pexpire(active_key(trading.id), FAR // 2)

    found, _ = confirm_copy(world_id=trading.id, mark=memory.known[trading.id].mark, deadline_ms=redis_now_ms() - 1)

    assert found is Found.LATE
    assert redis_client.pttl(active_key(trading.id)) <= FAR // 2


def test_full_redis_still_takes_the_copy_of_a_closed_gate(
    trading: World, alice: User, memory: Memory, redis_client: redis.Redis
) -> None:
    reconcile(memory)
    freeze(world_id=trading.id, act=act_of(alice))
    redis_client.config_set("maxmemory", "1")

    answered = reconcile(memory)
    redis_client.config_set("maxmemory", "0")

    copy = read_copy(trading.id)
    assert answered
    assert copy is None or {entry["gate"] for entry in copy.entries.values()} == {"reduce_only"}
    reconcile(memory)
    assert is_whole(trading)


def test_absence_of_redis_is_told_once_and_then_each_minute(
    trading: World, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(redis_projection, "_client", lambda: nowhere)
        away = [reconcile(memory) for _ in range(5)]

    back = reconcile(memory)

    told = [record.msg for record in caplog.records if "projection_postponed" in str(record.msg)]
    assert away == [False] * 5
    assert back
    assert len(told) == 2
    assert is_whole(trading)


def test_reproject_throws_away_whatever_is_there(trading: World, capsys: pytest.CaptureFixture[str]) -> None:
    claim(trading, Position(trading.incarnation + 5, 1, 0))

    call_command("world_reproject", trading.id)

    assert is_whole(trading)
    assert capsys.readouterr().out == "w1: written\n"


def test_reproject_without_redis_ends_with_an_error(trading: World, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    monkeypatch.setattr(redis_projection, "_client", lambda: nowhere)

    with pytest.raises(CommandError, match="1 copies were not written"):
        call_command("world_reproject")
