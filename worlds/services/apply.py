"""Ask that an evaluation's outcome be carried out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import (
    EtagMismatchError,
    InputInvalidError,
    PlanStaleError,
    RunNotFoundError,
    RunStateError,
)
from qmtl_worlds.contracts.ids import InstanceKey, apply_run_id, check_object_id
from qmtl_worlds.contracts.lease import find_position
from qmtl_worlds.contracts.plans import (
    ActiveSet,
    ChangeReason,
    TransitionPlan,
    active_set,
    parse_active_set,
)
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.approval import AutoFacts, AutoLimits, auto_refusal
from qmtl_worlds.lifecycle.plan import same_change
from worlds.models import ActivationSet, ApplyRun, PolicyChange, PolicyVersion, World
from worlds.selectors import content_of, policy_in_force, position_of
from worlds.services.budgets import broken_budgets
from worlds.services.changes import locked_world
from worlds.services.compat_plans import free_plan
from worlds.services.pins import is_pinned
from worlds.services.run_rows import compiled
from worlds.services.runs import (
    NewRun,
    Started,
    busy_run,
    create_reduce_run,
    start_parts,
    start_reducing_part,
    started_before,
    supersede,
    waiting_runs,
)
from worlds.services.step_facts import newest_decision


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """What to carry out: the plan of a recorded evaluation, or a part of it named by hand.

    ``activate`` and ``deactivate`` narrow the evaluation's plan; they may name only instances that it found eligible or
    that are active, in a compatibility world any bound one, at ``weight`` where it is given. ``plan_hash`` and
    ``if_match`` say what the caller has seen.
    """

    run_id: str
    evaluation_run_id: str
    activate: tuple[InstanceKey, ...] | None = None
    deactivate: tuple[InstanceKey, ...] | None = None
    plan_hash: str | None = None
    if_match: str | None = None
    weight: float | None = None

    @property
    def by_hand(self) -> bool:
        """Tell whether somebody names what to change."""
        return self.activate is not None or self.deactivate is not None

    @property
    def digest(self) -> str:
        """Return what decides whether a repeated run id is the same request."""
        named = [None if keys is None else [key.text for key in keys] for keys in (self.activate, self.deactivate)]
        weight = [] if self.weight is None else [self.weight]
        return digest([self.run_id, self.evaluation_run_id, *named, *weight])


@dataclass(frozen=True, slots=True)
class Requested:
    """The run that answers for a request; ``replayed`` where the request was seen before."""

    run: ApplyRun
    replayed: bool


def request_apply(*, world_id: str, request: ApplyRequest, act: Act) -> Requested:
    """Start the runs of a plan, or return the one that this run id started before.

    What only takes away goes at once, as a run of its own, also where the rest is refused since another increase is
    under way. The rest waits for approval unless the policy's envelope lets the schedule go ahead. A plan without any
    change makes a run that is done.

    Raises:
        RunIdReusedError: the run id belongs to another request.
        RunNotFoundError: there is no such evaluation.
        PlanStaleError: the evaluation started from another set, or a later one decided on newer data.
        InputInvalidError: a part that was named by hand is not possible, or breaks a budget.
        WorldBusyError: another increase is under way.
        EtagMismatchError: ``if_match`` is older than the world.
    """
    act.require("apply.request", world_id)
    check_object_id(request.run_id, field="run_id")
    started = _request(world_id, request, act)
    return started if isinstance(started, Requested) else Requested(started.answering(world_id), replayed=False)


@transaction.atomic
def _request(world_id: str, request: ApplyRequest, act: Act) -> Requested | Started:
    world = locked_world(world_id)
    if before := started_before(world=world, run_id=request.run_id, request_digest=request.digest):
        return Requested(before.run, replayed=True) if before.run else before
    if request.if_match is not None and find_position(request.if_match) != position_of(world):
        raise EtagMismatchError(expected=request.if_match, current=position_of(world).text)
    evaluation = _evaluation(world, request.evaluation_run_id)
    policy = policy_in_force(world)
    plan, reduced = _plan(world, policy, evaluation, request)
    if request.plan_hash is not None and request.plan_hash != plan.plan_hash:
        raise PlanStaleError("The plan changed after you saw it; evaluate again.", plan_hash=plan.plan_hash)
    new = NewRun(world, request.run_id, plan, policy, evaluation, request.digest, reduced=reduced)
    auto = may_go_ahead(world=world, plan=plan, policy=policy, act=act)
    started = start_parts(new=new, act=act, auto=auto)
    transaction.on_commit(partial(reach, "request.after_commit"))
    reach("request.before_commit")
    return started


def carry_out_scheduled(*, world: World, evaluation: AuditRun, act: Act) -> None:
    """Start the runs of a scheduled evaluation's plan; the caller holds the world's lock.

    What only takes away always goes. The rest does not start while the world is paused or pinned, another increase is
    under way or a person's rollback waits for approval: the next evaluation asks again. The same change that waits
    already goes on waiting, with the approvals it has; one that is wanted no more is superseded.
    """
    policy = policy_in_force(world)
    plan, reduced = _decided(world, policy, evaluation)
    run_id = apply_run_id(evaluation.run_id)
    request_digest = ApplyRequest(run_id, evaluation.run_id).digest
    new = NewRun(world, run_id, plan, policy, evaluation, request_digest, reduced=reduced)
    parts = new.parts
    if parts.increase is not None and _may_ask(world, parts.increase, act):
        start_parts(new=new, act=act, auto=may_go_ahead(world=world, plan=parts.increase, policy=policy, act=act))
        return
    if parts.increase is None and evaluation.state == AuditRunState.OK:
        supersede(world=world, runs=waiting_runs(world).filter(rollback_to=None), act=act)
    if parts.reduce is not None and parts.increase is None:
        create_reduce_run(new=new.carrying(parts.reduce), act=act)
    elif parts.reduce is not None:
        start_reducing_part(new=new, part=parts.reduce, act=act)


def plan_of(*, world: World, policy: PolicyVersion, evaluation: AuditRun) -> TransitionPlan:
    """Return the plan that leads from the world's present set to the one that the evaluation decided.

    Raises:
        PlanStaleError: the evaluation was made from another set or under another policy.
    """
    plan, _ = _decided(world, policy, evaluation)
    return plan


def may_go_ahead(*, world: World, plan: TransitionPlan, policy: PolicyVersion, act: Act) -> bool:
    """Tell whether the plan lies inside what two people approved with the policy version."""
    if world.compat:  # paper, and its clients know no approvals (SEMANTICS 10)
        return True
    document = compiled(policy).document.apply
    if document.mode != "auto":
        return False
    approved = PolicyChange.objects.filter(policy=policy, state=PolicyChange.State.IN_FORCE).exclude(decider_person="")
    facts = AutoFacts(
        version_approved=approved.exists(),
        first_live=world.mode == World.Mode.LIVE and not ActivationSet.objects.filter(world=world).exists(),
        pinned=is_pinned(world, now=act.now),
        paused=world.paused,
        by_schedule=act.actor == "schedule",
    )
    limits = AutoLimits(max_changes=document.auto.max_changes, max_gross_shift=document.auto.max_gross_shift)
    return auto_refusal(plan, limits, facts) is None


def _may_ask(world: World, increase: TransitionPlan, act: Act) -> bool:
    """Tell whether the schedule may start an increase beside what is under way or waits."""
    if world.paused or is_pinned(world, now=act.now) or busy_run(world) is not None:
        return False
    waiting = list(waiting_runs(world))
    return not any(run.rollback_to is not None or same_change(run.transition_plan, increase) for run in waiting)


def _evaluation(world: World, run_id: str) -> AuditRun:
    evaluation = AuditRun.objects.filter(world_id=world.id, run_id=run_id).first()
    if evaluation is None:
        raise RunNotFoundError(world.id, run_id)
    if evaluation.state not in {AuditRunState.OK, AuditRunState.INCONCLUSIVE}:
        raise RunStateError(run_id, state=evaluation.state, wanted="applied")
    newest = newest_decision(world.id)
    if newest is not None and evaluation.as_of < newest[1]:
        raise PlanStaleError("A later evaluation decided on newer data; apply that one.", evaluation_run_id=newest[0])
    return evaluation


def _plan(
    world: World, policy: PolicyVersion, evaluation: AuditRun, request: ApplyRequest
) -> tuple[TransitionPlan, ActiveSet | None]:
    """Return what is to be carried out, and for a plan as it was decided the set after its reducing part."""
    if world.compat and request.by_hand:
        activate, deactivate = request.activate or (), request.deactivate or ()
        chosen = free_plan(world=world, policy=policy, activate=activate, deactivate=deactivate, weight=request.weight)
    else:
        plan, reduced = _decided(world, policy, evaluation)
        if not request.by_hand:
            return plan, reduced
        chosen = _by_hand(plan, request)
    broken = broken_budgets(world_id=world.id, policy=policy, evaluations=[evaluation], plan=chosen)
    if broken:
        raise InputInvalidError(field="plan", reason=f"breaks {broken[0].rule} ({broken[0].subject})")
    return chosen, None


def _decided(world: World, policy: PolicyVersion, evaluation: AuditRun) -> tuple[TransitionPlan, ActiveSet]:
    """Return the decision's plan, and the set after what it takes away at once: under every cap before any approval."""
    decision = json.loads(evaluation.decision_bytes())
    recorded = evaluation.inputs
    base = recorded.get("generation") if isinstance(recorded, dict) else None
    if base != world.generation or decision["policy_checksum"] != policy.checksum:
        raise PlanStaleError(
            "The world changed after the evaluation; evaluate again.",
            evaluated_generation=base,
            generation=world.generation,
        )
    plan = _transition(world, policy, content_of(world.id, world.generation), decision)
    return plan, parse_active_set(decision["reduced"])


