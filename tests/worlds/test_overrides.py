from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import EtagMismatchError, InputInvalidError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of
from tests.worlds.overriding import BACK, CAPPED, OUT, answer, kinds_about, lay
from tests.worlds.steps import BAD, BETTER, GOOD, chain_is_whole, go_on, members_now
from worlds.models import ApplyRun, Demotion, GateHold, OutboxEvent, Override, World
from worlds.selectors import position_of
from worlds.services.activation import activations_of
from worlds.services.holds import freeze, unfreeze
from worlds.services.overrides import OverrideRequest
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize("cap", [-0.1, 1.1])
def test_database_itself_refuses_a_cap_that_is_no_share(applied: World, cap: float) -> None:
    now = database_now()

    with pytest.raises(DatabaseError), transaction.atomic():
        Override.objects.create(world=applied, scope=GOOD.text, cap=cap, reason="", set_by="x", set_at=now)
