"""Apply and activation as QMTL's clients ask for them."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import UnavailableError
from qmtl_worlds.contracts.ids import InstanceKey, check_world_id
from qmtl_worlds.contracts.states import RunState, wire_word
from qmtl_worlds.policy.dialect import source_of
from worlds.api.authentication import act_of
from worlds.api.bodies import read_open_object
from worlds.api.decisions import decision_of
from worlds.api.shapes.compat import ClientActivation, ClientApply, ClientPlan
from worlds.api.views.activation import ActivationView
from worlds.api.views.apply import ApplyView, if_match_of, instance_key
from worlds.api.views.compat import QmtlEndpoint
from worlds.api.views.compat_decisions import evaluated, refuse_policy
from worlds.models import ApplyRun
from worlds.selectors import get_world, members_of
from worlds.services.activation import activation_of
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.compat import bare, without_memory
from worlds.services.compat_activation import ActivationWish, lift_layers, request_membership
from worlds.services.compat_evaluations import minute_of, newest_evaluation, retried_run_id, take_metrics
from worlds.services.overrides import OverrideRequest, set_override

CLAIMS: Final = ("X-Allow-Live", "X-World-Roles", "X-Caller-Sub")
LONGEST_CLAIM: Final = 100


class QmtlApplyView(QmtlEndpoint, ApplyView):
    """The request to carry out a plan, or what metrics lead to."""

    def qmtl_post(self, request: Request, world_id: str) -> Response:
        """Carry it out without approval; while the evaluation that it rests on goes on, the phase is `requested`.

        The same request again goes on where that one stopped.
        """
        check_world_id(world_id)
        body, _ = read_open_object(request, ClientApply)
        refuse_policy(body.policy)
        act = act_of(request, reason=_claims(request))
        act.require("apply.request", world_id)
        evaluation = _evaluation(request, world_id, body, act)
        if evaluation is None:
            return Response(_not_yet(world_id, body.run_id))
        plan = body.plan or _plan_of(evaluation, world_id)
        asked = ApplyRequest(
            run_id=body.run_id,
            evaluation_run_id=evaluation.run_id,
            activate=None if plan is None else _keys(plan.activate),
            deactivate=None if plan is None else _keys(plan.deactivate),
            if_match=if_match_of(request),
        )
        run = request_apply(world_id=world_id, request=asked, act=act).run
        return Response(_apply_answer(run, act))


class QmtlActivationView(QmtlEndpoint, ActivationView):
    """What one instance may do now."""

    def qmtl_get(self, request: Request, world_id: str) -> Response:
        """Read whether an instance may trade; an empty parameter is none."""
        given = request._request.GET  # noqa: SLF001 - a DRF request has no other way to change its query
        if not all(given.values()):
            kept = urlencode({name: value for name, value in given.items() if value})
            request._request.GET = QueryDict(kept)  # noqa: SLF001
        return ActivationView.get(self, request, world_id)

    def qmtl_put(self, request: Request, world_id: str) -> Response:
        """Close an instance at once, or bring it in through the same machine as every plan."""
        check_world_id(world_id)
        body, _ = read_open_object(request, ClientActivation)
        key = InstanceKey(body.strategy_id, body.side)
        act = act_of(request, reason=_claims(request))
        if body.active and get_world(world_id).compat:
            _bring_in(request, world_id, body, act)
        else:
            asked = OverrideRequest(
                key=key,
                active=body.active,
                weight=body.weight if body.active else None,
                freeze=body.freeze,
                drain=body.drain,
                if_match=if_match_of(request),
            )
            set_override(world_id=world_id, request=asked, act=act)
        envelope = activation_of(world_id=world_id, key=key).envelope
        return Response(envelope.to_json(), headers={"ETag": f'"{envelope.etag}"'})


def _bring_in(request: Request, world_id: str, body: ClientActivation, act: Act) -> None:
    wish = ActivationWish(
        InstanceKey(body.strategy_id, body.side), body.weight, freeze=bool(body.freeze), drain=bool(body.drain)
    )
    if not lift_layers(world_id=world_id, wish=wish, act=act):
        return
    run_id = retried_run_id(["put", world_id], now=act.now)
    evaluation = newest_evaluation(world_id) or evaluated(request, world_id, run_id, act)
    if evaluation is None:
        raise UnavailableError("The evaluation that this rests on goes on; ask again.")
    request_membership(world_id=world_id, wish=wish, evaluation_run_id=evaluation.run_id, act=act)


def _evaluation(request: Request, world_id: str, body: ClientApply, act: Act) -> AuditRun | None:
    """Return the evaluation that the request rests on; None while it goes on."""
    known = ApplyRun.objects.select_related("evaluation").filter(world_id=world_id, run_id=body.run_id).first()
    if known is not None and known.evaluation is not None:
        return known.evaluation
    run_id = retried_run_id([world_id, body.run_id], now=minute_of(act.now))
    if body.metrics:
        take_metrics(world_id=world_id, metrics=body.metrics, as_of=minute_of(act.now), act=act)
        return evaluated(request, world_id, run_id, act)
    newest = newest_evaluation(world_id)
    if body.plan is not None and newest is not None:
        return newest
    if newest is not None and _is_of_present_set(newest, world_id):
        return newest
    return evaluated(request, world_id, run_id, act)


def _plan_of(evaluation: AuditRun, world_id: str) -> ClientPlan | None:
    """Return what a policy without memory asks for; None where the decision's own plan is meant."""
    world, decision = get_world(world_id), decision_of(evaluation)
    if not world.compat or world.policy is None or source_of(world.policy.text) is None or decision is None:
        return None
    meant = without_memory(decision, policy=world.policy)
    return ClientPlan(activate=meant["promote"], deactivate=meant["demote"])


def _is_of_present_set(evaluation: AuditRun, world_id: str) -> bool:
    recorded = evaluation.inputs
    base = recorded.get("generation") if isinstance(recorded, dict) else None
    return evaluation.state == AuditRunState.OK and base == get_world(world_id).generation


def _not_yet(world_id: str, run_id: str) -> dict[str, Any]:
    world = get_world(world_id)
    active = [bare(key.text) for key in sorted(members_of(world.id, world.generation))]
    return {"ok": True, "run_id": run_id, "active": active, "phase": "requested", "generation": world.generation}


def _apply_answer(run: ApplyRun, act: Act) -> dict[str, Any]:
    members = run.transition_plan.after.weights
    return {
        "ok": run.state != RunState.HELD,
        "run_id": run.run_id,
        "active": [bare(key.text) for key in members if act.grants.knows_strategy(key.strategy_id)],
        "phase": wire_word(RunState(run.state)),
        "generation": run.target_generation or run.base_generation,
    }


def _keys(names: list[str]) -> tuple[InstanceKey, ...]:
    return tuple(map(instance_key, names))


def _claims(request: Request) -> str:
    """Return what a client claims of itself, for the record; nothing of it is believed."""
    said = ((name, request.headers.get(name, "")) for name in CLAIMS)
    words = [f"{name}: {value[:LONGEST_CLAIM]}" for name, value in said if value.isprintable() and value]
    return f"QMTL client ({', '.join(words)})" if words else "QMTL client"
