from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import PermissionDeniedError, PlanStaleError, SelfApprovalError
from tests.worlds.factories import act_of, add_day, person
from tests.worlds.overriding import BACK, CAPPED, OUT, allow, answer, kinds_about, lay
from tests.worlds.steps import (
    GOOD,
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    go_on,
    start,
)
from worlds.models import ApplyRun, Override, Reopening, World
from worlds.selectors import find_override
from worlds.services.overrides import OverrideRequest
from worlds.services.reopenings import reject
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


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
