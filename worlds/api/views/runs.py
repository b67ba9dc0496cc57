"""Routes that read evaluation runs: the decision in force, its explanation, past runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import AuditRun
from audit.selectors import find_newest_run, get_run, list_runs
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import RunNotFoundError, StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_object_id
from worlds.api.decisions import decision_of, explanation_of, only_visible, run_members
from worlds.api.endpoint import Endpoint, reader_of, require_strategy
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time, read_number, read_query
from worlds.api.shapes.activation import OverrideShape
from worlds.api.shapes.evaluations import (
    DecideQuery,
    DecideShape,
    ExplainQuery,
    ExplainShape,
    PageQuery,
    RunDetail,
    RunPage,
    RunShape,
    StrategyRunDetail,
)
from worlds.api.views.activation import override_shape
from worlds.selectors import get_world
from worlds.services.gate_facts import read_world
from worlds.services.override_rows import laid_over

DECIDE_SECONDS: Final = 300
_NO_RUN: Final[dict[str, Any]] = {
    "policy_checksum": "",
    "verdict": "inconclusive",
    "reason": "no_evaluation",
    "has_plan": False,
    "weighting": "",
    **{name: [] for name in ("topk", "active", "promote", "demote", "hold", "queued", "violations")},
    **{name: {} for name in ("weights", "reduced", "reasons", "ranks", "contribution", "certificate", "counts")},
}


class DecideView(Endpoint):
    """The decision in force."""

    @documented(
        Operation(
            "decide",
            "evaluations",
            "Read the decision in force",
            {200: DecideShape, 304: None},
            query=DecideQuery,
            headers={"If-None-Match": "the `ETag` that the caller has"},
        )
    )
    def get(self, request: Request, world_id: str) -> Response:
        """Read what the newest run decided; it authorizes no order, whatever its cache time."""
        act = reader_of(request, world_id)
        as_of = plausible_time(read_query(request, DecideQuery).as_of, field="as_of")
        mode = read_world(world_id=world_id).facts.effective_mode
        run = find_newest_run(world_id=world_id, as_of=as_of)
        decision = only_visible({**decided(world_id, run), "effective_mode": mode.value}, act.grants)
        tag = digest(decision).removeprefix("sha256:")[:32]
        headers = {"ETag": f'"{tag}"', "Cache-Control": f"max-age={DECIDE_SECONDS}"}
        if tag in request.headers.get("If-None-Match", ""):
            return Response(None, status=304, headers=headers)
        return Response({**decision, "ttl": f"{DECIDE_SECONDS}s", "etag": tag}, headers=headers)


class ExplainView(Endpoint):
    """Why an instance is active or not."""

    @documented(
        Operation("explain", "evaluations", "Explain one instance", {200: ExplainShape}, query=ExplainQuery),
    )
    def get(self, request: Request, world_id: str) -> Response:
        """Read the ordered trace of one instance through a run, and the same in words."""
        act = reader_of(request, world_id)
        query = read_query(request, ExplainQuery)
        require_strategy(act, world_id, query.strategy_id)
        run = _run(world_id, query.run_id)
        explanation = explanation_of(run, InstanceKey(query.strategy_id, query.side))
        shape = ExplainShape(
            world_id=world_id,
            run_id=run.run_id,
            as_of=run.as_of,
            policy_version=run.policy_version,
            override=_override(world_id, InstanceKey(query.strategy_id, query.side)),
            **msgspec.structs.asdict(explanation),
        )
        return Response(shape)


class RunsView(Endpoint):
    """The evaluation runs of a world."""

    @documented(Operation("listRuns", "evaluations", "List evaluation runs", {200: RunPage}, query=PageQuery))
    def get(self, request: Request, world_id: str) -> Response:
        """List runs, newest first."""
        reader_of(request, world_id)
        return _page(request, world_id)


class RunView(Endpoint):
    """One evaluation run."""

    @documented(Operation("getRun", "evaluations", "Read an evaluation run", {200: RunDetail}))
    def get(self, request: Request, world_id: str, run_id: str) -> Response:
        """Read a run and what it decided."""
        act = reader_of(request, world_id)
        run = get_run(world_id=world_id, run_id=check_object_id(run_id, field="run_id"))
        decision = decision_of(run)
        return Response({**run_members(run), "decision": decision and only_visible(decision, act.grants)})


class StrategyRunsView(Endpoint):
    """The evaluation runs, as seen by one strategy."""

    @documented(
        Operation(
            "listStrategyRuns", "evaluations", "List the runs of a strategy's world", {200: RunPage}, query=PageQuery
        ),
    )
    def get(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """List runs, newest first."""
        act = reader_of(request, world_id)
        require_strategy(act, world_id, check_object_id(strategy_id, field="strategy_id"))
        return _page(request, world_id)


class StrategyRunView(Endpoint):
    """One evaluation run and one strategy."""

    @documented(
        Operation("getStrategyRun", "evaluations", "Read what a run decided of a strategy", {200: StrategyRunDetail}),
    )
    def get(self, request: Request, world_id: str, strategy_id: str, run_id: str) -> Response:
        """Read a run and what it decided about each side of the strategy."""
        act = reader_of(request, world_id)
        require_strategy(act, world_id, check_object_id(strategy_id, field="strategy_id"))
        run = get_run(world_id=world_id, run_id=check_object_id(run_id, field="run_id"))
        decisions = {}
        for side in Side:
            try:
                decisions[side.value] = explanation_of(run, InstanceKey(strategy_id, side))
            except StrategyNotFoundError:
                continue
        return Response(StrategyRunDetail(**run_members(run), decisions=decisions))


def decided(world_id: str, run: AuditRun | None) -> dict[str, Any]:
    """Return what a run decided; without one, that nothing was."""
    if run is None:
        at = datetime.fromtimestamp(0, UTC).isoformat()
        return {"world_id": world_id, "policy_version": 0, "as_of": at, **_NO_RUN, "run_id": ""}
    return {**(decision_of(run) or {}), "run_id": run.run_id}


def _override(world_id: str, key: InstanceKey) -> OverrideShape | None:
    return next((override_shape(one) for one in laid_over(world_id) if one.layer.key == key), None)


def _run(world_id: str, run_id: str | None) -> AuditRun:
    if run_id is not None:
        return get_run(world_id=world_id, run_id=run_id)
    newest = find_newest_run(world_id=world_id)
    if newest is None:
        raise RunNotFoundError(world_id, "newest")
    return newest


def _page(request: Request, world_id: str) -> Response:
    get_world(world_id)
    query = read_query(request, PageQuery)
    before = read_number(query.cursor, field="cursor") if query.cursor else None
    found = list_runs(world_id=world_id, before_pk=before, limit=query.limit + 1)
    page = found[: query.limit]
    cursor = str(page[-1].pk) if len(found) > query.limit else ""
    return Response(RunPage(runs=[RunShape(**run_members(run)) for run in page], next_cursor=cursor))
