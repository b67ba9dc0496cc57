from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.models import AuditRun, AuditRunState, RunKind
from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, PermissionDeniedError, SelfApprovalError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.states import RunState
from worlds.models import ApplyRun, World
from worlds.services.activation import activation_of
from worlds.services.advance import advance
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.approvals import approve
from worlds.services.binding import unbind
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.holds import freeze, unfreeze
from worlds.stores.clock import database_now
from worlds.work.evaluate import evaluate_world
from tests.worlds.factories import LAST_CLOSE, act_of, add_strategy, make_world, person, put_policy, shell

pytestmark = pytest.mark.django_db

GOOD = InstanceKey("good", Side.LONG)
BAD = InstanceKey("bad", Side.LONG)


@pytest.fixture
def alice() -> User:
    return person("alice", "operator", "author")


@pytest.fixture
def bob() -> User:
    return person("bob", "approver")


@pytest.fixture
def world(alice: User, bob: User) -> World:
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    add_strategy(world, "good", quality=3)
    add_strategy(world, "better", quality=6)
    add_strategy(world, "bad", quality=-3)
    return world


def evaluate(world: World, run_id: str = "eval-1") -> AuditRun:
    request = EvaluationRequest(run_id, RunKind.MANUAL, as_of=LAST_CLOSE)
    request_evaluation(world_id=world.id, request=request, act=shell())
    return evaluate_world(world_id=world.id, run_id=run_id, act=shell())


def start(world: World, operator: User, run_id: str = "run-1", evaluation: str = "eval-1") -> ApplyRun:
    return request_apply(world_id=world.id, request=ApplyRequest(run_id, evaluation), act=act_of(operator)).run


def approve_now(world: World, run: ApplyRun, approver: User) -> ApplyRun:
    return approve(
        world_id=world.id,
        run_id=run.run_id,
        plan_hash=run.plan_hash,
        reauthenticated_at=database_now(),
        act=act_of(approver),
    )


def drain(world: World, run_id: str) -> ApplyRun:
    """Advance until the drain's end lies in the past: the row is moved, so that nobody waits."""
    run = advance(world_id=world.id, run_id=run_id, act=shell())
    ApplyRun.objects.filter(pk=run.pk).update(drain_until=run.drain_until - timedelta(minutes=1))
    return advance(world_id=world.id, run_id=run_id, act=shell())


def apply_all(world: World, alice: User, bob: User) -> ApplyRun:
    evaluate(world)
    run = start(world, alice)
    approve_now(world, run, bob)
    advance(world_id=world.id, run_id=run.run_id, act=shell())
    return ApplyRun.objects.get(run_id=run.run_id)


def test_evaluation_selects_those_that_pass_the_gates_and_records_them(world: World) -> None:
    run = evaluate(world)

    assert run.state == AuditRunState.OK
    assert b'"topk":["better|long","good|long"]' in run.decision_bytes()


def test_gate_opens_for_exactly_the_strategies_that_won(world: World, alice: User, bob: User) -> None:
    run = apply_all(world, alice, bob)

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

    run = advance(world_id=world.id, run_id="run-1", act=shell())

    assert run.state == RunState.DONE


def test_requester_cannot_approve_the_own_run(world: World) -> None:
    carol = person("carol", "operator", "approver")
    evaluate(world)
    run = start(world, carol)

    with pytest.raises(SelfApprovalError):
        approve_now(world, run, carol)


def test_operator_cannot_approve(world: World, alice: User) -> None:
    dave = person("dave", "operator")
    evaluate(world)
    run = start(world, alice)

    with pytest.raises(PermissionDeniedError):
        approve_now(world, run, dave)


def test_approval_without_recent_password_is_refused(world: World, alice: User, bob: User) -> None:
    evaluate(world)
    run = start(world, alice)

    with pytest.raises(ApprovalNeedsSessionError):
        approve(
            world_id=world.id, run_id=run.run_id, plan_hash=run.plan_hash, reauthenticated_at=None, act=act_of(bob)
        )


def test_unbinding_an_active_strategy_closes_it_at_once_and_drops_it_by_a_reduce_run(
    world: World, alice: User, bob: User
) -> None:
    apply_all(world, alice, bob)

    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())

    closed = activation_of(world_id=world.id, key=GOOD).envelope
    assert (closed.active, closed.gate.value, closed.reason) == (False, "reduce_only", "withdrawn")
    run = ApplyRun.objects.get(kind="reduce")
    assert advance(world_id=world.id, run_id=run.run_id, act=shell()).state == RunState.DONE
    after = activation_of(world_id=world.id, key=GOOD).envelope
    assert (after.active, after.gate.value, after.reason) == (False, "reduce_only", "not_selected")


def test_freeze_lets_exits_only_through_and_unfreeze_gives_back_what_was(world: World, alice: User, bob: User) -> None:
    apply_all(world, alice, bob)

    freeze(world_id=world.id, act=act_of(alice))
    frozen = activation_of(world_id=world.id, key=GOOD).envelope
    unfreeze(world_id=world.id, act=act_of(alice))
    thawed = activation_of(world_id=world.id, key=GOOD).envelope

    assert (frozen.gate.value, frozen.reason, frozen.freeze) == ("reduce_only", "freeze", True)
    assert thawed.active
    assert thawed.sequence > frozen.sequence
