"""What people do to an apply run; each says what trades when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.http import HttpRequest

from qmtl_worlds.contracts.states import RunKind, RunState
from worlds.admin.acting import Button, Details, Done, Submission
from worlds.admin.forms import ApproveForm
from worlds.admin.plan_view import plan_view
from worlds.admin.scoped import page_address
from worlds.admin.words import span
from worlds.models import ApplyRun
from worlds.services.approvals import abort, approve, reject, resume
from worlds.services.reauthentication import reauthenticated_at

_AFTER_ABORT: Final[Mapping[RunState, str]] = {
    RunState.QUEUED: "The present set goes on trading: nothing has been frozen or changed yet.",
    RunState.FREEZING: "The present set, as soon as the run's freeze is lifted: nothing has been switched.",
    RunState.DRAINING: "The present set, as soon as the run's freeze is lifted: nothing has been switched.",
    RunState.FROZEN: "The present set, as soon as the run's freeze is lifted: nothing has been switched.",
    RunState.SWITCHED: "Only exits, until the set from before this run is back under a new generation; then that set.",
}
"""What trades after an abort, by the state in which it is possible; a held run is rolled back instead."""


def _approve(sent: Submission) -> Done:
    run = approve(
        world_id=sent.target.world_id,
        run_id=sent.target.run_id,
        plan_hash=sent.values["plan_hash"],
        reauthenticated_at=reauthenticated_at(sent.request.session),
        act=sent.act,
    )
    waits = run.state == RunState.REQUESTED
    return Done("Approved; another approval is needed." if waits else "Approved: it goes on now.", page_address(run))


def _reject(sent: Submission) -> Done:
    run = reject(world_id=sent.target.world_id, run_id=sent.target.run_id, act=sent.act)
    return Done("Rejected: nothing of it happens.", page_address(run))


def _abort(sent: Submission) -> Done:
    run = abort(world_id=sent.target.world_id, run_id=sent.target.run_id, act=sent.act)
    return Done("Aborted: the set stays, or becomes again, what it was before.", page_address(run))


def _resume(sent: Submission) -> Done:
    run = resume(world_id=sent.target.world_id, run_id=sent.target.run_id, act=sent.act)
    return Done("It starts again from its freeze.", page_address(run))


def _after_approval(run: ApplyRun) -> str:
    drain = span(run.world.lease_ms / 1000 + 1)
    return (
        f"When enough people have approved, only exits pass for about {drain} while old permissions die; then the new"
        " set trades."
    )


def _plan_details(_request: HttpRequest, run: ApplyRun) -> Details:
    return Details("admin/worlds/plan.html", {"plan": plan_view(run.transition_plan), "run": run})


def _waits(run: ApplyRun) -> bool:
    return run.state == RunState.REQUESTED


def _is_held(run: ApplyRun) -> bool:
    return run.state == RunState.HELD


def _can_be_aborted(run: ApplyRun) -> bool:
    """A reduce run only takes away, so nothing stops it."""
    return run.kind == RunKind.INCREASE and run.state in _AFTER_ABORT


RUN_BUTTONS: Final = (
    Button(
        name="approve",
        label="Approve",
        permission="apply.approve",
        afterwards=_after_approval,
        perform=_approve,
        form=ApproveForm,
        tone="primary",
        shown=_waits,
        details=_plan_details,
    ),
    Button(
        name="reject",
        label="Reject",
        permission="apply.approve",
        afterwards=lambda _run: "The present set goes on trading, as if this had never been asked for.",
        perform=_reject,
        shown=_waits,
        details=_plan_details,
    ),
    Button(
        name="withdraw",
        label="Withdraw the request",
        permission="gate.close",
        afterwards=lambda _run: "The present set goes on trading, as if this had never been asked for.",
        perform=_abort,
        shown=_waits,
    ),
    Button(
        name="abort",
        label="Abort",
        permission="gate.close",
        afterwards=lambda run: _AFTER_ABORT.get(RunState(run.state), "What the run has left: it cannot be aborted."),
        perform=_abort,
        tone="danger",
        shown=_can_be_aborted,
    ),
    Button(
        name="resume",
        label="Resume",
        permission="apply.approve",
        afterwards=lambda _run: (
            "Only exits, while it freezes and drains again from the start; then its new set, if that may still trade."
        ),
        perform=_resume,
        shown=_is_held,
    ),
    Button(
        name="roll-back",
        label="Roll back",
        permission="gate.close",
        afterwards=lambda _run: "The set from before this run, as soon as its hold is lifted. The run ends there.",
        perform=_abort,
        tone="danger",
        shown=_is_held,
    ),
)
