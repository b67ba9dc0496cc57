from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent, RunKind
from qmtl_worlds.contracts.errors import InputInvalidError, PermissionDeniedError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import POLICY, act_of, add_day, put_policy
from tests.worlds.steps import (
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    go_on,
    lose,
    members_now,
    start,
    states_of,
    wait_with_increase,
)
from worlds.models import ApplyRun, OutboxEvent, World
from worlds.selectors import find_pin
from worlds.services.authority import act_of_system
from worlds.services.pins import expire_pins, pin_set, unpin
from worlds.services.rollback import RollbackRequest, request_rollback
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

AUTOMATIC = POLICY + "apply: {{mode: auto, auto: {{max_changes: 5, max_gross_shift: 1.0}}}}\n"
SCHEDULED = RunKind.SCHEDULED


@pytest.fixture
def pinned(world: World, alice: User, bob: User) -> World:
    """Generation 2 let ``best`` in for ``good``; somebody went back to generation 1, and it is done."""
    approve_now(world, wait_with_increase(world, alice, bob), bob)
    finish(world, "run-2")
    back = request_rollback(world_id=world.id, request=RollbackRequest("back-1", 1), act=act_of(alice)).run
    approve_now(world, back, bob)
    finish(world, "back-1")
    world.refresh_from_db()
    return world


def another_day(world: World, number: int) -> None:
    add_day(world, number, {"good": 0.0, "better": 0.02, "best": 0.02, "bad": -0.01})


def test_schedule_asks_for_no_increase_while_the_set_is_pinned(pinned: World) -> None:
    another_day(pinned, 2)

    evaluate(pinned, "slot-1", day=2, kind=SCHEDULED)

    assert not ApplyRun.objects.filter(run_id="apply:slot-1").exists()
    assert members_now(pinned) == {"good", "better"}
    pin = find_pin(pinned.id)
    assert pin is not None
    assert (pin.generation, pin.policy_version, pin.pinned_by) == (1, 1, "person:alice")


def test_schedule_reduces_a_pinned_set_at_once(pinned: World) -> None:
    lose(pinned, "good", day=2)
    add_day(pinned, 2, {"best": 0.02})

    evaluate(pinned, "slot-1", day=2, kind=SCHEDULED)
    go_on(pinned, "apply:slot-1:reduce")

    assert members_now(pinned) == {"better"}
    assert not ApplyRun.objects.filter(kind="increase", run_id="apply:slot-1").exists()


def test_schedule_asks_again_once_somebody_unpinned(pinned: World, alice: User) -> None:
    unpin(world_id=pinned.id, act=act_of(alice))
    unpin(world_id=pinned.id, act=act_of(alice))
    another_day(pinned, 2)

    evaluate(pinned, "slot-1", day=2, kind=SCHEDULED)

    assert ApplyRun.objects.get(run_id="apply:slot-1").state == RunState.REQUESTED
    assert AuditEvent.objects.filter(kind="rollback.unpinned").count() == 1
    assert chain_is_whole(pinned)


def test_person_may_ask_for_an_increase_of_a_pinned_set(pinned: World, alice: User) -> None:
    another_day(pinned, 2)
    evaluate(pinned, "eval-3", day=2)

    assert start(pinned, alice, "run-3", "eval-3").state == RunState.REQUESTED


def test_another_policy_in_force_unpins(pinned: World, alice: User, bob: User) -> None:
    put_policy(pinned, author=alice, approver=bob, version=2)

    assert find_pin(pinned.id) is None
    assert AuditEvent.objects.filter(kind="rollback.unpinned", actor="person:bob").exists()


def test_pin_ends_by_itself_at_its_expiry(world: World, alice: User, bob: User) -> None:
    approve_now(world, wait_with_increase(world, alice, bob), bob)
    finish(world, "run-2")
    request = RollbackRequest("back-1", 1, pin_expires_at=database_now() + timedelta(hours=1))
    request_rollback(world_id=world.id, request=request, act=act_of(alice))
    expire_pins(act=act_of_system(reason="tick"))
    lasts = find_pin(world.id)

    assert lasts is not None
    lasts.expires_at = database_now() - timedelta(seconds=1)
    lasts.save()
    expire_pins(act=act_of_system(reason="tick"))
    expire_pins(act=act_of_system(reason="tick"))

    assert find_pin(world.id) is None
    assert AuditEvent.objects.filter(kind="rollback.unpinned", actor="system").count() == 1


def test_pin_whose_time_is_over_holds_nothing_before_the_tick_has_come_by(pinned: World) -> None:
    pin = find_pin(pinned.id)
    assert pin is not None
    pin.expires_at = database_now() - timedelta(seconds=1)
    pin.save()
    another_day(pinned, 2)

    evaluate(pinned, "slot-1", day=2, kind=SCHEDULED)

    assert ApplyRun.objects.filter(run_id="apply:slot-1").exists()


def test_rollback_that_pins_in_the_past_is_refused(world: World, alice: User, bob: User) -> None:
    wait_with_increase(world, alice, bob)
    request = RollbackRequest("back-1", 0, pin_expires_at=database_now() - timedelta(seconds=1))

    with pytest.raises(InputInvalidError, match="future"):
        request_rollback(world_id=world.id, request=request, act=act_of(alice))

    assert find_pin(world.id) is None


def test_approver_cannot_unpin(pinned: World, bob: User) -> None:
    with pytest.raises(PermissionDeniedError):
        unpin(world_id=pinned.id, act=act_of(bob))

    assert find_pin(pinned.id) is not None


def test_automatic_increase_that_is_queued_does_not_start_in_a_pinned_world(
    world: World, alice: User, bob: User
) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=AUTOMATIC)
    evaluate(world, "slot-1", kind=SCHEDULED)
    run = ApplyRun.objects.get()
    pin_set(world=world, generation=0, expires_at=None, act=act_of(alice))

    go_on(world, run.run_id)

    assert (run.auto, *states_of(run)) == (True, RunState.CANCELLED, "approval_lapsed")


def test_newer_rollback_pins_anew_and_every_change_of_a_pin_is_visible(pinned: World, alice: User) -> None:
    request_rollback(world_id=pinned.id, request=RollbackRequest("back-2", 0), act=act_of(alice))

    pin = find_pin(pinned.id)
    assert pin is not None
    assert pin.generation == 0
    assert OutboxEvent.objects.filter(kind="world_updated", payload__pinned=True).count() == 2
