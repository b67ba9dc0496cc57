"""Routes that evaluate: what would be decided, or a recorded run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import AuditRun, AuditRunState
from audit.selectors import get_run
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError, PlanStaleError
from qmtl_worlds.policy.compiler import compile_mapping
from worlds.api.authentication import act_of
from worlds.api.bodies import convert, read_open_object
from worlds.api.decisions import only_visible, run_url
from worlds.api.endpoint import Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time
from worlds.api.shapes.evaluations import EvaluateBody, EvaluationPending, EvaluationShape, PairShape
from worlds.api.waiting import WAIT_HEADER, ask, wait_for
from worlds.selectors import get_world, policy_in_force
from worlds.services.apply import plan_of
from worlds.services.dispatch import PREVIEW, new_reply_key
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.stores.clock import world_now


class EvaluateView(Endpoint):
    """An evaluation of a world."""

    @documented(
        Operation(
            "evaluate",
            "evaluations",
            "Evaluate a world",
            {200: EvaluationShape, 202: EvaluationPending},
            body=EvaluateBody,
            headers=WAIT_HEADER,
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Evaluate, and wait a moment for the outcome; after that 202 says where it will be.

        Nothing is stored and no streak moves unless `record` is true. The same run id again is the same run.
        """
        reader_of(request, world_id)
        body, _ = read_open_object(request, EvaluateBody)
        body.as_of = plausible_time(body.as_of, field="as_of")
        _check(body)
        act = act_of(request, reason=body.reason)
        if body.record and not body.dry_run:
            return _record(request, world_id, body, act)
        return preview(request, world_id, body, act)


def _check(body: EvaluateBody) -> None:
    for name in ("series", "previous"):
        if getattr(body, name) is not None:
            raise InputInvalidError(field=name, reason="is not supported: push returns and apply instead")
    if body.record and not body.dry_run:
        for name in ("metrics", "correlations", "policy"):
            if getattr(body, name) is not None:
                raise InputInvalidError(field=name, reason="cannot go with record: recorded runs read what is stored")


def _record(request: Request, world_id: str, body: EvaluateBody, act: Act) -> Response:
    key = new_reply_key()
    run_id = body.run_id or f"eval:{uuid4().hex}"
    run = request_evaluation(
        world_id=world_id, request=EvaluationRequest(run_id, as_of=body.as_of, reply_to=key), act=act
    )
    if run.state == AuditRunState.RUNNING:
        wait_for(request, key=key)
        run = get_run(world_id=world_id, run_id=run_id)
    if run.state == AuditRunState.RUNNING:
        return pending_answer(world_id, run_id)
    return Response(only_visible(recorded_answer(run), act.grants))


def recorded_answer(run: AuditRun) -> dict[str, Any]:
    """Return a finished run as an answer; one that ended in an error decided nothing."""
    recorded: dict[str, Any] = {
        "evaluation_run_id": run.run_id,
        "evaluation_run_url": run_url(run.world_id, run.run_id),
        "inputs_digest": run.inputs_digest,
        "plan": None,
        "plan_hash": "",
    }
    if run.state == AuditRunState.ERROR:
        return {**_nothing(run), **recorded}
    return {**json.loads(run.decision_bytes()), **recorded, **_plan(run)}


def _nothing(run: AuditRun) -> dict[str, Any]:
    lists = dict.fromkeys(("topk", "active", "promote", "demote", "hold", "queued", "violations"), ())
    maps = ("weights", "reduced", "reasons", "ranks", "contribution", "certificate", "counts")
    return {
        "world_id": run.world_id,
        "policy_version": run.policy_version or 0,
        "policy_checksum": run.policy_checksum,
        "as_of": run.as_of.isoformat(),
        "verdict": "error",
        "effective_mode": "compute-only",
        "reason": run.error,
        "has_plan": False,
        "weighting": "",
        **lists,
        **{name: {} for name in maps},
    }


def _plan(run: AuditRun) -> dict[str, Any]:
    """Return the plan from the present set, or nothing where the world has moved on."""
    world = get_world(run.world_id)
    try:
        plan = plan_of(world=world, policy=policy_in_force(world), evaluation=run)
    except PlanStaleError:
        return {}
    return {"plan": plan.to_json(), "plan_hash": plan.plan_hash}


def preview(request: Request, world_id: str, body: EvaluateBody, act: Act) -> Response:
    """Answer what would be decided, or 202 where no worker told in time."""
    world = get_world(world_id)
    now = world_now(world, now=act.now)
    as_of = body.as_of or now
    if as_of > now:
        raise InputInvalidError(field="as_of", reason=f"is after the world's clock, {now.isoformat()}")
    question = _question(world_id, body)
    if "policy" not in question:
        policy_in_force(world)
    run_id = body.run_id or f"eval:{uuid4().hex}"
    told = ask(
        request,
        task=PREVIEW,
        asked=[act.actor, world_id, run_id, question, body.as_of and body.as_of.isoformat()],
        world_id=world_id,
        as_of=as_of.isoformat(),
        now=now.isoformat(),
        question=question,
    )
    if told is None:
        return pending_answer(world_id, run_id)
    decided = {"evaluation_run_id": "", "evaluation_run_url": "", **told}
    return Response(only_visible(decided, act.grants))


def _question(world_id: str, body: EvaluateBody) -> dict[str, Any]:
    question: dict[str, Any] = {}
    if body.policy is not None:
        compile_mapping(body.policy, world_id=world_id)
        question["policy"] = body.policy
    if body.metrics is not None:
        question["metrics"] = body.metrics
    if body.correlations is not None:
        question["correlations"] = [_pair(pair) for pair in _pairs(body.correlations)]
    return question


def _pairs(given: list[PairShape] | Mapping[str, Any]) -> list[PairShape]:
    """Read correlations in any of their three forms."""
    if isinstance(given, list):
        return given
    rows: list[dict[str, object]] = []
    for name, value in given.items():
        if isinstance(value, Mapping):
            rows += [{"a": name, "b": other, "rho": rho} for other, rho in value.items()]
        else:
            first, _, second = name.partition("|")
            rows.append({"a": first, "b": second, "rho": value})
    return [convert(row, PairShape) for row in rows]


def _pair(pair: PairShape) -> dict[str, object]:
    a, b = (name if "|" in name else f"{name}|long" for name in (pair.a, pair.b))
    return {"a": a, "b": b, "rho": pair.rho}


def pending_answer(world_id: str, run_id: str) -> Response:
    """Answer that a run goes on."""
    url = run_url(world_id, run_id)
    pending = EvaluationPending(evaluation_run_id=run_id, evaluation_run_url=url, state="running")
    return Response(pending, status=202, headers={"Location": url})