def _by_hand(plan: TransitionPlan, request: ApplyRequest) -> TransitionPlan:
    """Take over only the named changes of the plan; a named demotion may be of any active instance."""
    before, decided = plan.before.weights, plan.after.weights
    after = dict(before)
    for key in request.activate or ():
        if key not in decided:
            raise InputInvalidError(field="plan.activate", reason=f"{key.text} is neither selected nor active")
        after[key] = decided[key]
    for key in request.deactivate or ():
        if key in (request.activate or ()):
            raise InputInvalidError(field="plan", reason=f"names {key.text} on both sides")
        if key not in before:
            raise InputInvalidError(field="plan.deactivate", reason=f"{key.text} is not active")
        after.pop(key, None)
    reasons = tuple((key, ChangeReason.OPERATOR) for key in sorted(before.keys() - after.keys()))
    return TransitionPlan(
        plan.world_id, plan.base_generation, plan.policy_checksum, plan.before, active_set(after), reasons
    )


def _transition(world: World, policy: PolicyVersion, before: ActiveSet, decision: Mapping[str, Any]) -> TransitionPlan:
    after = active_set({InstanceKey.from_text(text): weight for text, weight in decision["weights"].items()})
    reasons = {InstanceKey.from_text(text): ChangeReason(word) for text, word in decision["reasons"].items()}
    return TransitionPlan(
        world_id=world.id,
        base_generation=world.generation,
        policy_checksum=policy.checksum,
        before=before,
        after=after if decision["has_plan"] else before,
        reasons=tuple(sorted(reasons.items())),
    )
