"""What the decided set exposes to, recorded so that the switch can check the budgets again without the series."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.metrics.correlation import CorrelationScreen
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings
from qmtl_worlds.policy.compiler import CompiledPolicy

_LEVERAGE = MetricRef("leverage")


def exposures_of(*, policy: CompiledPolicy, inputs: EvaluationInput, decision: Decision) -> dict[str, Any]:
    """Return leverage by member and the correlations of all pairs of members.

    Members are those of the decided set and of the present one, so that any mixture of the two can be checked.
    Correlations stand in the order of ``itertools.combinations`` of ``members``; None is unknown.
    """
    members = sorted({*decision.weights, *decision.before})
    wanted = set(members)
    places = {key: place for place, key in enumerate(inputs.keys) if key in wanted}
    rows = np.array([places[key] for key in members], dtype=np.int64)
    panel = _rows_of(inputs.panel, rows)
    as_of = int(inputs.as_of.timestamp())
    leverage = compute_metrics(panel, [_LEVERAGE], as_of=as_of, settings=MetricSettings())[_LEVERAGE.name]
    known = {
        key: float(value)
        for key, value, status in zip(members, leverage.value, leverage.status, strict=True)
        if status == 0
    }
    return {"members": members, "leverages": known, "correlations": _correlations(policy, panel, len(members), as_of)}


def _correlations(policy: CompiledPolicy, panel: ReturnPanel, count: int, as_of: int) -> list[float | None]:
    rule = policy.document.selection.constraints.correlation
    if rule is None:
        return []
    screen = CorrelationScreen(
        panel,
        as_of=as_of,
        cap=rule.max_pairwise,
        window=rule.window_days,
        min_overlap=rule.required_overlap,
        mode=rule.mode,
    )
    pairs = np.array(list(combinations(range(count), 2)), dtype=np.int64).reshape(-1, 2)
    return [None if math.isnan(rho) else rho for rho in screen.rho(pairs[:, 0], pairs[:, 1]).tolist()]


def _rows_of(panel: ReturnPanel, rows: Any) -> ReturnPanel:
    return ReturnPanel(
        closes=panel.closes,
        returns=np.ascontiguousarray(panel.returns[rows]),
        leverage=None if panel.leverage is None else np.ascontiguousarray(panel.leverage[rows]),
    )
