"""Recorded decisions as answers, cut to what a caller may see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from audit.models import AuditRun
from audit.selectors import find_chunk
from qmtl_worlds.contracts.acts import Grants
from qmtl_worlds.contracts.decision_record import decode_row
from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.explain import explain
from worlds.api.shapes.evaluations import ExplanationShape, MetricShape, RunShape

_LISTS = ("topk", "active", "promote", "demote", "hold", "queued")
_MAPS = ("weights", "reduced", "reasons", "ranks", "contribution")


def decision_of(run: AuditRun) -> dict[str, Any] | None:
    """Return what a run decided; None while it is running and after an error."""
    text = run.decision_bytes()
    return json.loads(text) if text else None


def only_visible(decision: Mapping[str, Any], grants: Grants) -> dict[str, Any]:
    """Return the decision without instances that the caller's token does not cover."""
    if grants.strategies is None:
        return dict(decision)
    cut: dict[str, Any] = {name: [key for key in decision[name] if _known(grants, key)] for name in _LISTS}
    for name in _MAPS:
        cut[name] = {key: value for key, value in decision[name].items() if _known(grants, key)}
    cut["violations"] = [one for one in decision["violations"] if _known(grants, one["key"])]
    if decision.get("plan"):
        cut["plan"] = None
    return {**decision, **cut}


def explanation_of(run: AuditRun, key: InstanceKey) -> ExplanationShape:
    """Return why the run decided as it did about one instance.

    Raises:
        StrategyNotFoundError: the run knows no such instance.
    """
    chunk = find_chunk(run=run, key=key.text)
    if chunk is None:
        raise StrategyNotFoundError(run.world_id, key.strategy_id, key.side.value)
    recorded = decode_row(chunk, key.text)
    return ExplanationShape(
        strategy_id=key.strategy_id,
        side=key.side.value,
        outcome=recorded.outcome.value,
        reason=recorded.reason.value,
        eligibility=recorded.eligibility.value,
        was_active=recorded.active,
        weight_before=recorded.weight_before,
        weight=recorded.weight,
        rank=recorded.rank,
        score=recorded.score,
        metrics={name: MetricShape(value=one.value, status=one.status) for name, one in recorded.metrics.items()},
        steps=[step.to_json() for step in recorded.steps],
        text=explain(recorded),
    )


def run_url(world_id: str, run_id: str) -> str:
    """Return where an evaluation run is found."""
    return f"/worlds/{world_id}/runs/{quote(run_id, safe='')}"


def run_members(run: AuditRun) -> dict[str, Any]:
    """Return the members of ``RunShape``."""
    names = set(RunShape.__struct_fields__) - {"url"}
    return {**{name: getattr(run, name) for name in names}, "url": run_url(run.world_id, run.run_id)}


def _known(grants: Grants, key: str) -> bool:
    return grants.knows_strategy(key.partition("|")[0])
