from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import RunKind
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, add_day
from tests.worlds.overriding import BACK, CAPPED, OUT, allow, answer, expire, kinds_about, lay
from tests.worlds.steps import (
    BEST,
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    finish,
    go_on,
    members_now,
    states_of,
    wait_with_increase,
)
from worlds.models import Alert, ApplyRun, Override, World
from worlds.selectors import find_override
from worlds.services.authority import act_of_system
from worlds.services.overrides import OverrideRequest, expire_overrides
from worlds.services.rollback import RollbackRequest, preview_rollback
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


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
