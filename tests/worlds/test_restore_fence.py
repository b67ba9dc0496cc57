from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import PermissionDeniedError
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, make_world, person, shell
from tests.worlds.steps import (
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    first_apply,
    go_on,
    states_of,
)
from worlds.models import ApplyRun, GateHold, World
from worlds.selectors import position_of
from worlds.services.activation import activation_of
from worlds.services.holds import freeze
from worlds.services.projection import origin_of
from worlds.services.restore import FENCED, fence_world, lift_boot
from worlds.stores import redis_projection
from worlds.stores.bus import MARKS_KEY
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def trading(world: World, alice: User, bob: User, redis_client: redis.Redis) -> World:
    """Generation 1 trades; Redis is there and empty."""
    first_apply(world, alice, bob)
    world.refresh_from_db()
    return world


def boot_owners(world: World) -> list[str]:
    return list(GateHold.objects.filter(world=world, kind="boot").values_list("owner", flat=True))


def gate(world: World) -> tuple[str, str]:
    envelope = activation_of(world_id=world.id, key=GOOD).envelope
    return envelope.gate.value, envelope.reason


def at_state(world: World, run: ApplyRun, bob: User, state: RunState) -> None:
    """Take the waiting run to ``state``, as the backup caught it."""
    drained(world, run, bob)
    ApplyRun.objects.filter(pk=run.pk).update(state=state.value)


def test_fence_rises_above_all_that_was_told_and_closes(trading: World) -> None:
    before = position_of(trading)

    fence = fence_world(world_id=trading.id, act=shell())

    trading.refresh_from_db()
    assert fence.incarnation_before == before.incarnation
    assert position_of(trading) > before
    assert trading.incarnation == fence.incarnation >= int(database_now().timestamp()) - 60
    assert gate(trading) == ("closed", "boot")
    told = AuditEvent.objects.get(kind="system.restored").after_json
    assert f'"incarnation":{fence.incarnation}' in told
    assert chain_is_whole(trading)


def test_fence_after_a_fence_that_the_backup_forgot_rises_above_it(trading: World) -> None:
    first = fence_world(world_id=trading.id, act=shell())
    World.objects.filter(pk=trading.pk).update(incarnation=1)  # the backup is older than the first fence

    second = fence_world(world_id=trading.id, remembered=Position(first.incarnation, 9, 0), act=shell())

    assert second.incarnation > first.incarnation


def test_fence_rises_above_redis_but_believes_no_absurd_claim(trading: World) -> None:
    soon = int(database_now().timestamp()) + 1_000

    above = fence_world(world_id=trading.id, remembered=Position(soon, 9, 0), act=shell())
    absurd = fence_world(world_id=trading.id, remembered=Position(10**14, 9, 0), act=shell())

    assert above.incarnation == soon + 1
    assert absurd.incarnation == soon + 2


def test_fence_is_lifted_by_the_risk_role_alone(trading: World, alice: User, bob: User) -> None:
    fence_world(world_id=trading.id, act=shell())
    rita = person("rita", "risk")

    for refused in (alice, bob):
        with pytest.raises(PermissionDeniedError):
            lift_boot(world_id=trading.id, act=act_of(refused))
    lifted = lift_boot(world_id=trading.id, act=act_of(rita))

    assert lifted
    assert gate(trading) == ("open", "active")
    assert not lift_boot(world_id=trading.id, act=act_of(rita))


def test_lifting_the_fence_lifts_no_other_hold(trading: World, alice: User) -> None:
    freeze(world_id=trading.id, act=act_of(alice))
    fence_world(world_id=trading.id, act=shell())

    lift_boot(world_id=trading.id, act=shell())

    assert gate(trading) == ("reduce_only", "freeze")


@pytest.mark.parametrize("state", [RunState.FREEZING, RunState.DRAINING, RunState.FROZEN])
def test_run_that_the_backup_caught_under_way_is_held_with_a_new_epoch(
    world: World, waiting: ApplyRun, bob: User, state: RunState
) -> None:
    at_state(world, waiting, bob, state)
    waiting.refresh_from_db()
    before = waiting.epoch

    fence = fence_world(world_id=world.id, act=shell())
    fenced = ApplyRun.objects.get(pk=waiting.pk).epoch
    go_on(world, waiting.run_id)

    assert fence.held == (waiting.run_id,)
    assert fenced == before + 1
    assert states_of(waiting) == ("held", "overdue")
    assert GateHold.objects.filter(world=world, kind="apply").count() == 1
    assert gate(world) == ("closed", "boot")


def test_approvals_given_before_the_fence_are_void(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)

    fence = fence_world(world_id=world.id, act=shell())
    lift_boot(world_id=world.id, act=shell())
    go_on(world, waiting.run_id)

    assert fence.void == (waiting.run_id,)
    assert states_of(waiting) == ("cancelled", "approval_lapsed")


def test_waiting_run_takes_a_new_approval_after_the_fence(world: World, waiting: ApplyRun, bob: User) -> None:
    fence_world(world_id=world.id, act=shell())
    lift_boot(world_id=world.id, act=shell())
    waiting.refresh_from_db()

    approve_now(world, waiting, bob)

    assert waiting.approval_round == 2
    assert go_on(world, waiting.run_id).state == RunState.DRAINING


def test_command_fences_all_worlds_and_says_what_a_person_must_decide(
    world: World, waiting: ApplyRun, bob: User, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    drained(world, waiting, bob)
    make_world("other")

    call_command("world_restore_fence", "--all", "--reason", "restored last night's backup")

    said = capsys.readouterr().out
    assert "other: incarnation 1 -> " in said
    assert "w1: run run-2 is held" in said
    assert GateHold.objects.filter(kind="boot", owner=FENCED).count() == 2
    assert AuditEvent.objects.filter(kind="system.restored", reason="restored last night's backup").count() == 2


def test_command_needs_no_redis(
    trading: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    monkeypatch.setattr(redis_projection, "_client", lambda: nowhere)
    monkeypatch.setattr("worlds.stores.bus.redis_client", lambda: nowhere)

    call_command("world_restore_fence", "--world", trading.id, "--reason", "test")

    assert "Redis does not answer" in capsys.readouterr().err
    assert boot_owners(trading) == [FENCED]


def test_command_counts_in_what_redis_remembers(trading: World, redis_client: redis.Redis) -> None:
    soon = int(database_now().timestamp()) + 5_000
    redis_client.hset(MARKS_KEY, trading.id, f"{soon}.7@{origin_of(trading)}")

    call_command("world_restore_fence", "--world", trading.id, "--reason", "test")

    trading.refresh_from_db()
    assert trading.incarnation == soon + 1


def test_command_names_worlds_that_are_not_there_and_does_nothing(trading: World) -> None:
    with pytest.raises(CommandError, match="There is no world nowhere"):
        call_command("world_restore_fence", "--world", trading.id, "--world", "nowhere", "--reason", "test")

    assert boot_owners(trading) == []


def test_command_opens_as_a_person_of_the_risk_role_only(trading: World, alice: User) -> None:
    person("rita", "risk")
    call_command("world_restore_fence", "--all", "--reason", "test")

    with pytest.raises(CommandError, match="permission"):
        call_command("world_restore_fence", "--all", "--open-as", alice.username, "--reason", "test")
    refused = boot_owners(trading)
    call_command("world_restore_fence", "--all", "--open-as", "rita", "--reason", "compared")

    assert refused == [FENCED]
    assert boot_owners(trading) == []
    assert AuditEvent.objects.get(kind="gate.hold_released", subject="boot").actor == "person:rita"
