"""Routes of apply runs: ask, look, approve, reject, abort, resume, roll back."""

from __future__ import annotations

from http import HTTPStatus

from rest_framework.request import Request
from rest_framework.response import Response

from audit.selectors import find_newest_run
from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, InputInvalidError, RunNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, check_object_id, check_world_id
from qmtl_worlds.contracts.plans import TransitionPlan
from qmtl_worlds.contracts.states import RunState, wire_word
from worlds.api.authentication import act_of, is_machine
from worlds.api.bodies import read_json
from worlds.api.endpoint import ApprovalEndpoint, Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time
from worlds.api.shapes.apply import (
    ApplyAnswer,
    ApplyBody,
    ApplyRunShape,
    ApprovalShape,
    ApproveBody,
    ChangeOfWeight,
    HandPlan,
    InstanceBody,
    RollbackBody,
)
from worlds.api.shapes.pins import UnpinAnswer
from worlds.api.shapes.worlds import ReasonBody
from worlds.models import ApplyRun
from worlds.selectors import get_apply_run, get_world
from worlds.services.apply import ApplyRequest, Requested, request_apply
from worlds.services.approvals import abort, approve, reject, resume
from worlds.services.pins import unpin
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.rollback import RollbackRequest, request_rollback

VERBS = {"reject": reject, "abort": abort, "resume": resume}


