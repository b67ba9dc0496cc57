"""Binding again: other params are another instance, and what was decided on the one before is not its own."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.states import RunState
from strategies.models import StrategyInstance
from strategies.services.bind import Binding
from tests.worlds.factories import push, shell
from tests.worlds.steps import BETTER, GOOD, approve_now, evaluate, finish, first_apply, go_on, start
from worlds.models import ApplyRun, World
from worlds.selectors import members_of
from worlds.services.activation import activation_of
from worlds.services.binding import bind
from worlds.services.rollback import preview_rollback

pytestmark = pytest.mark.django_db


def rebind(world: World) -> None:
    """Bind ``good`` with other params, under which it loses."""
    bind(world_id=world.id, bindings=[Binding("good", params={"window": 5})], act=shell())
    push(world, "good", [-0.01] * 60, side=Side.LONG, days=60)


def test_approved_run_does_not_let_an_instance_in_that_took_the_place_of_the_decided_one(
    world: World, alice: User, bob: User
) -> None:
    evaluate(world)
    run = start(world, alice)
    rebind(world)

    approve_now(world, run, bob)
    ended = finish(world, "run-1")

    assert ended.state == RunState.CANCELLED
    assert not activation_of(world_id=world.id, key=GOOD).envelope.active


def test_run_of_an_older_evaluation_does_not_promote_a_rebound_instance_that_passes_by_now(
    world: World, alice: User, bob: User
) -> None:
    evaluate(world)
    run = start(world, alice)
    bind(world_id=world.id, bindings=[Binding("good", params={"window": 5})], act=shell())
    push(world, "good", [0.004, 0.006] * 30, side=Side.LONG, days=60)
    evaluate(world, "eval-2")

    approve_now(world, run, bob)

    assert finish(world, "run-1").state == RunState.CANCELLED


def test_rollback_leaves_out_a_member_that_is_bound_with_other_params_by_now(
    world: World, alice: User, bob: User
) -> None:
    first_apply(world, alice, bob)
    rebind(world)
    go_on(world, ApplyRun.objects.get(kind="reduce").run_id)
    world.refresh_from_db()

    back = preview_rollback(world_id=world.id, to_generation=1, act=shell())

    assert set(members_of(world.id, world.generation)) == {BETTER}
    assert dict(back.left_out) == {GOOD: "withdrawn"}
    assert set(back.content.weights) == {BETTER}


def test_declaring_a_shorter_bar_shortens_the_time_for_which_data_is_fresh(world: World) -> None:
    before = StrategyInstance.objects.get(strategy_id="good")
    sequence = world.sequence

    bind(world_id=world.id, bindings=[Binding("good", interval_seconds=3_600)], act=shell())

    after = StrategyInstance.objects.get(strategy_id="good")
    assert before.fresh_until is not None
    assert after.fresh_until is not None
    assert before.fresh_until - after.fresh_until == timedelta(hours=23)
    world.refresh_from_db()
    assert world.sequence > sequence


def test_naming_a_sector_leaves_freshness_as_it_is(world: World) -> None:
    world.refresh_from_db()
    sequence = world.sequence

    bind(world_id=world.id, bindings=[Binding("good", sector="oil")], act=shell())

    world.refresh_from_db()
    assert StrategyInstance.objects.get(strategy_id="good").sector == "oil"
    assert world.sequence == sequence
