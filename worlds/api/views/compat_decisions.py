"""Decisions, evaluations and their runs in the shapes of QMTL's clients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import AuditRun, AuditRunState
from audit.selectors import find_newest_run, get_run, list_runs
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import InputInvalidError, RunStateError, StoreUnavailableError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_object_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_open_object
from worlds.api.decisions import decision_of, explanation_of, only_visible, run_url
from worlds.api.endpoint import reader_of, require_strategy
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time, read_query
from worlds.api.shapes.compat import ClientEvaluate, RunMetrics, RunRevision
from worlds.api.shapes.evaluations import DecideQuery, EvaluateBody, ExplanationShape
from worlds.api.views.compat import QmtlEndpoint
from worlds.api.views.evaluations import EvaluateView, pending_answer, preview, recorded_answer
from worlds.api.views.runs import (
    DECIDE_SECONDS,
    DecideView,
    StrategyRunsView,
    StrategyRunView,
    decided,
)
from worlds.api.waiting import wait_for
from worlds.models import World
from worlds.selectors import get_world
from worlds.services.compat import bare, bare_keys, without_memory
from worlds.services.compat_evaluations import minute_of, retried_run_id, start_evaluation, take_metrics
from worlds.services.compat_history import decision_extras
from worlds.services.dispatch import new_reply_key
from worlds.services.gate_facts import read_world

MOST_RUNS: Final = 20
"""Each is told in full, with the statements that this takes."""
_LISTS: Final = ("topk", "active", "promote", "demote", "hold", "queued")
_MAPS: Final = ("weights", "ranks", "reasons", "reduced")


class QmtlDecideView(QmtlEndpoint, DecideView):
    """The decision in force, with what clients told of their data."""

    def qmtl_get(self, request: Request, world_id: str) -> Response:
        """Read what the newest run decided; it authorizes no order, whatever its cache time."""
        act = reader_of(request, world_id)
        as_of = plausible_time(read_query(request, DecideQuery).as_of, field="as_of")
        world = get_world(world_id)
        run = find_newest_run(world_id=world_id, as_of=as_of)
        mode = read_world(world_id=world_id).facts.effective_mode
        visible = only_visible({**decided(world_id, run), "effective_mode": mode.value}, act.grants)
        body = {**in_their_names(visible, world), **decision_extras(world)}
        body["as_of"] = _zulu(str(body["as_of"]))
        tag = digest(body).removeprefix("sha256:")[:32]
        headers = {"ETag": f'"{tag}"', "Cache-Control": f"max-age={DECIDE_SECONDS}"}
        if tag in request.headers.get("If-None-Match", ""):
            return Response(None, status=304, headers=headers)
        return Response({**body, "ttl": f"{DECIDE_SECONDS}s", "etag": tag}, headers=headers)


class QmtlEvaluateView(QmtlEndpoint, EvaluateView):
    """An evaluation: of what is stored, or of the metrics that the client sends."""

    def qmtl_post(self, request: Request, world_id: str) -> Response:
        """Evaluate. With metrics they are stored and the run is recorded; without, nothing is."""
        reader_of(request, world_id)
        body, _ = read_open_object(request, ClientEvaluate)
        refuse_policy(body.policy)
        act = act_of(request)
        if not body.metrics:
            told = preview(request, world_id, EvaluateBody(as_of=_time(body.as_of)), act)
            return (
                Response(in_their_names(told.data, get_world(world_id))) if told.status_code == HTTPStatus.OK else told
            )
        as_of = _time(body.as_of) or minute_of(act.now)
        take_metrics(world_id=world_id, metrics=body.metrics, as_of=as_of, act=act)
        run_id = body.run_id or retried_run_id([act.actor, body.metrics, body.as_of], now=act.now)
        run = evaluated(request, world_id, run_id, act)
        if run is None:
            return pending_answer(world_id, run_id)
        answer = in_their_names(only_visible(recorded_answer(run), act.grants), get_world(world_id))
        if body.strategy_id is not None:
            answer["evaluation_run_url"] = _run_url(world_id, body.strategy_id, run_id)
        return Response({"ok": run.state == AuditRunState.OK, **answer})


class QmtlStrategyRunsView(QmtlEndpoint, StrategyRunsView):
    """The evaluation runs of a strategy, as a bare list."""

    def qmtl_get(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """List the newest runs, newest first."""
        act = reader_of(request, world_id)
        require_strategy(act, world_id, check_object_id(strategy_id, field="strategy_id"))
        world = get_world(world_id)
        found = list_runs(world_id=world_id, before_pk=None, limit=MOST_RUNS)
        return Response([_run(run, strategy_id, act, world) for run in found])


class QmtlStrategyRunView(QmtlEndpoint, StrategyRunView):
    """One evaluation run of a strategy, its metrics, or its history."""

    def qmtl_get(self, request: Request, world_id: str, strategy_id: str, run_id: str) -> Response:
        """Read a run as QMTL's command line shows it."""
        act = reader_of(request, world_id)
        return Response(_run(_found(act, world_id, strategy_id, run_id), strategy_id, act, get_world(world_id)))


class QmtlRunMetricsView(QmtlEndpoint):
    """The metrics that a run judged a strategy by."""

    @documented(
        Operation("getRunMetrics", "qmtl", "Read a run's metrics", {200: RunMetrics}, problems=(409,)),
    )
    def get(self, request: Request, world_id: str, strategy_id: str, run_id: str) -> Response:
        """Read them, by section; 409 while the run goes on."""
        act = reader_of(request, world_id)
        run = _found(act, world_id, strategy_id, run_id)
        if run.state == AuditRunState.RUNNING:
            raise RunStateError(run_id, state=run.state, wanted="evaluated")
        return Response(_run(run, strategy_id, act, get_world(world_id))["metrics"])


