from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    ApprovalNeedsSessionError,
    PermissionDeniedError,
    PlanStaleError,
    RunStateError,
    SelfApprovalError,
)
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.apply import Event
from tests.worlds.factories import POLICY, act_of, person, put_policy, shell
from tests.worlds.steps import approve_now, drained, evaluate, go_on, start, states_of, wait_with_increase
from worlds.models import ApplyRun, Approval, GateHold, Membership, World
from worlds.services.advance import fire_event
from worlds.services.approvals import approve, reject
from worlds.services.authority import act_of_system
from worlds.services.members import revoke_role
from worlds.stores.clock import database_now
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db

TWO_APPROVALS = POLICY + "apply: {{mode: approval, approvals: 2}}\n"


@pytest.fixture
def run(world: World, alice: User) -> ApplyRun:
    """Waits for approval."""
    evaluate(world)
    return start(world, alice)


def test_requester_cannot_approve_the_own_run(world: World) -> None:
    carol = person("carol", "operator", "approver")
    evaluate(world)
    run = start(world, carol)

    with pytest.raises(SelfApprovalError):
        approve_now(world, run, carol)


def test_author_of_the_policy_cannot_approve_what_it_decides(world: World, bob: User) -> None:
    dave = person("dave", "operator")
    alice_too = person("alice2", "approver")
    User.objects.filter(pk=alice_too.pk).update(email="ALICE@example.org ")
    alice_too.refresh_from_db()
    evaluate(world)
    run = start(world, dave)

    with pytest.raises(SelfApprovalError):
        approve_now(world, run, alice_too)


def test_person_without_an_email_cannot_approve(world: World, run: ApplyRun, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="")
    bob.refresh_from_db()

    with pytest.raises(SelfApprovalError):
        approve_now(world, run, bob)


def test_operator_cannot_approve(world: World, run: ApplyRun) -> None:
    dave = person("dave", "operator")

    with pytest.raises(PermissionDeniedError):
        approve_now(world, run, dave)


def test_system_cannot_approve(world: World, run: ApplyRun) -> None:
    act = act_of_system(reason="test")

    with pytest.raises(PermissionDeniedError):
        approve(
            world_id=world.id, run_id=run.run_id, plan_hash=run.plan_hash, reauthenticated_at=database_now(), act=act
        )


@pytest.mark.parametrize("ago", [None, timedelta(minutes=6), timedelta(minutes=-1)])
def test_approval_without_recent_password_is_refused(
    world: World, run: ApplyRun, bob: User, ago: timedelta | None
) -> None:
    entered = None if ago is None else database_now() - ago

    with pytest.raises(ApprovalNeedsSessionError):
        approve(
            world_id=world.id,
            run_id=run.run_id,
            plan_hash=run.plan_hash,
            reauthenticated_at=entered,
            act=act_of(bob),
        )


def test_approval_of_another_plan_than_the_run_has_is_refused(world: World, run: ApplyRun, bob: User) -> None:
    with pytest.raises(PlanStaleError):
        approve(
            world_id=world.id,
            run_id=run.run_id,
            plan_hash="sha256:" + "0" * 64,
            reauthenticated_at=database_now(),
            act=act_of(bob),
        )

    assert states_of(run)[0] == RunState.REQUESTED


def test_two_approvals_come_from_two_persons_and_twice_the_same_is_one(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=TWO_APPROVALS)
    carol = person("carol", "approver")
    evaluate(world)
    run = start(world, alice)

    first = approve_now(world, run, bob).state
    again = approve_now(world, run, bob).state
    second = approve_now(world, run, carol).state

    assert (first, again, second) == (RunState.REQUESTED, RunState.REQUESTED, RunState.QUEUED)
    assert Approval.objects.filter(run=run).count() == 2
    assert AuditEvent.objects.filter(chain=world.id, kind="apply.approved").count() == 2


def test_approval_after_the_expiry_is_refused_even_before_the_tick_has_come_by(
    world: World, run: ApplyRun, bob: User
) -> None:
    ApplyRun.objects.filter(pk=run.pk).update(approval_expires_at=database_now() - timedelta(seconds=1))

    with pytest.raises(RunStateError, match="expired"):
        approve_now(world, run, bob)

    assert not Approval.objects.exists()


def test_run_that_nobody_approves_in_time_is_cancelled_by_the_tick(world: World, run: ApplyRun) -> None:
    ApplyRun.objects.filter(pk=run.pk).update(approval_expires_at=database_now() - timedelta(seconds=1))

    tick()

    assert states_of(run) == (RunState.CANCELLED, "expired")
    assert AuditEvent.objects.filter(kind="apply.expired", run_id=run.run_id).exists()


def test_role_lost_after_the_approval_cancels_the_queued_run(world: World, run: ApplyRun, bob: User) -> None:
    approve_now(world, run, bob)
    revoke_role(membership=Membership.objects.get(user=bob), act=shell())

    go_on(world, run.run_id)

    assert states_of(run) == (RunState.CANCELLED, "approval_lapsed")


def test_role_lost_while_draining_cancels_the_run_and_takes_only_its_own_hold_away(
    world: World, alice: User, bob: User
) -> None:
    run = drained(world, wait_with_increase(world, alice, bob), bob)
    revoke_role(membership=Membership.objects.get(user=bob), act=shell())

    go_on(world, run.run_id)

    world.refresh_from_db()
    assert states_of(run) == (RunState.CANCELLED, "approval_lapsed")
    assert world.generation == 1
    assert not GateHold.objects.exists()


def test_deactivated_account_does_not_count_as_an_approver(world: World, run: ApplyRun, bob: User) -> None:
    approve_now(world, run, bob)
    User.objects.filter(pk=bob.pk).update(is_active=False)

    go_on(world, run.run_id)

    assert states_of(run) == (RunState.CANCELLED, "approval_lapsed")


def test_rejected_run_is_cancelled_and_cannot_be_approved_any_more(world: World, run: ApplyRun, bob: User) -> None:
    reject(world_id=world.id, run_id=run.run_id, act=act_of(bob))

    with pytest.raises(RunStateError):
        approve_now(world, run, bob)

    assert states_of(run) == (RunState.CANCELLED, "rejected")


def test_rejecting_a_run_that_was_approved_meanwhile_is_refused(world: World, run: ApplyRun, bob: User) -> None:
    approve_now(world, run, bob)

    with pytest.raises(RunStateError):
        reject(world_id=world.id, run_id=run.run_id, act=act_of(bob))

    assert states_of(run)[0] == RunState.QUEUED


def test_event_that_is_not_possible_in_the_state_moves_nothing(world: World, run: ApplyRun) -> None:
    world.refresh_from_db()
    before = world.sequence

    fire_event(world_id=world.id, run_id=run.run_id, event=Event.RESUME, act=shell())

    world.refresh_from_db()
    assert states_of(run)[0] == RunState.REQUESTED
    assert world.sequence == before


def test_database_refuses_an_approval_by_the_requester(world: World, run: ApplyRun) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.create(
            run=run,
            approver="person:alice",
            person=run.requester_person,
            requester_person=run.requester_person,
            plan_hash=run.plan_hash,
            base_generation=0,
            policy_checksum=run.policy.checksum,
            round=1,
            created_at=database_now(),
        )


def test_policy_that_leaves_no_time_to_approve_is_taken_at_its_word(world: World, alice: User, bob: User) -> None:
    hasty = POLICY + "apply: {{expiry: 0s}}\n"
    put_policy(world, author=alice, approver=bob, version=2, text=hasty)
    evaluate(world)

    run = start(world, alice)

    assert run.approval_expires_at == run.requested_at
