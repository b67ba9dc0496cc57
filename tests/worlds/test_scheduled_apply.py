from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from audit.models import RunKind
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import POLICY, act_of, add_day, add_strategy, put_policy
from tests.worlds.steps import (
    BEST,
    add_best,
    approve_now,
    evaluate,
    finish,
    first_apply,
    go_on,
    lose,
    members_now,
    start,
    states_of,
)
from worlds.models import ApplyRun, World
from worlds.services.holds import pause
from worlds.services.rollback import RollbackRequest, request_rollback

pytestmark = pytest.mark.django_db
SCHEDULED = RunKind.SCHEDULED
HOURLY = POLICY + "schedule: {{every: 1h}}\n"
AUTOMATIC = POLICY + "apply: {{mode: auto, auto: {{max_changes: 5, max_gross_shift: 1.0}}}}\n"


def test_scheduled_evaluation_requests_the_apply_in_its_own_transaction(world: World) -> None:
    evaluate(world, "slot-1", kind=SCHEDULED)

    run = ApplyRun.objects.get()
    assert (run.run_id, run.state, run.requested_by) == ("apply:slot-1", RunState.REQUESTED, "schedule")
    assert run.evaluation is not None
    assert run.evaluation.run_id == "slot-1"


def test_manual_evaluation_requests_nothing(world: World) -> None:
    evaluate(world)

    assert not ApplyRun.objects.exists()


def test_scheduled_evaluation_of_the_same_change_lets_the_waiting_run_wait_on(world: World) -> None:
    evaluate(world, "slot-1", kind=SCHEDULED)
    add_day(world, 1, {"good": 0.01, "better": 0.02, "bad": -0.01})
    evaluate(world, "slot-2", day=1, kind=SCHEDULED)

    assert [(run.run_id, run.state) for run in ApplyRun.objects.all()] == [("apply:slot-1", RunState.REQUESTED)]


def test_scheduled_evaluation_of_another_change_supersedes_the_waiting_run(world: World) -> None:
    evaluate(world, "slot-1", kind=SCHEDULED)
    add_best(world)
    evaluate(world, "slot-2", day=1, kind=SCHEDULED)

    first, second = ApplyRun.objects.order_by("id")
    assert (first.state, first.state_reason) == (RunState.CANCELLED, "superseded")
    assert second.state == RunState.REQUESTED


def test_scheduled_evaluation_that_wants_no_change_ends_the_waiting_run(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_best(world)
    evaluate(world, "slot-1", day=1, kind=SCHEDULED)
    waiting = ApplyRun.objects.get(run_id="apply:slot-1")
    add_day(world, 2, {"good": 0.02, "better": 0.02, "best": -0.6, "bad": -0.01})

    evaluate(world, "slot-2", day=2, kind=SCHEDULED)

    assert states_of(waiting) == (RunState.CANCELLED, "superseded")
    assert not ApplyRun.objects.filter(state=RunState.REQUESTED).exists()


def test_scheduled_evaluation_leaves_a_persons_rollback_alone(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_best(world)
    evaluate(world, "eval-2", day=1)
    approve_now(world, start(world, alice, "run-2", "eval-2"), bob)
    finish(world, "run-2")
    back = request_rollback(world_id=world.id, request=RollbackRequest("back-1", 1), act=act_of(alice)).run
    assert back.reduce_run is not None
    go_on(world, back.reduce_run.run_id)
    add_day(world, 2, {"good": 0.0, "better": 0.02, "best": 0.02, "bad": -0.01})

    evaluate(world, "slot-1", day=2, kind=SCHEDULED)

    assert states_of(back)[0] == RunState.REQUESTED
    assert not ApplyRun.objects.filter(run_id="apply:slot-1").exists()


def test_paused_world_only_reduces(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    pause(world_id=world.id, act=act_of(alice))
    add_strategy(world, "best", quality=9)
    add_day(world, 1, {"best": 0.01})
    lose(world, "good")

    evaluate(world, "slot-1", day=1, kind=SCHEDULED)

    run = ApplyRun.objects.exclude(run_id="run-1").get()
    assert run.kind == "reduce"
    go_on(world, run.run_id)
    assert members_now(world) == {"better"}
    assert BEST.strategy_id not in members_now(world)


def test_automatic_increase_goes_ahead_by_itself_inside_the_envelope(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=AUTOMATIC)

    evaluate(world, "slot-1", kind=SCHEDULED)

    run = finish(world, "apply:slot-1")
    assert (run.auto, run.state) == (True, RunState.DONE)


def test_automatic_increase_that_is_queued_does_not_start_in_a_paused_world(
    world: World, alice: User, bob: User
) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=AUTOMATIC)
    evaluate(world, "slot-1", kind=SCHEDULED)
    pause(world_id=world.id, act=act_of(alice))

    run = go_on(world, "apply:slot-1")

    assert (run.state, run.state_reason) == (RunState.CANCELLED, "approval_lapsed")


def test_automatic_policy_still_asks_where_a_person_requests(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=AUTOMATIC)
    evaluate(world)

    assert start(world, alice).state == RunState.REQUESTED


def test_automatic_increase_over_its_envelope_asks(world: World, alice: User, bob: User) -> None:
    text = POLICY + "apply: {{mode: auto, auto: {{max_changes: 1, max_gross_shift: 1.0}}}}\n"
    put_policy(world, author=alice, approver=bob, version=2, text=text)

    evaluate(world, "slot-1", kind=SCHEDULED)

    assert ApplyRun.objects.get().state == RunState.REQUESTED
