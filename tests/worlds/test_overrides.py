from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction

from audit.models import AuditEvent, RunKind
from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.errors import (
    EtagMismatchError,
    InputInvalidError,
    PermissionDeniedError,
    PlanStaleError,
    SelfApprovalError,
    StrategyNotFoundError,
)
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, add_day, person
from tests.worlds.steps import (
    BAD,
    BEST,
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    finish,
    first_apply,
    go_on,
    members_now,
    start,
    states_of,
    wait_with_increase,
)
from worlds.models import Alert, ApplyRun, Demotion, GateHold, OutboxEvent, Override, Reopening, World
from worlds.selectors import find_override, position_of
from worlds.services.activation import activation_of, activations_of
from worlds.services.authority import act_of_system
from worlds.services.holds import freeze, unfreeze
from worlds.services.overrides import Overridden, OverrideRequest, expire_overrides, set_override
from worlds.services.reopenings import grant, reject
from worlds.services.rollback import RollbackRequest, preview_rollback
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

OUT = OverrideRequest(GOOD, active=False)
CAPPED = OverrideRequest(GOOD, active=True, weight=0.1)
BACK = OverrideRequest(GOOD, active=True)


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    """``good`` and ``better`` trade, 0.3 each."""
    first_apply(world, alice, bob)
    return world


def lay(world: World, user: User, request: OverrideRequest) -> Overridden:
    return set_override(world_id=world.id, request=request, act=act_of(user, reason="bad fills"))


def allow(world: World, user: User, waits: Reopening | None) -> Reopening:
    assert waits is not None
    now = database_now()
    return grant(world_id=world.id, reopening_id=waits.pk, reauthenticated_at=now, act=act_of(user))


def answer(world: World, key: InstanceKey = GOOD) -> ActivationEnvelope:
    return activation_of(world_id=world.id, key=key).envelope


def expire(world: World) -> None:
    Override.objects.filter(world=world).update(expires_at=database_now() - timedelta(seconds=1))
    expire_overrides(act=act_of_system(reason="tick"))


def kinds_about(key: InstanceKey) -> list[str]:
    told = AuditEvent.objects.filter(subject=key.text).exclude(kind="strategy.bound")
    return list(told.order_by("seq").values_list("kind", flat=True))


def test_instance_set_inactive_takes_exits_at_once_and_leaves_by_a_reduce_run(applied: World, bob: User) -> None:
    lay(applied, bob, OUT)
    at_once = answer(applied)
    run = ApplyRun.objects.get(kind="reduce", run_id__startswith="deactivate:")
    done = go_on(applied, run.run_id)

    assert (at_once.gate.value, at_once.reason) == ("reduce_only", "override")
    assert done.state == RunState.DONE
    assert members_now(applied) == {"better"}
    assert answer(applied).reason == "override"
    assert answer(applied, BETTER).active
    assert kinds_about(GOOD) == ["override.set", "strategy.deactivated"]
    assert chain_is_whole(applied)


def test_cool_down_of_a_deactivated_instance_counts_from_the_hold(applied: World, alice: User) -> None:
    lay(applied, alice, OUT)
    held = GateHold.objects.get(kind="override")
    GateHold.objects.filter(pk=held.pk).update(placed_at=held.placed_at - timedelta(hours=1))

    go_on(applied, ApplyRun.objects.get(run_id__startswith="deactivate:").run_id)

    demotion = Demotion.objects.get(instance__strategy_id="good")
    assert demotion.demoted_at == held.placed_at - timedelta(hours=1)


def test_instance_outside_the_set_that_is_deactivated_begins_anew(applied: World, alice: User) -> None:
    lay(applied, alice, OverrideRequest(BAD, active=False))

    assert Demotion.objects.filter(instance__strategy_id="bad").exists()
    assert not ApplyRun.objects.filter(run_id__startswith="deactivate:").exists()


