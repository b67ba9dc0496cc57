from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditRunState
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import act_of, shell
from tests.worlds.steps import (
    BAD,
    BEST,
    BETTER,
    GOOD,
    approve_now,
    chain_is_whole,
    evaluate,
    finish,
    first_apply,
    go_on,
    pass_drain,
    start,
    wait_with_increase,
)
from worlds.models import ActivationEntry, ApplyRun, Demotion, GateHold, World
from worlds.services.activation import activation_of
from worlds.services.binding import unbind
from worlds.services.holds import freeze, unfreeze
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


def test_evaluation_selects_those_that_pass_the_gates_and_records_them(world: World) -> None:
    run = evaluate(world)

    assert run.state == AuditRunState.OK
    assert b'"topk":["better|long","good|long"]' in run.decision_bytes()


def test_gate_opens_for_exactly_the_strategies_that_won(world: World, alice: User, bob: User) -> None:
    run = first_apply(world, alice, bob)

    assert run.state == RunState.DONE
    good = activation_of(world_id=world.id, key=GOOD)
    assert good.envelope.active
    assert good.envelope.weight == pytest.approx(0.3)
    assert good.lease_ms > 0
    assert not activation_of(world_id=world.id, key=BAD).envelope.active
    assert activation_of(world_id=world.id, key=InstanceKey("nobody", Side.LONG)).envelope.reason == "unknown"


def test_first_apply_needs_no_drain_because_nothing_was_ever_permitted(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    approve_now(world, start(world, alice), bob)

    run = go_on(world, "run-1")

    assert run.state == RunState.DONE


def test_later_apply_waits_for_the_drain_and_then_replaces_the_weaker(world: World, alice: User, bob: User) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)

    drains = go_on(world, "run-2")
    waiting = {key: activation_of(world_id=world.id, key=key).envelope.gate for key in (GOOD, BETTER, BEST)}
    pass_drain(run)
    done = go_on(world, "run-2")

    assert drains.state == RunState.DRAINING
    assert set(waiting.values()) == {"reduce_only"}
    assert done.state == RunState.DONE
    active = {key for key in (GOOD, BETTER, BEST) if activation_of(world_id=world.id, key=key).envelope.active}
    assert active == {BETTER, BEST}
    assert chain_is_whole(world)


def test_member_that_stays_keeps_its_start_and_the_evaluation_that_chose_it(
    world: World, alice: User, bob: User
) -> None:
    run = wait_with_increase(world, alice, bob)
    began = ActivationEntry.objects.get(set__generation=1, instance__strategy_id="better").promoted_at
    approve_now(world, run, bob)
    finish(world, "run-2")

    entries = {entry.instance.strategy_id: entry for entry in ActivationEntry.objects.filter(set__generation=2)}

    assert entries["better"].promoted_at == began
    assert entries["better"].evaluation_run_id == "eval-1"
    assert entries["best"].promoted_at > began
    assert entries["best"].evaluation_run_id == "eval-2"


def test_unbinding_an_active_strategy_closes_it_at_once_and_drops_it_by_a_reduce_run(
    world: World, alice: User, bob: User
) -> None:
    first_apply(world, alice, bob)

    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())

    closed = activation_of(world_id=world.id, key=GOOD).envelope
    assert (closed.active, closed.gate.value, closed.reason) == (False, "reduce_only", "withdrawn")
    run = ApplyRun.objects.get(kind="reduce")
    assert go_on(world, run.run_id).state == RunState.DONE
    after = activation_of(world_id=world.id, key=GOOD).envelope
    assert (after.active, after.gate.value, after.reason) == (False, "reduce_only", "not_selected")


def test_cool_down_of_a_withdrawn_strategy_counts_from_its_hold(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())
    held_since = database_now() - timedelta(hours=1)
    GateHold.objects.update(placed_at=held_since)

    go_on(world, ApplyRun.objects.get(kind="reduce").run_id)

    assert Demotion.objects.get().demoted_at == held_since


def test_freeze_lets_exits_only_through_and_unfreeze_gives_back_what_was(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)

    freeze(world_id=world.id, act=act_of(alice))
    frozen = activation_of(world_id=world.id, key=GOOD).envelope
    unfreeze(world_id=world.id, act=act_of(alice))
    thawed = activation_of(world_id=world.id, key=GOOD).envelope

    assert (frozen.gate.value, frozen.reason, frozen.freeze) == ("reduce_only", "freeze", True)
    assert thawed.active
    assert thawed.sequence > frozen.sequence
