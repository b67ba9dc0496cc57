from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    ConflictError,
    InputInvalidError,
    PermissionDeniedError,
    PlanStaleError,
    SelfApprovalError,
    SeriesConflictError,
    SeriesInvalidError,
)
from tests.worlds.circuits import (
    MINUTE,
    limit,
    open_alerts,
    push,
    push_rows,
    reset,
    told,
    tripped,
)
from tests.worlds.factories import act_of, make_world, person
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
from worlds.models import Alert, ApplyRun, CircuitState, EquitySnapshot, GateHold, OutboxEvent, Reopening, World
from worlds.services.activation import activation_of
from worlds.services.authority import act_of_token
from worlds.services.equity import Snapshot
from worlds.services.holds import unfreeze
from worlds.services.reopenings import grant, reject
from worlds.services.tokens import create_token
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


@pytest.mark.parametrize(
    ("minutes", "equity", "kind"),
    [
        ([-1, -2], 100.0, "non_monotonic"),
        ([-1, -1], 100.0, "non_monotonic"),
        ([-1, 1], 100.0, "future_timestamp"),
        ([-2, -1], 0.0, "equity"),
        ([-2, -1], -1.0, "equity"),
        ([-2, -1], float("nan"), "equity"),
        ([-2, -1], float("inf"), "equity"),
    ],
)
def test_row_that_cannot_be_is_refused_by_its_number(
    limited: World, minutes: list[int], equity: float, kind: str
) -> None:
    now = database_now()
    rows = [Snapshot(now + minutes[0] * MINUTE, 100.0), Snapshot(now + minutes[1] * MINUTE, equity)]

    with pytest.raises(SeriesInvalidError) as error:
        push_rows(limited, rows)

    assert (error.value.facts["row"], error.value.facts["kind"]) == (1, kind)
    assert not EquitySnapshot.objects.exists()


@pytest.mark.parametrize("field", ["leverage", "var_95"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_risk_figure_that_cannot_be_is_refused(limited: World, field: str, value: float) -> None:
    with pytest.raises(SeriesInvalidError) as error:
        push_rows(limited, [Snapshot(database_now(), 100.0, **{field: value})])

    assert error.value.facts["kind"] == field


def test_snapshot_that_contradicts_a_stored_one_is_a_conflict_and_stores_nothing(limited: World) -> None:
    since = database_now() - timedelta(hours=1)
    push(limited, 100.0, since=since)

    with pytest.raises(SeriesConflictError):
        push(limited, 101.0, 102.0, since=since)

    assert EquitySnapshot.objects.count() == 1


def test_snapshot_before_the_last_one_is_refused(limited: World) -> None:
    push(limited, 100.0)

    with pytest.raises(SeriesInvalidError, match="before the last"):
        push(limited, 90.0, since=database_now() - timedelta(hours=1))


def test_push_of_nothing_is_refused(limited: World) -> None:
    with pytest.raises(InputInvalidError):
        push_rows(limited, [])


def test_token_of_some_strategies_speaks_for_no_portfolio(limited: World) -> None:
    made = create_token(role="submitter", name="s", strategies=["good"], act=act_of(person("root", "admin")))
    with pytest.raises(PermissionDeniedError):
        push(limited, 100.0, act=act_of_token(made.token, reason="test"))


def test_circuit_of_one_world_leaves_others_alone(limited: World) -> None:
    other = make_world("w2")

    push(limited, 100.0, 70.0)

    assert not tripped(other)
    assert not GateHold.objects.filter(world=other).exists()