def test_capped_instance_stays_in_the_set_with_less(applied: World, alice: User) -> None:
    lay(applied, alice, CAPPED)

    assert answer(applied).weight == 0.1
    assert answer(applied).active
    whole = {one.key: one.weight for one in activations_of(world_id=applied.id).envelopes}
    assert (whole[GOOD], whole[BETTER]) == (0.1, 0.3)
    assert members_now(applied) == {"good", "better"}
    assert GateHold.objects.count() == 0


@pytest.mark.parametrize(("freeze", "drain"), [(True, None), (None, True), (True, True)])
def test_frozen_instance_takes_exits_only_and_stays_a_member(
    applied: World, alice: User, *, freeze: bool | None, drain: bool | None
) -> None:
    lay(applied, alice, replace(BACK, freeze=freeze, drain=drain))

    told = answer(applied)
    assert (told.gate.value, told.reason, told.freeze, told.drain) == ("reduce_only", "freeze", True, bool(drain))
    assert answer(applied, BETTER).active
    assert members_now(applied) == {"good", "better"}


def test_unfreeze_of_the_world_leaves_a_frozen_instance_frozen(applied: World, alice: User) -> None:
    lay(applied, alice, replace(BACK, freeze=True))
    freeze(world_id=applied.id, act=act_of(alice))

    unfreeze(world_id=applied.id, act=act_of(alice))

    assert answer(applied).reason == "freeze"
    assert answer(applied, BETTER).active


def test_same_override_again_changes_nothing(applied: World, alice: User) -> None:
    lay(applied, alice, CAPPED)
    count = OutboxEvent.objects.count()

    lay(applied, alice, CAPPED)

    assert OutboxEvent.objects.count() == count
    assert kinds_about(GOOD) == ["override.set"]


def test_each_change_of_an_override_is_one_visible_change_with_its_audit(applied: World, alice: User) -> None:
    applied.refresh_from_db()
    before = position_of(applied).sequence

    lay(applied, alice, CAPPED)

    applied.refresh_from_db()
    assert applied.sequence == before + 1
    assert AuditEvent.objects.get(kind="override.set").reason == "bad fills"


@pytest.mark.parametrize("looser", [replace(CAPPED, weight=0.2), BACK, replace(CAPPED, freeze=False)])
def test_loosening_waits_for_a_second_person(applied: World, alice: User, bob: User, looser: OverrideRequest) -> None:
    lay(applied, alice, replace(CAPPED, freeze=True))

    asked = lay(applied, alice, looser)
    still = answer(applied)
    allow(applied, bob, asked.waits)

    assert (still.gate.value, still.reason) == ("reduce_only", "freeze")
    row = find_override(applied.id, GOOD.text)
    assert row is None or row.cap >= 0.1
    assert kinds_about(GOOD)[:3] == ["override.set", "override.requested", "override.approved"]
    assert chain_is_whole(applied)


def test_override_that_would_end_sooner_waits_for_a_second_person(applied: World, alice: User, bob: User) -> None:
    lay(applied, alice, CAPPED)
    soon = database_now() + timedelta(minutes=1)

    asked = lay(applied, alice, replace(CAPPED, expires_at=soon))
    before = Override.objects.get().expires_at
    allow(applied, bob, asked.waits)

    assert (before, Override.objects.get().expires_at) == (None, soon)


def test_lifted_override_gives_the_applied_weight_back_and_no_more(applied: World, alice: User, bob: User) -> None:
    lay(applied, alice, CAPPED)

    allow(applied, bob, lay(applied, alice, BACK).waits)

    assert answer(applied).weight == 0.3
    assert find_override(applied.id, GOOD.text) is None
    assert kinds_about(GOOD)[-1] == "override.lifted"


def test_reactivated_instance_comes_back_by_an_evaluation_and_an_apply_only(
    applied: World, alice: User, bob: User
) -> None:
    lay(applied, alice, OUT)
    go_on(applied, ApplyRun.objects.get(run_id__startswith="deactivate:").run_id)

    allow(applied, bob, lay(applied, alice, BACK).waits)
    lifted = answer(applied)
    add_day(applied, 1, {"good": 0.02, "better": 0.02, "bad": -0.01})
    evaluate(applied, "eval-2", day=1)
    approve_now(applied, start(applied, alice, "run-2", "eval-2"), bob)
    finish(applied, "run-2")

    assert (lifted.gate.value, lifted.reason) == ("reduce_only", "not_selected")
    assert "strategy.reactivated" in kinds_about(GOOD)
    assert answer(applied).active


