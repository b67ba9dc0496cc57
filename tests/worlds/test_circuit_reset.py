from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    ConflictError,
    PermissionDeniedError,
    PlanStaleError,
    SelfApprovalError,
)
from tests.worlds.circuits import (
    MINUTE,
    limit,
    open_alerts,
    push,
    reset,
    told,
    tripped,
)
from tests.worlds.factories import act_of, person
from worlds.models import Alert, CircuitState, GateHold, Reopening, World
from worlds.services.holds import unfreeze
from worlds.services.reopenings import grant, reject
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def ruth() -> User:
    """Answers for risk."""
    return person("ruth", "risk")


@pytest.fixture
def limited(world: World, alice: User, bob: User) -> World:
    """A world that may lose a tenth."""
    limit(world, alice, bob)
    return world


def test_risk_person_resets_a_paper_world_alone_and_keeps_the_mark(limited: World, ruth: User) -> None:
    incident = push(limited, 100.0, 70.0).state.incident

    asked = reset(limited, ruth, "keep")

    state = CircuitState.objects.get()
    assert asked.state == "granted"
    assert not tripped(limited)
    assert (state.high_water, state.breaching_count) == (100.0, 0)
    assert told() == ["circuit.tripped", "circuit.reset_requested", "circuit.reset"]
    assert open_alerts(limited) == set()
    assert Alert.objects.filter(kind="circuit_reset", subject=incident).count() == 1


def test_world_that_is_still_down_trips_again_on_new_evidence(limited: World, ruth: User) -> None:
    push(limited, 100.0, 88.0, 88.0, since=database_now() - timedelta(hours=1))
    reset(limited, ruth, "keep")
    push(limited, 88.0, since=database_now() - 3 * MINUTE)
    before = tripped(limited)

    push(limited, 88.0)

    assert not before
    assert tripped(limited)


def test_reset_of_the_mark_starts_from_the_present_equity(limited: World, ruth: User) -> None:
    push(limited, 100.0, 70.0, since=database_now() - timedelta(hours=1))

    reset(limited, ruth, "reset")
    push(limited, 69.0, 68.0)

    assert CircuitState.objects.get().high_water == 70.0
    assert not tripped(limited)


def test_live_world_is_reset_by_two(limited: World, ruth: User) -> None:
    World.objects.filter(pk=limited.pk).update(mode="live")
    push(limited, 100.0, 70.0)
    asked = reset(limited, ruth)
    held = tripped(limited)
    with pytest.raises(SelfApprovalError):
        grant(world_id=limited.id, reopening_id=asked.pk, reauthenticated_at=database_now(), act=act_of(ruth))

    rob = person("rob", "risk")
    grant(world_id=limited.id, reopening_id=asked.pk, reauthenticated_at=database_now(), act=act_of(rob))

    assert held
    assert not tripped(limited)
    assert AuditEvent.objects.get(kind="circuit.reset").actor == "person:rob"


def test_operator_asks_for_a_reset_and_does_not_make_it(limited: World, alice: User, ruth: User) -> None:
    push(limited, 100.0, 70.0)

    asked = reset(limited, alice)
    with pytest.raises(PermissionDeniedError):
        grant(world_id=limited.id, reopening_id=asked.pk, reauthenticated_at=database_now(), act=act_of(alice))
    held = tripped(limited)
    grant(world_id=limited.id, reopening_id=asked.pk, reauthenticated_at=database_now(), act=act_of(ruth))

    assert held
    assert not tripped(limited)


def test_reset_without_the_password_only_asks(limited: World, ruth: User) -> None:
    push(limited, 100.0, 70.0)

    asked = reset(limited, ruth, recent=False)

    assert asked.state == "requested"
    assert tripped(limited)


def test_rejected_reset_leaves_the_circuit_open(limited: World, alice: User, ruth: User) -> None:
    push(limited, 100.0, 70.0)

    reject(world_id=limited.id, reopening_id=reset(limited, alice).pk, act=act_of(ruth))

    assert tripped(limited)
    assert told()[-1] == "circuit.reset_rejected"


def test_grant_for_an_older_incident_resets_nothing(limited: World, alice: User, ruth: User) -> None:
    push(limited, 100.0, 70.0, since=database_now() - timedelta(hours=1))
    old = reset(limited, alice, "reset")
    Reopening.objects.filter(pk=old.pk).update(parameters={"incident": "circuit-0.0", "high_water_mark": "reset"})

    with pytest.raises(PlanStaleError):
        grant(world_id=limited.id, reopening_id=old.pk, reauthenticated_at=database_now(), act=act_of(ruth))

    assert tripped(limited)


def test_what_has_not_tripped_cannot_be_reset(limited: World, ruth: User) -> None:
    with pytest.raises(ConflictError, match="nothing to reset"):
        reset(limited, ruth)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM worlds_gatehold",
        "UPDATE worlds_gatehold SET kind = 'freeze'",
        "UPDATE worlds_gatehold SET level = 'reduce_only'",
        "UPDATE worlds_gatehold SET scope = 'good|long'",
        "UPDATE worlds_gatehold SET owner = 'x'",
        "UPDATE worlds_gatehold SET expires_at = placed_at",
    ],
)
def test_database_refuses_to_let_go_of_what_the_circuit_holds(limited: World, sql: str) -> None:
    World.objects.filter(pk=limited.pk).update(circuit_level="closed")
    push(limited, 100.0, 70.0)

    with pytest.raises(IntegrityError, match="refuses"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)

    assert tripped(limited)


def test_grant_by_one_person_does_not_open_a_live_world(limited: World, ruth: User) -> None:
    """A request from before the world went live was allowed to one person."""
    push(limited, 100.0, 70.0)
    asked = reset(limited, ruth, recent=False)
    World.objects.filter(pk=limited.pk).update(mode="live")
    Reopening.objects.filter(pk=asked.pk).update(state="granted", decider_person="ruth@example.org")

    with pytest.raises(IntegrityError, match="refuses"), transaction.atomic():
        GateHold.objects.all().delete()

    assert tripped(limited)


def test_other_holds_can_still_be_lifted(limited: World, alice: User) -> None:
    push(limited, 100.0, 70.0)
    GateHold.objects.create(world=limited, kind="freeze", level="reduce_only", placed_by="x", placed_at=database_now())

    unfreeze(world_id=limited.id, act=act_of(alice))
    GateHold.objects.filter(kind="freeze").delete()

    assert [hold.kind for hold in GateHold.objects.all()] == ["circuit"]
