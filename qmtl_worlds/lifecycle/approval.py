"""Two pairs of eyes: who may approve a plan, which approvals stand, and what a machine may do alone (I9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, SelfApprovalError
from qmtl_worlds.contracts.plans import TransitionPlan
from qmtl_worlds.lifecycle.plan import gross_shift, same_change

REAUTHENTICATION_AGE: Final = timedelta(minutes=5)
"""How long ago an approver may have entered the password."""

APPROVAL_AGE: Final = timedelta(hours=24)
"""How long a run waits for approval, and an approval for its run, unless the policy says otherwise."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What exactly is approved; an approval of anything else does not count."""

    plan_hash: str
    base_generation: int
    policy_checksum: str
    round_number: int = 1


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval; ``person`` is an identity, not an account, and ``revoked`` lapses with the right."""

    person: str
    binding: Binding
    expires_at: datetime
    revoked: bool = False


def binding_of(plan: TransitionPlan, *, round_number: int = 1) -> Binding:
    """Return what an approval of ``plan`` is bound to."""
    return Binding(plan.plan_hash, plan.base_generation, plan.policy_checksum, round_number)


def check_approver(person: str, *, others: Iterable[str], reauthenticated_at: datetime | None, now: datetime) -> None:
    """Check that ``person`` is neither requester nor author (``others``) and has just entered the password.

    Persons are compared without case and outer blanks, as e-mail addresses are. That the person has the right at all is
    the matrix of roles, not this.

    Raises:
        SelfApprovalError: the person asked for the change or wrote its policy.
        ApprovalNeedsSessionError: it is a token, or the re-authentication is missing, old, or in the future.
    """
    if _identity(person) in {_identity(other) for other in others}:
        raise SelfApprovalError(person)
    if reauthenticated_at is None or not timedelta() <= now - reauthenticated_at <= REAUTHENTICATION_AGE:
        raise ApprovalNeedsSessionError


def standing(
    approvals: Iterable[Approval], binding: Binding, *, others: Iterable[str], now: datetime
) -> frozenset[str]:
    """Return the distinct persons whose approval of exactly ``binding`` counts at ``now``.

    Not counted: other plans, bases, policies or rounds, expired or revoked ones, requester and author (``others``).
    """
    barred = {_identity(other) for other in others}
    counted = {
        _identity(approval.person)
        for approval in approvals
        if approval.binding == binding and not approval.revoked and now < approval.expires_at
    }
    return frozenset(counted - barred)


def is_approved(persons: Iterable[str], *, needed: int) -> bool:
    """Tell whether enough persons approved; a rule that needs nobody is never satisfied (SEMANTICS 0.1)."""
    return 0 < needed <= len({_identity(person) for person in persons})


def rebound(binding: Binding, *, old: TransitionPlan, new: TransitionPlan) -> Binding:
    """Return the binding after the base moved: as it was where the plan comes out the same, else of a new round.

    In a new round every approval so far is stale.
    """
    if same_change(old, new):
        return binding
    return replace(binding_of(new), round_number=binding.round_number + 1)


class ApplyMode(StrEnum):
    """Who lets a world's increase runs go: people each time, or the people who approved the policy version."""

    APPROVAL = "approval"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class AutoLimits:
    """How much a machine may change by itself in one run."""

    max_changes: int = 3
    max_gross_shift: float = 0.10


@dataclass(frozen=True, slots=True)
class AutoFacts:
    """What else decides whether a machine may go ahead; each default says no."""

    version_approved: bool = False
    first_live: bool = True
    pinned: bool = True
    paused: bool = True
    by_schedule: bool = False


def auto_refusal(plan: TransitionPlan, limits: AutoLimits, facts: AutoFacts) -> str | None:
    """Return why an increase run in ``mode: auto`` needs a person after all, None where it does not.

    The first that fits of: ``version_unapproved``, ``first_live`` (the first apply of a live world), ``pinned`` (after
    a rollback), ``paused``, ``not_scheduled`` (asked for by hand, or from metrics in a request), ``max_changes``,
    ``max_gross_shift``.
    """
    refusals = {
        "version_unapproved": not facts.version_approved,
        "first_live": facts.first_live,
        "pinned": facts.pinned,
        "paused": facts.paused,
        "not_scheduled": not facts.by_schedule,
        "max_changes": len(plan.changes) > limits.max_changes,
        "max_gross_shift": not gross_shift(plan) <= limits.max_gross_shift + _TOLERANCE,
    }
    return next((code for code, refuses in refusals.items() if refuses), None)


_TOLERANCE: Final = 1e-12


def _identity(person: str) -> str:
    return person.strip().casefold()
