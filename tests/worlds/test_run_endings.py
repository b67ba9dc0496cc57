from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import RunStateError
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import POLICY, act_of, add_day, put_policy, shell
from tests.worlds.steps import (
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    drained,
    evaluate,
    first_apply,
    go_on,
    kill_worker,
    kinds_of,
    lose,
    members_now,
    pass_drain,
    start,
    states_of,
)
from worlds.models import ActivationSet, ApplyRun, GateHold, OutboxEvent, World
from worlds.services import advance as machine
from worlds.services import step_facts
from worlds.services.activation import activation_of
from worlds.services.approvals import abort, resume
from worlds.services.binding import unbind
from worlds.services.holds import freeze
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def unreadable(*_: object, **__: object) -> NoReturn:
    raise ValueError("the row makes no sense")


def test_six_dead_workers_hold_the_run_with_the_gate_closed(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    ApplyRun.objects.filter(pk=waiting.pk).update(attempts=6)

    go_on(world, waiting.run_id)

    assert states_of(waiting) == (RunState.HELD, "overdue")
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"
    assert OutboxEvent.objects.filter(kind="alert", payload__alert="run_held").exists()


def test_run_whose_facts_cannot_be_read_is_held_after_six_breakdowns(
    world: World, waiting: ApplyRun, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    pass_drain(waiting)
    ApplyRun.objects.filter(pk=waiting.pk).update(state=RunState.FROZEN, attempts=6)
    monkeypatch.setattr(step_facts, "enough_approvals", unreadable)

    go_on(world, waiting.run_id)

    assert states_of(waiting) == (RunState.HELD, "overdue")


def test_run_over_its_deadline_is_held_and_a_person_resumes_it_from_the_freeze(
    world: World, waiting: ApplyRun, bob: User
) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    ApplyRun.objects.filter(pk=waiting.pk).update(deadline_at=database_now() - timedelta(seconds=1))
    go_on(world, waiting.run_id)
    held = states_of(waiting)

    resume(world_id=world.id, run_id=waiting.run_id, act=act_of(bob))
    again = go_on(world, waiting.run_id)
    pass_drain(waiting)
    go_on(world, waiting.run_id)

    assert held == (RunState.HELD, "overdue")
    assert again.state == RunState.DRAINING
    assert states_of(waiting)[0] == RunState.DONE
    assert "apply.resumed" in kinds_of(waiting)


def test_run_whose_own_hold_was_taken_away_is_held_and_closed_again(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    GateHold.objects.all().delete()

    go_on(world, waiting.run_id)

    assert states_of(waiting) == (RunState.HELD, "hold_missing")
    assert not activation_of(world_id=world.id, key=GOOD).envelope.active


@pytest.mark.parametrize("phase", ["requested", "queued", "draining", "held"])
def test_aborted_run_leaves_the_set_and_takes_its_own_hold_away(
    world: World, waiting: ApplyRun, alice: User, bob: User, phase: str
) -> None:
    if phase != "requested":
        approve_now(world, waiting, bob)
    if phase in {"draining", "held"}:
        go_on(world, waiting.run_id)
    if phase == "held":
        ApplyRun.objects.filter(pk=waiting.pk).update(attempts=6)
        go_on(world, waiting.run_id)

    run = abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))

    assert run.state == (RunState.CANCELLED if phase in {"requested", "queued"} else RunState.ROLLED_BACK)
    assert members_now(world) == {"good", "better"}
    assert activation_of(world_id=world.id, key=GOOD).envelope.active
    assert not GateHold.objects.exists()


def test_abort_after_the_switch_gives_the_old_set_back_under_a_new_generation(
    world: World, waiting: ApplyRun, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = ActivationSet.objects.get(world=world, generation=1).entries.get(instance__strategy_id="good").promoted_at
    drained(world, waiting, bob)
    monkeypatch.setattr(machine, "MAX_STEPS", 2)
    go_on(world, waiting.run_id)
    switched = states_of(waiting)[0], members_now(world)

    rolling = abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))
    closed = activation_of(world_id=world.id, key=GOOD).envelope.active
    kill_worker(waiting)
    done = go_on(world, waiting.run_id)

    assert switched == (RunState.SWITCHED, {"better", "best"})
    assert (rolling.state, closed) == (RunState.ROLLING_BACK, False)
    assert done.state == RunState.ROLLED_BACK
    assert members_now(world) == {"good", "better"}
    assert world.generation == 3
    restored = ActivationSet.objects.get(world=world, generation=3).entries.get(instance__strategy_id="good")
    assert (restored.promoted_at, restored.evaluation_run_id) == (began, "eval-1")
    assert kinds_of(waiting)[-2:] == ["apply.taken_over", "apply.rolled_back"]
    assert "apply.aborted" in kinds_of(waiting)
    assert chain_is_whole(world)


