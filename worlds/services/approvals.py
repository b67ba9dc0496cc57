"""The verbs of people over apply runs: approve, reject, abort, resume."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PermissionDeniedError, PlanStaleError, RunStateError, SelfApprovalError
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.apply import Event
from qmtl_worlds.lifecycle.approval import check_approver
from worlds.models import ApplyRun, Approval
from worlds.selectors import get_apply_run
from worlds.services.advance import fire_event
from worlds.services.approval_facts import other_persons
from worlds.services.changes import locked_world
from worlds.services.dispatch import ADVANCE, ring_after_commit


@transaction.atomic
def approve(*, world_id: str, run_id: str, plan_hash: str, reauthenticated_at: datetime | None, act: Act) -> ApplyRun:
    """Approve exactly the plan that was shown; the run goes on when enough persons have. Twice is once.

    ``plan_hash`` is what the approver looked at; ``reauthenticated_at`` when that person last entered the password.

    Raises:
        RunStateError: the run does not wait for approval, or no longer.
        PlanStaleError: another plan was shown than the run has.
        SelfApprovalError: the person requested the run or wrote its policy, or is no person.
        ApprovalNeedsSessionError: the password was not entered recently.
    """
    act.require("apply.approve", world_id)
    locked_world(world_id)
    run = get_apply_run(world_id, run_id)
    if run.state != RunState.REQUESTED:
        raise RunStateError(run_id, state=run.state, wanted="approved")
    if run.approval_expires_at is not None and act.now >= run.approval_expires_at:
        raise RunStateError(run_id, state="expired", wanted="approved")
    if plan_hash != run.plan_hash:
        raise PlanStaleError("The plan changed after you opened it; look at it again.", plan_hash=run.plan_hash)
    if not act.person:
        raise SelfApprovalError(act.actor)
    check_approver(act.person, others=other_persons(run), reauthenticated_at=reauthenticated_at, now=act.now)
    if not _store(run, act):
        return run
    record(chain=world_id, kind="apply.approved", act=act, subject=run.plan_hash, run_id=run_id)
    run = fire_event(world_id=world_id, run_id=run_id, event=Event.APPROVE, act=act)
    transaction.on_commit(partial(reach, "approve.after_commit"))
    ring_after_commit(task=ADVANCE, queue="control", world_id=world_id, run_id=run_id)
    reach("approve.before_commit")
    return run


def reject(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
    """Refuse a waiting run; nothing of it happens.

    Raises:
        RunStateError: the run does not wait for approval.
    """
    act.require("apply.approve", world_id)
    return _end(world_id, run_id, Event.REJECT, act, wanted="rejected")


def abort(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
    """Stop a run wherever it is; what it changed is taken back under a new generation.

    A reduce run is not stopped, since it only takes away; a held one gives way to a person only.

    Raises:
        RunStateError: the run has ended, takes its change back already, or is a reduce run.
        PermissionDeniedError: the run is held, and this is no person.
    """
    act.require("gate.close", world_id)
    run = _end(world_id, run_id, Event.ABORT, act, wanted="aborted")
    ring_after_commit(task=ADVANCE, queue="control", world_id=world_id, run_id=run_id)
    return run


def resume(*, world_id: str, run_id: str, act: Act) -> ApplyRun:
    """Let a held run start again from its freeze, with a new drain.

    Raises:
        RunStateError: the run is not held.
    """
    act.require("apply.approve", world_id)
    run = _end(world_id, run_id, Event.RESUME, act, wanted="resumed")
    ring_after_commit(task=ADVANCE, queue="control", world_id=world_id, run_id=run_id)
    return run


@transaction.atomic
def _end(world_id: str, run_id: str, event: Event, act: Act, *, wanted: str) -> ApplyRun:
    """Fire an event that must move the run; the lock is taken first, so that nobody else moves it in between."""
    locked_world(world_id, alive=False)
    before = get_apply_run(world_id, run_id).state
    if before == RunState.HELD and not act.person:
        raise PermissionDeniedError(act.actor, permission="to decide on a held run, which takes a person")
    run = fire_event(world_id=world_id, run_id=run_id, event=event, act=act)
    if run.state == before:
        raise RunStateError(run_id, state=before, wanted=wanted)
    return run


def _store(run: ApplyRun, act: Act) -> bool:
    """Store the person's approval; tell whether it is new."""
    _, made = Approval.objects.get_or_create(
        run=run,
        round=run.approval_round,
        person=act.person,
        defaults={
            "approver": act.actor,
            "requester_person": run.requester_person,
            "author_person": run.policy.author_person,
            "plan_hash": run.plan_hash,
            "base_generation": run.base_generation,
            "policy_checksum": run.policy.checksum,
            "reason": act.reason,
            "created_at": act.now,
        },
    )
    return made