def test_who_asked_cannot_grant(applied: World) -> None:
    carol = person("carol", "risk")
    lay(applied, carol, CAPPED)
    asked = lay(applied, carol, BACK)

    with pytest.raises(SelfApprovalError):
        allow(applied, carol, asked.waits)

    assert answer(applied).weight == 0.1


def test_approver_may_take_away_and_not_ask_for_more(applied: World, bob: User) -> None:
    lay(applied, bob, CAPPED)

    with pytest.raises(PermissionDeniedError):
        lay(applied, bob, BACK)


def test_viewer_may_lay_nothing(applied: World) -> None:
    with pytest.raises(PermissionDeniedError):
        lay(applied, person("vera", "viewer"), CAPPED)


def test_request_about_an_override_that_changed_since_is_superseded(applied: World, alice: User, bob: User) -> None:
    lay(applied, alice, CAPPED)
    asked = lay(applied, alice, BACK)

    lay(applied, alice, OUT)

    assert asked.waits is not None
    asked.waits.refresh_from_db()
    assert asked.waits.state == Reopening.State.SUPERSEDED
    assert answer(applied).reason == "override"


def test_grant_of_what_is_gone_is_stale_and_grants_nothing(applied: World, alice: User, bob: User) -> None:
    lay(applied, alice, CAPPED)
    asked = lay(applied, alice, BACK)
    Override.objects.update(set_at=database_now())

    with pytest.raises(PlanStaleError):
        allow(applied, bob, asked.waits)

    assert asked.waits is not None
    asked.waits.refresh_from_db()
    assert asked.waits.state == Reopening.State.REQUESTED
    assert answer(applied).weight == 0.1


def test_rejected_request_leaves_the_override(applied: World, alice: User, bob: User) -> None:
    lay(applied, alice, CAPPED)
    asked = lay(applied, alice, BACK)
    assert asked.waits is not None

    reject(world_id=applied.id, reopening_id=asked.waits.pk, act=act_of(bob))

    assert answer(applied).weight == 0.1
    assert kinds_about(GOOD)[-1] == "override.rejected"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (OverrideRequest(BAD, active=True), "active"),
        (OverrideRequest(BAD, active=True, weight=0.2), "active"),
        (OverrideRequest(GOOD, active=True, weight=0.5), "weight"),
        (OverrideRequest(GOOD, active=True, weight=0.0), "weight"),
        (OverrideRequest(GOOD, active=True, weight=1.5), "weight"),
        (OverrideRequest(GOOD, active=True, weight=float("nan")), "weight"),
        (OverrideRequest(GOOD, active=False, weight=0.1), "weight"),
        (OverrideRequest(GOOD, active=False, weight=-0.1), "weight"),
    ],
)
def test_override_never_gives_what_the_applied_set_does_not(
    applied: World, alice: User, request_: OverrideRequest, field: str
) -> None:
    with pytest.raises(InputInvalidError) as refused:
        lay(applied, alice, request_)

    assert refused.value.facts["field"] == field
    assert not Override.objects.exists()


def test_override_that_is_over_already_is_refused(applied: World, alice: User) -> None:
    with pytest.raises(InputInvalidError, match="future"):
        lay(applied, alice, replace(OUT, expires_at=database_now() - timedelta(seconds=1)))


def test_override_of_what_nobody_bound_is_not_found(applied: World, alice: User) -> None:
    with pytest.raises(StrategyNotFoundError):
        lay(applied, alice, OverrideRequest(InstanceKey("ghost", Side.LONG), active=False))


def test_override_on_an_older_sight_of_the_world_is_refused(applied: World, alice: User) -> None:
    seen = answer(applied).etag
    lay(applied, alice, replace(CAPPED, if_match=seen))

    with pytest.raises(EtagMismatchError):
        lay(applied, alice, replace(OUT, if_match=seen))


