"""The part of a plan that waits for nobody leaves the world under every cap by itself."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User

from audit.models import AuditEvent
from audit.models import RunKind as EvaluationKind
from qmtl_worlds.contracts.errors import WorldBusyError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import POLICY, act_of, add_day, add_strategy, put_policy
from tests.worlds.steps import (
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    finish,
    first_apply,
    go_on,
    lose,
    members_now,
    start,
    wait_with_increase,
)
from worlds.models import ApplyRun, World
from worlds.selectors import find_pin, members_of, set_of
from worlds.services.activation import activation_of
from worlds.services.rollback import RollbackRequest, request_rollback

pytestmark = pytest.mark.django_db

TIGHT = POLICY.replace("long: 0.6", "long: 0.2")


def outranked_over_budget(world: World, alice: User, bob: User) -> None:
    """Both members are outranked, and a new version leaves a third of their budget."""
    first_apply(world, alice, bob)
    for name, quality in (("best", 9.0), ("finest", 12.0)):
        add_strategy(world, name, quality=quality)
    add_day(world, 1, {"good": 0.001, "better": 0.008, "best": 0.01, "finest": 0.012, "bad": -0.01})
    put_policy(world, author=alice, approver=bob, version=2, text=TIGHT)


def test_outranked_members_are_cut_to_a_lowered_budget_before_anybody_approves(
    world: World, alice: User, bob: User
) -> None:
    outranked_over_budget(world, alice, bob)
    evaluate(world, "eval-2", day=1)

    run = start(world, alice, "run-2", "eval-2")
    cut = go_on(world, "run-2:reduce")

    assert run.state == RunState.REQUESTED
    assert cut.state == RunState.DONE
    weights = {key: activation_of(world_id=world.id, key=key).envelope.weight for key in (GOOD, BETTER)}
    assert weights == {GOOD: pytest.approx(0.1), BETTER: pytest.approx(0.1)}


def test_increase_goes_on_from_the_cut_and_leads_to_the_decided_set(world: World, alice: User, bob: User) -> None:
    outranked_over_budget(world, alice, bob)
    evaluate(world, "eval-2", day=1)
    run = start(world, alice, "run-2", "eval-2")
    approve_now(world, run, bob)

    done = finish(world, "run-2")

    world.refresh_from_db()
    assert done.state == RunState.DONE
    assert set_of(members_of(world.id, world.generation)).to_json() == {
        "best|long": pytest.approx(0.1),
        "finest|long": pytest.approx(0.1),
    }


def test_reducing_part_goes_ahead_while_another_increase_is_under_way(world: World, alice: User, bob: User) -> None:
    under_way = drained(world, wait_with_increase(world, alice, bob), bob)
    lose(world, "good", day=2)
    add_day(world, 2, {"best": 0.02})
    evaluate(world, "eval-3", day=2)

    refusals = []
    for _ in range(2):
        with pytest.raises(WorldBusyError) as refused:
            start(world, alice, "run-3", "eval-3")
        refusals.append(refused.value.facts)
    cut = go_on(world, "run-3:reduce")

    assert refusals[0] == refusals[1]
    assert (refusals[0]["holder_run_id"], refusals[0]["reduce_run_id"]) == (under_way.run_id, "run-3:reduce")
    assert (cut.state, members_now(world)) == (RunState.DONE, {"better"})
    assert not ApplyRun.objects.filter(run_id="run-3").exists()
    assert go_on(world, under_way.run_id).state == RunState.DONE
    assert members_now(world) == {"better", "best"}
    told = AuditEvent.objects.get(kind="apply.split")
    assert (told.run_id, json.loads(told.after_json)["reduce_run_id"]) == ("run-3", "run-3:reduce")
    assert chain_is_whole(world)


def test_reducing_part_of_a_rollback_goes_ahead_while_another_increase_is_under_way(
    world: World, alice: User, bob: User
) -> None:
    approve_now(world, wait_with_increase(world, alice, bob), bob)
    finish(world, "run-2")
    add_strategy(world, "finest", quality=12)
    add_day(world, 2, {"good": 0.001, "better": 0.008, "best": 0.01, "finest": 0.012, "bad": -0.01})
    evaluate(world, "eval-3", day=2)
    under_way = drained(world, start(world, alice, "run-3", "eval-3"), bob)

    with pytest.raises(WorldBusyError) as refused:
        request_rollback(world_id=world.id, request=RollbackRequest("back-1", 1), act=act_of(alice))
    go_on(world, "back-1:reduce")

    assert refused.value.facts["holder_run_id"] == under_way.run_id
    assert refused.value.facts["reduce_run_id"] == "back-1:reduce"
    assert members_now(world) == {"better"}
    assert find_pin(world.id) is not None


def test_schedule_cuts_to_a_lowered_budget_while_the_world_is_paused(world: World, alice: User, bob: User) -> None:
    outranked_over_budget(world, alice, bob)
    World.objects.filter(pk=world.pk).update(paused=True)

    evaluate(world, "eval-2", day=1, kind=EvaluationKind.SCHEDULED)

    (run,) = ApplyRun.objects.exclude(run_id="run-1")
    assert go_on(world, run.run_id).state == RunState.DONE
    assert activation_of(world_id=world.id, key=GOOD).envelope.weight == pytest.approx(0.1)