class ApplyView(Endpoint):
    """The request to carry out a plan."""

    @documented(
        Operation(
            "apply",
            "apply",
            "Apply a plan",
            {200: ApplyAnswer},
            body=ApplyBody,
            headers={"If-Match": "the `etag` of an activation, or its beginning; 412 where the world has moved on"},
            problems=(409, 412),
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Carry out the plan of a recorded evaluation; what raises risk waits for approval.

        The same run id and body again return the recorded run. Where no evaluation is named the newest one is meant.
        """
        check_world_id(world_id)
        body = read_json(request, ApplyBody)
        act = act_of(request, reason=body.reason)
        act.require("apply.request", world_id)
        named = (None, None) if body.plan is None else _named(body.plan)
        asked = ApplyRequest(
            run_id=body.run_id,
            evaluation_run_id=body.evaluation_run_id or _evaluation(world_id, body.run_id),
            activate=named[0],
            deactivate=named[1],
            plan_hash=body.plan_hash,
            if_match=if_match_of(request),
        )
        return _answer(request_apply(world_id=world_id, request=asked, act=act), act.grants)


class ApplyRunView(Endpoint):
    """One apply run."""

    @documented(Operation("getApplyRun", "apply", "Read an apply run", {200: ApplyRunShape}))
    def get(self, request: Request, world_id: str, run_id: str) -> Response:
        """Read a run with its phase, plan and approvals."""
        act = reader_of(request, world_id)
        return Response(_shape(get_apply_run(world_id, check_object_id(run_id, field="run_id")), act.grants))


class ApproveView(ApprovalEndpoint):
    """A person's approval."""

    @documented(
        Operation(
            "approveApplyRun",
            "apply",
            "Approve a plan",
            {200: ApplyRunShape},
            body=ApproveBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, run_id: str) -> Response:
        """Approve exactly the plan that was shown; needs a session in which the password was entered recently."""
        act = reader_of(request, world_id)
        if is_machine(request):
            raise ApprovalNeedsSessionError
        body = read_json(request, ApproveBody)
        run = approve(
            world_id=world_id,
            run_id=check_object_id(run_id, field="run_id"),
            plan_hash=body.plan_hash,
            reauthenticated_at=reauthenticated_at(request.session),
            act=act_of(request, reason=body.reason),
        )
        return Response(_shape(run, act.grants))


class ApplyVerbView(ApprovalEndpoint):
    """What else can be done to a run."""

    @documented(
        Operation(
            "{last}ApplyRun",
            "apply",
            "Reject, abort or resume a run",
            {200: ApplyRunShape},
            body=ReasonBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, run_id: str, verb: str) -> Response:
        """Reject a waiting run, abort one wherever it is, or let a held one start again."""
        reader_of(request, world_id)
        check_object_id(run_id, field="run_id")
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        return Response(_shape(VERBS[verb](world_id=world_id, run_id=run_id, act=act), act.grants))


class RollbackView(Endpoint):
    """The request to go back."""

    @documented(
        Operation(
            "rollback", "apply", "Go back to a generation", {200: ApplyAnswer}, body=RollbackBody, problems=(409,)
        ),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Go back to a past generation, as a new one; reductions switch at once, increases need approval.

        The set is pinned: no increase starts by itself until it is unpinned, another policy is in force, or
        `pin_expires_at`.
        """
        check_world_id(world_id)
        body = read_json(request, RollbackBody)
        act = act_of(request, reason=body.reason)
        act.require("rollback.request", world_id)
        until = plausible_time(body.pin_expires_at, field="pin_expires_at")
        asked = RollbackRequest(run_id=body.run_id, to_generation=_target(world_id, body), pin_expires_at=until)
        return _answer(request_rollback(world_id=world_id, request=asked, act=act), act.grants)


class UnpinView(ApprovalEndpoint):
    """The end of a pin."""

    @documented(
        Operation(
            "unpin", "apply", "Unpin the set", {200: UnpinAnswer}, body=ReasonBody, problems=(409,), by_session=True
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Let increases start by themselves again after a rollback. Twice is once."""
        check_world_id(world_id)
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        return Response(UnpinAnswer(world_id=unpin(world_id=world_id, act=act).id, pinned=False))


def _evaluation(world_id: str, run_id: str) -> str:
    """Return the evaluation that is meant where none is named: that of the first request, else the newest."""
    known = ApplyRun.objects.select_related("evaluation").filter(world_id=world_id, run_id=run_id).first()
    evaluation = known.evaluation if known is not None and known.evaluation else find_newest_run(world_id=world_id)
    if evaluation is None:
        get_world(world_id)
        raise RunNotFoundError(world_id, "newest")
    return evaluation.run_id


def _named(plan: HandPlan) -> tuple[tuple[InstanceKey, ...], tuple[InstanceKey, ...]]:
    return tuple(map(instance_key, plan.activate)), tuple(map(instance_key, plan.deactivate))


def instance_key(given: str | InstanceBody) -> InstanceKey:
    """Return the instance that is meant; a mere strategy id is its long side."""
    if isinstance(given, InstanceBody):
        return InstanceKey(given.strategy_id, given.side)
    return InstanceKey.from_text(given if "|" in given else f"{given}|long")


def if_match_of(request: Request) -> str | None:
    """Return the tag that the caller has seen, None where it does not matter."""
    tag = request.headers.get("If-Match")
    return None if tag is None or tag.strip() == "*" else tag.strip().strip('"')


def _target(world_id: str, body: RollbackBody) -> int:
    if (body.to_generation is None) == (body.to_run_id is None):
        raise InputInvalidError(field="to_generation", reason="or to_run_id must be given, and one of them only")
    if body.to_run_id is None:
        return body.to_generation or 0
    made = get_apply_run(world_id, body.to_run_id).target_generation
    if made is None:
        raise InputInvalidError(field="to_run_id", reason="made no generation")
    return made


def _answer(requested: Requested, grants: Grants) -> Response:
    run = requested.run
    answer = ApplyAnswer(
        ok=run.state != RunState.HELD,
        run_id=run.run_id,
        phase=wire_word(RunState(run.state)),
        kind=run.kind,
        active=_members(run.transition_plan, grants),
        generation=run.target_generation or run.base_generation,
        reduce_run_id=run.reduce_run.run_id if run.reduce_run else None,
        plan_hash=run.plan_hash,
        replayed=requested.replayed,
    )
    return Response(answer, status=HTTPStatus.OK, headers={"Location": f"/worlds/{run.world_id}/apply/{run.run_id}"})


def _members(plan: TransitionPlan, grants: Grants) -> list[str]:
    """Return whom the plan leads to, as far as the caller may know of them."""
    return [key.text for key in plan.after.weights if grants.knows_strategy(key.strategy_id)]


def _shape(run: ApplyRun, grants: Grants) -> ApplyRunShape:
    plan = run.transition_plan
    return ApplyRunShape(
        world_id=run.world_id,
        run_id=run.run_id,
        kind=run.kind,
        phase=wire_word(RunState(run.state)),
        phase_reason=run.state_reason,
        phase_changed_at=run.state_changed_at,
        base_generation=run.base_generation,
        target_generation=run.target_generation,
        rollback_to=run.rollback_to,
        evaluation_run_id=run.evaluation.run_id if run.evaluation else None,
        reduce_run_id=run.reduce_run.run_id if run.reduce_run else None,
        policy_version=run.policy.version,
        plan_hash=run.plan_hash,
        changes=[
            ChangeOfWeight(
                key=change.key.text,
                kind=change.kind.value,
                reason=change.reason.value,
                before=change.before,
                after=change.after,
            )
            for change in plan.changes
            if grants.knows_strategy(change.key.strategy_id)
        ],
        active=_members(plan, grants),
        auto=run.auto,
        approvals_needed=run.approvals_needed,
        approvals=[
            ApprovalShape(approver=one.approver, reason=one.reason, created_at=one.created_at)
            for one in run.approvals.all()
        ],
        approval_expires_at=run.approval_expires_at,
        drain_until=run.drain_until,
        requested_by=run.requested_by,
        requested_at=run.requested_at,
        reason=run.reason,
        result=run.result,
    )