def test_apply_and_rollback_leave_an_override_as_it_is(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    lay(world, alice, OverrideRequest(BETTER, active=True, weight=0.05))
    approve_now(world, run, bob)
    finish(world, "run-2")

    assert members_now(world) == {"better", "best"}
    assert answer(world, BETTER).weight == 0.05


def test_run_that_would_let_a_deactivated_instance_in_is_cancelled(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    drained(world, run, bob)

    lay(world, alice, OverrideRequest(BEST, active=False))
    go_on(world, run.run_id)

    assert states_of(run) == (RunState.CANCELLED, "stale")
    assert members_now(world) == {"good", "better"}


def test_deactivated_instance_is_not_chosen_again_by_evaluations(applied: World, alice: User) -> None:
    lay(applied, alice, OUT)
    go_on(applied, ApplyRun.objects.get(run_id__startswith="deactivate:").run_id)
    add_day(applied, 1, {"good": 0.02, "better": 0.02, "bad": -0.01})

    evaluate(applied, "eval-2", day=1, kind=RunKind.SCHEDULED)

    assert not ApplyRun.objects.filter(run_id="apply:eval-2", kind="increase").exists()
    assert members_now(applied) == {"better"}


def test_rollback_leaves_a_deactivated_instance_out_and_says_why(applied: World, alice: User) -> None:
    lay(applied, alice, OUT)
    go_on(applied, ApplyRun.objects.get(run_id__startswith="deactivate:").run_id)

    shown = preview_rollback(world_id=applied.id, to_generation=1, act=act_of(alice))

    assert shown.left_out == ((GOOD, "override"),)
    assert RollbackRequest("back-1", 1).digest == RollbackRequest("back-1", 1, None).digest


def test_cap_whose_time_is_over_reopens_what_the_newest_evaluation_selected(applied: World, alice: User) -> None:
    lay(applied, alice, replace(CAPPED, expires_at=database_now() + timedelta(hours=1)))
    expire_overrides(act=act_of_system(reason="tick"))
    before = answer(applied).weight

    expire(applied)

    assert (before, answer(applied).weight) == (0.1, 0.3)
    assert find_override(applied.id, GOOD.text) is None
    assert kinds_about(GOOD)[-1] == "override.expired"
    assert not Alert.objects.filter(kind="override_stays_closed").exists()


def test_override_whose_instance_is_not_selected_any_more_stays_closed_and_calls_a_person(
    applied: World, alice: User, bob: User
) -> None:
    lay(applied, alice, replace(OUT, expires_at=database_now() + timedelta(hours=1)))
    go_on(applied, ApplyRun.objects.get(run_id__startswith="deactivate:").run_id)
    add_day(applied, 1, {"good": 0.02, "better": 0.02, "bad": -0.01})
    evaluate(applied, "eval-2", day=1)

    expire(applied)
    expire(applied)

    row = Override.objects.get()
    assert (row.stays_closed, answer(applied).reason) == (True, "override")
    assert Alert.objects.get(kind="override_stays_closed").subject == GOOD.text
    Override.objects.update(expires_at=None)
    allow(applied, bob, lay(applied, alice, BACK).waits)
    assert Alert.objects.get(kind="override_stays_closed").cleared_at is not None
    assert answer(applied).reason == "not_selected"
    assert chain_is_whole(applied)


def test_override_never_expires_by_anything_but_the_clock_of_the_database(applied: World, alice: User) -> None:
    lay(applied, alice, replace(CAPPED, expires_at=database_now() + timedelta(hours=1)))

    expire_overrides(act=act_of_system(reason="tick"))

    assert answer(applied).weight == 0.1


@pytest.mark.parametrize("cap", [-0.1, 1.1])
def test_database_itself_refuses_a_cap_that_is_no_share(applied: World, cap: float) -> None:
    now = database_now()

    with pytest.raises(DatabaseError), transaction.atomic():
        Override.objects.create(world=applied, scope=GOOD.text, cap=cap, reason="", set_by="x", set_at=now)