class QmtlRunHistoryView(QmtlEndpoint):
    """The revisions of a run: there is one, since runs do not change."""

    @documented(Operation("getRunHistory", "qmtl", "Read a run's revisions", {200: list[RunRevision]}))
    def get(self, request: Request, world_id: str, strategy_id: str, run_id: str) -> Response:
        """Read the one revision."""
        act = reader_of(request, world_id)
        run = _found(act, world_id, strategy_id, run_id)
        at = run.finished_at or run.started_at
        return Response(
            [{"revision": 1, "recorded_at": at, "payload": _run(run, strategy_id, act, get_world(world_id))}]
        )


def evaluated(request: Request, world_id: str, run_id: str, act: Act) -> AuditRun | None:
    """Return the recorded evaluation of that id, begun where there is none; None while it goes on.

    Without Redis nobody can wait: the run is recorded, and the tick sees to it.
    """
    key = new_reply_key()
    run = start_evaluation(world_id=world_id, run_id=run_id, reply_to=key, act=act)
    if run.state == AuditRunState.RUNNING:
        with suppress(StoreUnavailableError):
            wait_for(request, key=key)
        run = get_run(world_id=world_id, run_id=run_id)
    return None if run.state == AuditRunState.RUNNING else run


def in_their_names(decision: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Return a decision that names instances by their strategies, with the members that only these clients read."""
    meant = without_memory(decision, policy=world.policy)
    told = dict(meant)
    for name in _LISTS:
        told[name] = [bare(text) for text in meant[name]]
    for name in _MAPS:
        told[name] = bare_keys(meant[name])
    told["contributions"] = bare_keys(meant["contribution"])
    told["threshold_violations"] = told["violations"]
    plan = decision.get("plan")
    named = {"activate": told["promote"], "deactivate": told["demote"]}
    told["plan"] = {**plan, **named} if plan else named
    return told


def refuse_policy(policy: object) -> None:
    """Refuse a policy in the body: whoever evaluates would approve himself.

    Raises:
        InputInvalidError: there is one.
    """
    if policy is not None:
        raise InputInvalidError(field="policy", reason="cannot replace the world's policy; store a version")


def _found(act: Act, world_id: str, strategy_id: str, run_id: str) -> AuditRun:
    require_strategy(act, world_id, check_object_id(strategy_id, field="strategy_id"))
    return get_run(world_id=world_id, run_id=check_object_id(run_id, field="run_id"))


def _run(run: AuditRun, strategy_id: str, act: Act, world: World) -> dict[str, Any]:
    """Return a run in QMTL's shape; what it knows and we do not is empty."""
    url = _run_url(run.world_id, strategy_id, run.run_id)
    decision = decision_of(run)
    visible = only_visible(decision, act.grants) if decision else None
    active = in_their_names(visible, world)["active"] if visible else []
    traces = _traces(run, strategy_id)
    return {
        "world_id": run.world_id,
        "strategy_id": strategy_id,
        "run_id": run.run_id,
        "status": "evaluating" if run.state == AuditRunState.RUNNING else "evaluated",
        "stage": "paper",
        "risk_tier": None,
        "model_card_version": None,
        "metrics": {"returns": _metrics(traces), "sample": {}, "risk": {}, "robustness": {}, "diagnostics": {}},
        "validation": {
            "policy_version": run.policy_version,
            "ruleset_hash": run.policy_checksum,
            "profile": None,
            "results": {code: one for trace in traces for code, one in _results(trace).items()},
        },
        "summary": {
            "status": _status(traces),
            "recommended_stage": "paper_only",
            "active": strategy_id in active,
            "active_set": active,
            "override_status": "none",
        },
        "created_at": run.started_at,
        "updated_at": run.finished_at or run.started_at,
        "links": {"metrics": f"{url}/metrics", "history": f"{url}/history"},
    }


def _traces(run: AuditRun, strategy_id: str) -> list[ExplanationShape]:
    found = []
    for side in Side:
        try:
            found.append(explanation_of(run, InstanceKey(strategy_id, side)))
        except StrategyNotFoundError:
            continue
    return found


def _metrics(traces: list[ExplanationShape]) -> dict[str, float]:
    """Return what was judged, the long side's where both were."""
    found: dict[str, float] = {}
    for trace in traces:
        for name, metric in trace.metrics.items():
            if metric.value is not None:
                found.setdefault(name.removeprefix("reported."), metric.value)
    return found


def _results(trace: ExplanationShape) -> dict[str, dict[str, Any]]:
    """Return each stage's verdict, the last one of a stage where it has several."""
    results: dict[str, dict[str, Any]] = {}
    for step in trace.steps:
        passed = str(step.get("verdict", "")).lower() == "pass"
        results[str(step.get("stage"))] = {
            "status": "pass" if passed else "fail",
            "severity": "info" if passed else "blocking",
            "owner": "policy",
            "reason_code": step.get("reason") or step.get("code"),
            "reason": trace.text,
            "tags": [],
            "details": step,
        }
    return results


def _status(traces: list[ExplanationShape]) -> str:
    words = {trace.eligibility.lower() for trace in traces}
    if not words or "fail" in words:
        return "fail"
    return "pass" if words <= {"pass"} else "warn"


def _run_url(world_id: str, strategy_id: str, run_id: str) -> str:
    return run_url(world_id, run_id).replace("/runs/", f"/strategies/{strategy_id}/runs/")


def _time(text: str | None) -> datetime | None:
    """Read a time as these clients write it: with an offset, or in UTC without."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputInvalidError(field="as_of", reason="must be an ISO-8601 time") from error
    return plausible_time(at if at.tzinfo else at.replace(tzinfo=UTC), field="as_of")


def _zulu(text: str) -> str:
    return text.replace("+00:00", "Z")
