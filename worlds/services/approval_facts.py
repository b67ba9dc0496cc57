"""Which approvals of an apply run still count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.lifecycle.approval import APPROVAL_AGE, Approval, Binding, binding_of, is_approved, standing
from worlds.models import ApplyRun
from worlds.models import Approval as ApprovalRow
from worlds.services.authority import grants_of_accounts
from worlds.services.pins import is_pinned


def enough_approvals(run: ApplyRun, *, now: datetime) -> bool:
    """Tell whether the run may go on: enough distinct, entitled persons, for this plan, base, policy, round.

    An increase that goes ahead by itself needs none, but not while the world is paused or pinned.
    """
    if run.auto:
        return run.kind == ApplyRun.Kind.REDUCE or not (run.world.paused or is_pinned(run.world, now=now))
    plan = run.transition_plan
    binding = binding_of(plan, round_number=run.approval_round)
    lifetime = run.approval_expires_at
    rows = list(run.approvals.order_by())
    grants = grants_of_accounts(_account_of(row) for row in rows)
    given = [
        Approval(
            person=row.person,
            binding=Binding(row.plan_hash, row.base_generation, row.policy_checksum, row.round),
            expires_at=lifetime or row.created_at + APPROVAL_AGE,
            revoked=not _still_entitled(row, grants, run.world_id),
        )
        for row in rows
    ]
    return is_approved(standing(given, binding, others=other_persons(run), now=now), needed=run.approvals_needed)


def other_persons(run: ApplyRun) -> tuple[str, ...]:
    """Return the persons who may not approve: the requester and the policy's author."""
    return tuple(person for person in (run.requester_person, run.policy.author_person) if person)


def _account_of(row: ApprovalRow) -> str:
    return row.approver.removeprefix("person:")


def _still_entitled(row: ApprovalRow, grants: Mapping[str, Grants], world_id: str) -> bool:
    """Authority is checked again at commit: a person who lost the role since does not count."""
    account = _account_of(row)
    return account in grants and grants[account].allows("apply.approve", world_id)
