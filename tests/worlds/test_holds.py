from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PermissionDeniedError, WorldNotFoundError
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from strategies.services.bind import Binding
from tests.worlds.factories import act_of, make_world, person, shell
from tests.worlds.steps import GOOD, approve_now, first_apply, go_on, wait_with_increase
from worlds.models import ApplyRun, GateHold, OutboxEvent, World
from worlds.services.activation import activation_of
from worlds.services.binding import bind, choose_roster, unbind
from worlds.services.changes import VisibleChange, announce, announce_all
from worlds.services.holds import freeze, lift_hold, pause, place_hold, resume, unfreeze
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def test_freezing_twice_is_once(world: World, alice: User) -> None:
    freeze(world_id=world.id, act=act_of(alice))
    freeze(world_id=world.id, act=act_of(alice))

    assert GateHold.objects.count() == 1
    assert AuditEvent.objects.filter(kind="gate.frozen").count() == 1


def test_unfreezing_what_is_not_frozen_changes_nothing(world: World, alice: User) -> None:
    world.refresh_from_db()
    before = world.sequence

    unfreeze(world_id=world.id, act=act_of(alice))

    world.refresh_from_db()
    assert world.sequence == before
    assert not AuditEvent.objects.filter(kind="gate.unfrozen").exists()


@pytest.mark.parametrize("kind", [HoldKind.KILL, HoldKind.CIRCUIT, HoldKind.STALE_RISK, HoldKind.BOOT])
def test_unfreeze_lifts_no_hold_of_another_kind(world: World, alice: User, bob: User, kind: HoldKind) -> None:
    first_apply(world, alice, bob)
    place_hold(world=world, hold=make_hold(kind, "incident"), act=shell())
    freeze(world_id=world.id, act=act_of(alice))

    unfreeze(world_id=world.id, act=act_of(alice))

    assert [hold.kind for hold in GateHold.objects.all()] == [kind]
    assert not activation_of(world_id=world.id, key=GOOD).envelope.active


def test_unfreeze_during_an_apply_does_not_open_the_gate(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    go_on(world, run.run_id)
    freeze(world_id=world.id, act=act_of(alice))

    unfreeze(world_id=world.id, act=act_of(alice))

    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"


def test_stricter_level_of_the_same_hold_wins_and_a_milder_one_changes_nothing(world: World) -> None:
    mild = make_hold(HoldKind.FREEZE, "operator")
    strict = make_hold(HoldKind.FREEZE, "operator", level=GateLevel.CLOSED)

    changes = [place_hold(world=world, hold=hold, act=shell()) for hold in (mild, strict, mild)]

    assert changes == [True, True, False]
    assert GateHold.objects.get().level == "closed"


def test_lifting_takes_exactly_the_hold_that_is_named(world: World) -> None:
    for owner in ("a", "b"):
        place_hold(world=world, hold=make_hold(HoldKind.KILL, owner), act=shell())
    place_hold(world=world, hold=make_hold(HoldKind.KILL, "a", key=GOOD), act=shell())

    assert lift_hold(world=world, kind=HoldKind.KILL, owner="a")

    assert {(hold.owner, hold.scope) for hold in GateHold.objects.all()} == {("b", ""), ("a", "good|long")}


def test_pause_and_resume_are_told_once_each(world: World, alice: User) -> None:
    for act in (pause, pause, resume, resume):
        act(world_id=world.id, act=act_of(alice))

    world.refresh_from_db()
    told = AuditEvent.objects.filter(kind__in=["gate.paused", "gate.unpaused"]).order_by("seq")
    assert [event.kind for event in told] == ["gate.paused", "gate.unpaused"]
    assert not world.paused


@pytest.mark.parametrize(("verb", "role"), [(freeze, "viewer"), (unfreeze, "approver"), (resume, "approver")])
def test_hold_verbs_follow_the_matrix_of_roles(world: World, verb: Callable[..., World], role: str) -> None:
    charlie = person("charlie", role)

    with pytest.raises(PermissionDeniedError):
        verb(world_id=world.id, act=act_of(charlie))


def test_stranger_learns_nothing_of_a_world(world: World) -> None:
    charlie = person("charlie", "operator", world=make_world("w2"))

    with pytest.raises(WorldNotFoundError):
        freeze(world_id=world.id, act=act_of(charlie))


def test_approver_may_freeze_because_closing_is_cheap(world: World, bob: User) -> None:
    freeze(world_id=world.id, act=act_of(bob))

    assert GateHold.objects.get().placed_by == "person:bob"


def test_leaving_the_roster_closes_at_once_and_returning_reopens_nothing(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    choose_roster(world_id=world.id, strategies=["better", "bad"], act=shell())
    left = activation_of(world_id=world.id, key=GOOD).envelope
    go_on(world, ApplyRun.objects.get(kind="reduce").run_id)
    choose_roster(world_id=world.id, strategies=["better", "bad", "good"], act=shell())
    back = activation_of(world_id=world.id, key=GOOD).envelope

    assert (left.gate.value, left.reason) == ("reduce_only", "withdrawn")
    assert (back.active, back.reason) == (False, "not_selected")
    assert not GateHold.objects.exists()


def test_binding_other_params_withdraws_what_was_active(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    bind(world_id=world.id, bindings=[Binding("good", Side.LONG, params={"n": 2})], act=shell())
    closed = activation_of(world_id=world.id, key=GOOD).envelope
    go_on(world, ApplyRun.objects.get(kind="reduce").run_id)

    assert (closed.active, closed.reason) == (False, "withdrawn")
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "not_selected"


def test_unbinding_twice_before_the_tick_makes_no_second_cut(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())
    unbind(world_id=world.id, strategy_id="better", side=None, act=shell())
    for run in ApplyRun.objects.filter(kind="reduce").order_by("id"):
        go_on(world, run.run_id)

    world.refresh_from_db()
    assert set(ApplyRun.objects.filter(kind="reduce").values_list("state", flat=True)) == {"done"}
    assert world.generation == 3
    assert not GateHold.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_change_outside_a_transaction_is_not_announced() -> None:
    world = make_world()

    with pytest.raises(transaction.TransactionManagementError):
        announce(world, kind="world_updated", payload={}, now=database_now())


@pytest.mark.django_db
def test_changes_of_one_transaction_are_numbered_one_after_the_other() -> None:
    world = make_world()
    before = world.sequence

    phases = ("requested", "queued")
    changes = [VisibleChange(kind="apply_updated", payload={"phase": phase}) for phase in phases]
    numbers = announce_all(world, changes, now=database_now())

    assert list(numbers) == [before + 1, before + 2]
    told = OutboxEvent.objects.filter(sequence__gt=before).order_by("sequence")
    assert [(row.sequence, row.payload["phase"]) for row in told] == list(zip(numbers, phases, strict=True))
    world.refresh_from_db()
    assert world.sequence == before + 2


def test_act_names_who_did_it(world: World, alice: User) -> None:
    act = act_of(alice, "maintenance")
    assert isinstance(act, Act)

    freeze(world_id=world.id, act=act)

    event = AuditEvent.objects.get(kind="gate.frozen")
    assert (event.actor, event.reason) == ("person:alice", "maintenance")