def test_run_that_has_ended_cannot_be_aborted(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    with pytest.raises(RunStateError):
        abort(world_id=world.id, run_id="run-1", act=act_of(alice))


def freeze_the_world(world: World, alice: User, bob: User) -> None:
    freeze(world_id=world.id, act=act_of(alice))


def change_the_policy(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=POLICY + "schedule: {{every: 1h}}\n")


def let_the_newcomer_fail(world: World, alice: User, bob: User) -> None:
    add_day(world, 2, {"good": 0.001, "better": 0.002, "best": -0.6, "bad": 0.0})
    evaluate(world, "eval-3", day=2)


def unbind_the_newcomer(world: World, alice: User, bob: User) -> None:
    unbind(world_id=world.id, strategy_id="best", side=None, act=shell())


CHANGES = {
    "blocked": freeze_the_world,
    "policy_changed": change_the_policy,
    "stale": let_the_newcomer_fail,
    "unbound": unbind_the_newcomer,
}


@pytest.mark.parametrize("while_draining", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_run_is_cancelled_where_the_world_has_changed(
    waiting: ApplyRun, alice: User, bob: User, name: str, while_draining: bool
) -> None:
    world = waiting.world
    approve_now(world, waiting, bob)
    if while_draining:
        go_on(world, waiting.run_id)
    CHANGES[name](world, alice, bob)
    pass_drain(waiting)

    go_on(world, waiting.run_id)

    assert states_of(waiting) == (RunState.CANCELLED, "stale" if name == "unbound" else name)
    assert members_now(world) == {"good", "better"}
    assert not GateHold.objects.filter(kind="apply").exists()


def test_freeze_during_an_apply_stays_when_the_apply_has_gone(
    world: World, waiting: ApplyRun, alice: User, bob: User
) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    freeze(world_id=world.id, act=act_of(alice))
    pass_drain(waiting)
    go_on(world, waiting.run_id)

    assert [hold.kind for hold in GateHold.objects.all()] == ["freeze"]
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "freeze"


def test_run_is_cancelled_when_the_base_has_grown(world: World, waiting: ApplyRun, alice: User, bob: User) -> None:
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())
    go_on(world, ApplyRun.objects.get(kind="reduce").run_id)
    evaluate(world, "eval-3", day=1)
    run = start(world, alice, "run-3", "eval-3")
    approve_now(world, run, bob)
    World.objects.filter(pk=world.pk).update(generation=1)  # as if another run had let "good" in again

    go_on(world, run.run_id)

    assert states_of(run) == (RunState.CANCELLED, "stale_base")


def test_reduction_during_an_increase_stays_cut(world: World, waiting: ApplyRun, bob: User) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    unbind(world_id=world.id, strategy_id="better", side=None, act=shell())
    reduce = ApplyRun.objects.get(kind="reduce")
    go_on(world, reduce.run_id)
    reduced = members_now(world)
    pass_drain(waiting)
    go_on(world, waiting.run_id)

    assert reduced == {"good"}
    assert states_of(waiting)[0] == RunState.DONE
    assert members_now(world) == {"best"}


def test_set_that_breaks_a_budget_at_the_switch_is_held(
    world: World, waiting: ApplyRun, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained(world, waiting, bob)
    monkeypatch.setattr("worlds.services.step_facts.satisfies_budgets", lambda **_facts: False)

    go_on(world, waiting.run_id)

    assert states_of(waiting) == (RunState.HELD, "set_invalid")
    assert members_now(world) == {"good", "better"}
    assert activation_of(world_id=world.id, key=GOOD).envelope.reason == "applying"


def test_held_run_keeps_other_increases_out_until_it_is_aborted(
    world: World, waiting: ApplyRun, alice: User, bob: User
) -> None:
    approve_now(world, waiting, bob)
    go_on(world, waiting.run_id)
    ApplyRun.objects.filter(pk=waiting.pk).update(attempts=6)
    go_on(world, waiting.run_id)
    evaluate(world, "eval-3", day=1)

    with pytest.raises(Exception, match="holds world"):
        start(world, alice, "run-3", "eval-3")
    abort(world_id=world.id, run_id=waiting.run_id, act=act_of(alice))

    assert start(world, alice, "run-3", "eval-3").state == RunState.REQUESTED


def test_gate_fail_of_a_member_goes_at_once_without_freeze(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    lose(world, "good")
    evaluate(world, "eval-2", day=1)

    run = start(world, alice, "run-2", "eval-2")
    done = go_on(world, "run-2")

    assert (run.kind, run.state) == ("reduce", RunState.QUEUED)
    assert done.state == RunState.DONE
    assert members_now(world) == {"better"}
    assert activation_of(world_id=world.id, key=BETTER).envelope.active
    assert kinds_of(run) == ["apply.requested", "apply.switched", "apply.completed"]
