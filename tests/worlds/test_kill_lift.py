from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    ApprovalNeedsSessionError,
    ConflictError,
    PermissionDeniedError,
    PlanStaleError,
    SelfApprovalError,
)
from tests.worlds.factories import act_of, make_world, person, shell
from tests.worlds.kill_steps import ask_lift, gate_of, lift
from tests.worlds.steps import GOOD, first_apply
from worlds.models import GateHold, Reopening, World
from worlds.selectors import get_world
from worlds.services.activation import activation_of
from worlds.services.kills import allow_flattening, kill
from worlds.services.reopenings import grant, reject
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita() -> User:
    """Minds the risk."""
    return person("rita", "risk")


def test_flattening_lets_exits_through_and_a_new_kill_closes_again(
    world: World, alice: User, bob: User, rita: User
) -> None:
    first_apply(world, alice, bob)
    kill(world_id=world.id, act=act_of(alice))

    with pytest.raises(PermissionDeniedError):
        allow_flattening(world_id=world.id, act=act_of(alice))
    before = activation_of(world_id=world.id, key=GOOD).envelope
    allow_flattening(world_id=world.id, act=act_of(rita))
    relaxed = activation_of(world_id=world.id, key=GOOD).envelope
    kill(world_id=world.id, act=act_of(alice))

    assert (relaxed.gate.value, relaxed.reason, relaxed.active) == ("reduce_only", "killed", False)
    assert relaxed.sequence > before.sequence
    assert gate_of(world) == ("closed", "killed")
    assert AuditEvent.objects.filter(chain=world.id, kind="gate.flattening_allowed").count() == 1


def test_flattening_where_nothing_is_killed_changes_nothing(world: World, rita: User) -> None:
    before = get_world(world.id).sequence

    allow_flattening(world_id=world.id, act=act_of(rita))

    assert get_world(world.id).sequence == before


def test_risk_lifts_the_kill_of_a_paper_world_alone_with_the_password(
    world: World, alice: User, bob: User, rita: User
) -> None:
    first_apply(world, alice, bob)
    kill(world_id=world.id, act=act_of(alice))

    asked = ask_lift(world, rita)

    assert asked.state == Reopening.State.GRANTED
    assert gate_of(world) == ("open", "active")
    assert AuditEvent.objects.filter(chain=world.id, kind="gate.kill_lifted").count() == 1


def test_operator_may_ask_but_not_lift(world: World, alice: User) -> None:
    kill(world_id=world.id, act=act_of(alice))

    asked = ask_lift(world, alice)

    assert asked.state == Reopening.State.REQUESTED
    with pytest.raises(PermissionDeniedError):
        lift(world, asked, alice)
    assert GateHold.objects.exists()


@pytest.fixture
def live() -> World:
    return make_world("w2", mode="live")


def test_kill_of_a_live_world_takes_a_second_person(live: World, alice: User, rita: User) -> None:
    rolf = person("rolf", "risk")
    kill(world_id=live.id, act=act_of(alice))
    asked = ask_lift(live, rita)

    assert asked.state == Reopening.State.REQUESTED
    with pytest.raises(SelfApprovalError):
        lift(live, asked, rita)
    with pytest.raises(ApprovalNeedsSessionError):
        grant(
            world_id=live.id,
            reopening_id=asked.pk,
            reauthenticated_at=database_now() - timedelta(hours=1),
            act=act_of(rolf),
        )
    lift(live, asked, rolf)

    assert not GateHold.objects.exists()
    event = AuditEvent.objects.get(kind="gate.kill_lifted")
    assert event.actor == "person:rolf"
    with pytest.raises(ConflictError):
        lift(live, asked, rolf)


def test_shell_is_no_person_and_lifts_nothing(world: World, alice: User) -> None:
    kill(world_id=world.id, act=act_of(alice))
    asked = ask_lift(world, alice)

    with pytest.raises(ApprovalNeedsSessionError):
        grant(world_id=world.id, reopening_id=asked.pk, reauthenticated_at=database_now(), act=shell())


def test_kill_that_comes_after_the_request_stays(live: World, alice: User, bob: User, rita: User) -> None:
    kill(world_id=live.id, act=act_of(alice))
    asked = ask_lift(live, alice)
    kill(world_id=live.id, act=act_of(bob))

    lift(live, asked, rita)

    assert [hold.owner for hold in GateHold.objects.all()] == ["person:bob"]


def test_kill_that_is_repeated_after_the_request_makes_it_stale(live: World, alice: User, rita: User) -> None:
    kill(world_id=live.id, act=act_of(alice))
    asked = ask_lift(live, alice)
    kill(world_id=live.id, act=act_of(alice, "I mean it"))

    with pytest.raises(PlanStaleError):
        lift(live, asked, rita)
    again = ask_lift(live, alice)
    lift(live, again, rita)

    asked.refresh_from_db()
    assert asked.state == Reopening.State.SUPERSEDED
    assert not GateHold.objects.exists()


def test_rejected_request_leaves_the_kill(live: World, alice: User, rita: User) -> None:
    kill(world_id=live.id, act=act_of(alice))
    asked = ask_lift(live, alice)

    reject(world_id=live.id, reopening_id=asked.pk, act=act_of(rita))

    assert GateHold.objects.exists()
    assert AuditEvent.objects.filter(kind="gate.kill_lift_rejected").count() == 1


def test_asking_twice_is_one_request(live: World, alice: User) -> None:
    kill(world_id=live.id, act=act_of(alice))

    assert ask_lift(live, alice).pk == ask_lift(live, alice).pk


def test_lift_of_an_instance_lifts_no_kill_of_the_world(world: World, alice: User, rita: User) -> None:
    kill(world_id=world.id, act=act_of(alice))
    kill(world_id=world.id, scope=GOOD.text, act=act_of(alice))

    ask_lift(world, rita, GOOD.text)

    assert [hold.scope for hold in GateHold.objects.all()] == [""]


def test_there_is_nothing_to_lift_where_nothing_is_killed(world: World, rita: User) -> None:
    with pytest.raises(PlanStaleError):
        ask_lift(world, rita)
