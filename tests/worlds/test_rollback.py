from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import (
    GenerationNotFoundError,
    InputInvalidError,
    PermissionDeniedError,
    RunIdReusedError,
)
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from strategies.models import StrategyInstance
from strategies.services.bind import Binding
from tests.worlds.factories import POLICY, act_of, add_day, put_policy, shell
from tests.worlds.steps import (
    GOOD,
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    go_on,
    members_now,
    start,
    wait_with_increase,
)
from worlds.models import ActivationSet, ApplyRun, World
from worlds.selectors import members_of
from worlds.services.binding import bind, unbind
from worlds.services.holds import place_hold
from worlds.services.rollback import RollbackRequest, preview_rollback, request_rollback
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db

STRICT = POLICY.replace(
    "  constraints:\n", "  constraints:\n    correlation: {{max_pairwise: 0.99, window: 60d, min_overlap: 10}}\n"
).replace("gross_budget", "max_leverage: 1.5, sector_cap: {{per_sector: 0.4}}, gross_budget")


@pytest.fixture
def replaced(world: World, alice: User, bob: User) -> World:
    """Generation 1 held good and better, generation 2 holds better and best."""
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    finish(world, "run-2")
    world.refresh_from_db()
    return world


def roll_back(world: World, operator: User, to: int, run_id: str = "back-1") -> ApplyRun:
    return request_rollback(world_id=world.id, request=RollbackRequest(run_id, to), act=act_of(operator)).run


def test_rollback_takes_away_at_once_and_asks_before_it_gives(replaced: World, alice: User, bob: User) -> None:
    run = roll_back(replaced, alice, 1)
    reduce = run.reduce_run
    assert reduce is not None

    go_on(replaced, reduce.run_id)
    reduced, waits = members_now(replaced), run.state
    approve_now(replaced, run, bob)
    done = finish(replaced, run.run_id)

    assert (reduced, waits) == ({"better"}, RunState.REQUESTED)
    assert done.state == RunState.DONE
    assert members_now(replaced) == {"good", "better"}
    assert replaced.generation == 4
    first, last = (ActivationSet.objects.get(world=replaced, generation=number) for number in (1, 4))
    assert first.content_hash == last.content_hash
    assert chain_is_whole(replaced)


def test_member_that_comes_back_names_the_evaluation_that_chose_it_then(
    replaced: World, alice: User, bob: User
) -> None:
    run = roll_back(replaced, alice, 1)
    approve_now(replaced, run, bob)
    finish(replaced, run.run_id)

    entry = ActivationSet.objects.get(world=replaced, generation=4).entries.get(instance__strategy_id="good")

    assert entry.evaluation_run_id == "eval-1"


def test_rollback_works_under_caps_on_correlation_leverage_and_sectors(world: World, alice: User, bob: User) -> None:
    bind(world_id=world.id, bindings=[Binding("better", sector="energy")], act=shell())
    put_policy(world, author=alice, approver=bob, version=2, text=STRICT)
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    finish(world, "run-2")
    evaluate(world, "eval-3", day=1)

    seen = preview_rollback(world_id=world.id, to_generation=1, act=act_of(alice))
    back = roll_back(world, alice, 1)
    approve_now(world, back, bob)
    done = finish(world, back.run_id)

    assert seen.left_out == ()
    assert (done.state, done.state_reason) == (RunState.DONE, "completed")
    assert members_now(world) == {"good", "better"}
    assert [member.weight for member in members_of(world.id, world.generation).values()] == [0.3, 0.3]


def test_preview_names_who_is_left_out_and_why(replaced: World, alice: User) -> None:
    unbind(world_id=replaced.id, strategy_id="better", side=None, act=shell())
    StrategyInstance.objects.filter(strategy_id="good").update(fresh_until=database_now() - timedelta(days=1))

    seen = preview_rollback(world_id=replaced.id, to_generation=1, act=act_of(alice))

    assert {key.strategy_id: why for key, why in seen.left_out} == {"better": "withdrawn", "good": "stale"}
    assert seen.content.entries == ()


def test_instance_that_is_still_to_be_flat_may_come_back(replaced: World, alice: User) -> None:
    hold = make_hold(HoldKind.AWAITING_FLAT, "run-2:good|long", key=GOOD)
    place_hold(world=replaced, hold=hold, act=shell())

    seen = preview_rollback(world_id=replaced.id, to_generation=1, act=act_of(alice))

    assert seen.left_out == ()


def test_rollback_is_answered_by_its_run_id_for_ever(replaced: World, alice: User) -> None:
    roll_back(replaced, alice, 1)

    again = request_rollback(world_id=replaced.id, request=RollbackRequest("back-1", 1), act=act_of(alice))

    assert again.replayed
    assert ApplyRun.objects.filter(rollback_to=1).count() == 2
    with pytest.raises(RunIdReusedError):
        roll_back(replaced, alice, 0)


@pytest.mark.parametrize("to", [2, 3])
def test_rollback_goes_to_an_earlier_generation_only(replaced: World, alice: User, to: int) -> None:
    with pytest.raises(InputInvalidError):
        roll_back(replaced, alice, to)


def test_preview_of_a_generation_that_never_was_is_not_found(replaced: World, alice: User) -> None:
    with pytest.raises(GenerationNotFoundError):
        preview_rollback(world_id=replaced.id, to_generation=99, act=act_of(alice))


def test_approver_cannot_request_a_rollback(replaced: World, bob: User) -> None:
    with pytest.raises(PermissionDeniedError):
        roll_back(replaced, bob, 1)


def test_rollback_to_nothing_only_takes_away(replaced: World, alice: User) -> None:
    run = roll_back(replaced, alice, 0)

    done = go_on(replaced, run.run_id)

    assert (run.kind, done.state) == ("reduce", RunState.DONE)
    assert members_now(replaced) == set()


def test_newer_plan_takes_the_place_of_a_rollback_that_waits(replaced: World, alice: User) -> None:
    back = roll_back(replaced, alice, 1)
    reduce = back.reduce_run
    assert reduce is not None
    go_on(replaced, reduce.run_id)
    add_day(replaced, 2, {"good": 0.001, "better": 0.008, "best": 0.01, "bad": -0.01})
    evaluate(replaced, "eval-3", day=2)

    start(replaced, alice, "run-3", "eval-3")

    back.refresh_from_db()
    assert (back.state, back.state_reason) == (RunState.CANCELLED, "superseded")
