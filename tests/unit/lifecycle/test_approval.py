from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, SelfApprovalError
from qmtl_worlds.contracts.plans import TransitionPlan, active_set
from qmtl_worlds.lifecycle.approval import (
    APPROVAL_AGE,
    Approval,
    AutoFacts,
    AutoLimits,
    Binding,
    auto_refusal,
    binding_of,
    check_approver,
    is_approved,
    rebound,
    standing,
)
from tests.unit.lifecycle.runs import ANT, BEE, CAT, DOG, NOW, SWAP, plan_of

BINDING = binding_of(SWAP)
MINUTE = timedelta(minutes=1)
WILLING = AutoFacts(version_approved=True, first_live=False, pinned=False, paused=False, by_schedule=True)


def approval(person: str) -> Approval:
    return Approval(person, BINDING, NOW + APPROVAL_AGE)


def test_another_person_who_just_signed_in_may_approve() -> None:
    check_approver("bob@x.org", others=["alice@x.org"], reauthenticated_at=NOW - MINUTE, now=NOW)

    assert standing([approval("bob@x.org")], BINDING, others=["alice@x.org"], now=NOW) == {"bob@x.org"}


@pytest.mark.parametrize("person", ["alice@x.org", " Alice@X.org"])
def test_requester_and_author_cannot_approve(person: str) -> None:
    with pytest.raises(SelfApprovalError):
        check_approver(person, others=["carol@x.org", "alice@x.org"], reauthenticated_at=NOW, now=NOW)


@pytest.mark.parametrize("at", [None, NOW - timedelta(minutes=5, seconds=1), NOW + MINUTE])
def test_approving_takes_a_password_entered_within_five_minutes(at: datetime | None) -> None:
    with pytest.raises(ApprovalNeedsSessionError):
        check_approver("bob", others=["alice"], reauthenticated_at=at, now=NOW)


@pytest.mark.parametrize(
    "binding",
    [
        replace(BINDING, plan_hash="sha256:other"),
        replace(BINDING, base_generation=8),
        replace(BINDING, policy_checksum="sha256:other"),
        replace(BINDING, round_number=2),
    ],
)
def test_approval_of_anything_else_does_not_count(binding: Binding) -> None:
    assert standing([approval("bob")], binding, others=["alice"], now=NOW) == frozenset()


def test_approval_that_is_expired_revoked_or_the_authors_does_not_count() -> None:
    approvals = [
        Approval("bob", BINDING, expires_at=NOW),
        Approval("carol", BINDING, expires_at=NOW + MINUTE, revoked=True),
        Approval("Alice", BINDING, expires_at=NOW + MINUTE),
    ]

    assert standing(approvals, BINDING, others=["alice"], now=NOW) == frozenset()


def test_one_person_counts_once_however_often_and_however_written() -> None:
    persons = standing([approval("bob@x.org"), approval("BOB@x.org ")], BINDING, others=[], now=NOW)

    assert is_approved(persons, needed=1)
    assert not is_approved(persons, needed=2)
    assert not is_approved(["bob", "Bob"], needed=2)


def test_rule_that_needs_nobody_is_never_satisfied() -> None:
    assert not is_approved(["bob"], needed=0)
    assert not is_approved([], needed=0)
    assert not is_approved(["bob"], needed=-1)


def test_moved_base_with_the_same_change_keeps_the_round() -> None:
    moved = replace(SWAP, base_generation=9)

    assert rebound(BINDING, old=SWAP, new=moved) == BINDING


def test_moved_base_with_another_change_starts_a_round_in_which_nothing_stands() -> None:
    other = replace(plan_of(SWAP.before, active_set({ANT: 0.1, DOG: 0.1})), base_generation=9)

    binding = rebound(BINDING, old=SWAP, new=other)

    assert (binding.round_number, binding.base_generation) == (2, 9)
    assert standing([approval("bob")], binding, others=[], now=NOW) == frozenset()


def small_plan(count: int, weight: float) -> TransitionPlan:
    return plan_of(active_set({}), active_set(dict.fromkeys([ANT, BEE, CAT, DOG][:count], weight)))


def test_machine_applies_alone_within_what_was_approved_with_the_version() -> None:
    assert auto_refusal(small_plan(3, 0.03), AutoLimits(), WILLING) is None


@pytest.mark.parametrize(
    ("plan", "facts", "code"),
    [
        (small_plan(3, 0.03), AutoFacts(), "version_unapproved"),
        (small_plan(3, 0.03), replace(WILLING, first_live=True), "first_live"),
        (small_plan(3, 0.03), replace(WILLING, pinned=True), "pinned"),
        (small_plan(3, 0.03), replace(WILLING, paused=True), "paused"),
        (small_plan(3, 0.03), replace(WILLING, by_schedule=False), "not_scheduled"),
        (small_plan(4, 0.01), WILLING, "max_changes"),
        (small_plan(3, 0.04), WILLING, "max_gross_shift"),
    ],
)
def test_machine_needs_a_person_beyond_that(plan: TransitionPlan, facts: AutoFacts, code: str) -> None:
    assert auto_refusal(plan, AutoLimits(), facts) == code


def test_shift_of_exactly_the_limit_is_within_it() -> None:
    assert auto_refusal(small_plan(1, 0.1), AutoLimits(), WILLING) is None
