from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent
from tests.worlds.circuits import (
    MINUTE,
    limit,
    open_alerts,
    push,
    push_rows,
    told,
    tripped,
)
from tests.worlds.factories import act_of, make_world
from tests.worlds.steps import (
    GOOD,
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    first_apply,
    go_on,
    members_now,
    pass_drain,
    states_of,
    wait_with_increase,
)
from worlds.models import ApplyRun, CircuitState, EquitySnapshot, GateHold, OutboxEvent, World
from worlds.services.activation import activation_of
from worlds.services.equity import Snapshot
from worlds.services.holds import unfreeze
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(world: World, alice: User, bob: User) -> World:
    """A world that may lose a tenth."""
    limit(world, alice, bob)
    return world


def test_second_breaching_sample_trips_in_the_transaction_that_sees_it(limited: World) -> None:
    push(limited, 100.0, 89.0, since=database_now() - timedelta(hours=1))
    before = tripped(limited)

    after = push(limited, 88.0)

    assert not before
    assert tripped(limited)
    assert after.state.incident.startswith("circuit-")
    assert told() == ["circuit.warned", "circuit.tripped"]
    assert AuditEvent.objects.get(kind="circuit.tripped").actor == "circuit"
    assert open_alerts(limited) == {("circuit_tripped", after.state.incident)}
    assert OutboxEvent.objects.filter(kind="risk_circuit", payload__phase="tripped").count() == 1
    assert chain_is_whole(limited)


def test_same_time_twice_confirms_nothing(limited: World) -> None:
    since = database_now() - timedelta(hours=1)
    push(limited, 100.0, 89.0, since=since)

    again = push(limited, 100.0, 89.0, since=since)

    assert (again.stored, again.unchanged) == (0, 2)
    assert not tripped(limited)
    assert EquitySnapshot.objects.count() == 2


def test_twice_the_limit_trips_at_once(limited: World) -> None:
    push(limited, 100.0, 79.0)

    assert tripped(limited)


def test_recovery_between_two_breaches_confirms_nothing(limited: World) -> None:
    push(limited, 100.0, 89.0, 95.0, 89.0)

    assert not tripped(limited)


def test_near_a_limit_is_told_once_and_over_when_it_is(limited: World) -> None:
    since = database_now() - timedelta(hours=1)
    push(limited, 100.0, 91.5, 91.0, since=since)
    warned = open_alerts(limited)

    push(limited, 99.0)

    assert warned == {("circuit_warned", "max_drawdown")}
    assert told() == ["circuit.warned"]
    assert open_alerts(limited) == set()
    assert not tripped(limited)


def test_leverage_and_var_of_a_snapshot_are_judged_too(world: World, alice: User, bob: User) -> None:
    limit(world, alice, bob, "{var_95: 0.03, max_leverage: 2.0}")
    now = database_now()

    push_rows(
        world,
        [
            Snapshot(now - 2 * MINUTE, 100.0, leverage=2.5, var_95=0.01),
            Snapshot(now - MINUTE, 100.0, leverage=1.0, var_95=0.04),
        ],
    )

    assert tripped(world)
    assert '"breaches":{"var_95"' in AuditEvent.objects.get(kind="circuit.tripped").after_json


def test_policy_without_a_circuit_judges_nothing_but_keeps_the_mark(world: World) -> None:
    push(world, 100.0, 10.0)

    state = CircuitState.objects.get()
    assert not tripped(world)
    assert (state.high_water, state.last_sample["drawdown"]) == (100.0, pytest.approx(0.9))


def test_circuit_stays_tripped_whatever_comes(limited: World, alice: User) -> None:
    push(limited, 100.0, 70.0, since=database_now() - timedelta(hours=1))

    push(limited, 70.0, 200.0, 300.0)
    unfreeze(world_id=limited.id, act=act_of(alice))

    assert tripped(limited)
    assert told() == ["circuit.tripped"]


def test_level_of_the_hold_is_the_worlds_setting(limited: World) -> None:
    World.objects.filter(pk=limited.pk).update(circuit_level="closed")

    push(limited, 100.0, 70.0)

    assert GateHold.objects.get(kind="circuit").level == "closed"


def test_tripped_world_takes_exits_only_and_still_evaluates(limited: World, alice: User, bob: User) -> None:
    first_apply(limited, alice, bob)
    push(limited, 100.0, 70.0)

    envelope = activation_of(world_id=limited.id, key=GOOD).envelope
    run = evaluate(limited, "eval-2")

    assert (envelope.active, envelope.gate.value, envelope.reason) == (False, "reduce_only", "circuit")
    assert envelope.effective_mode == "compute-only"
    assert run.state == "ok"
    assert isinstance(run.inputs, dict)
    assert run.inputs["circuit_open"] is True


ENDS = {
    "requested": "requested",
    "queued": "cancelled",
    "freezing": "cancelled",
    "draining": "cancelled",
    "frozen": "cancelled",
    "switched": "done",
    "held": "held",
}
"""How a run ends during which the circuit trips, by the state that it is in."""


def step(run: ApplyRun) -> None:
    """Let a worker make one step and be gone."""
    pass_drain(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worlds.services.advance.MAX_STEPS", 1)
        go_on(run.world, run.run_id)
    ApplyRun.objects.filter(pk=run.pk).update(lease_until=None)
    run.refresh_from_db()


def take_to(run: ApplyRun, state: str) -> None:
    """Advance an approved run to a state; to hold it, let it be overdue."""
    while run.state != (state if state != "held" else "draining"):
        step(run)
    if state == "held":
        ApplyRun.objects.filter(pk=run.pk).update(deadline_at=database_now() - timedelta(minutes=1))
        step(run)


@pytest.mark.parametrize("state", ENDS)
def test_trip_in_any_state_of_a_run_lets_no_increase_through_and_is_not_lifted_by_it(
    limited: World, alice: User, bob: User, state: str
) -> None:
    run = wait_with_increase(limited, alice, bob)
    if state != "requested":
        approve_now(limited, run, bob)
        run.refresh_from_db()
        take_to(run, state)
    before = members_now(limited)

    push(limited, 100.0, 70.0)
    finish(limited, run.run_id)

    assert tripped(limited)
    assert not activation_of(world_id=limited.id, key=GOOD).envelope.active
    assert members_now(limited) == before
    assert states_of(run)[0] == ENDS[state]


def test_apply_cannot_start_while_the_circuit_is_open(limited: World, alice: User, bob: User) -> None:
    run = wait_with_increase(limited, alice, bob)
    push(limited, 100.0, 70.0)

    approve_now(limited, run, bob)
    finish(limited, run.run_id)

    assert states_of(run) == ("cancelled", "blocked")


def test_circuit_of_one_world_leaves_others_alone(limited: World) -> None:
    other = make_world("w2")

    push(limited, 100.0, 70.0)

    assert not tripped(other)
    assert not GateHold.objects.filter(world=other).exists()
