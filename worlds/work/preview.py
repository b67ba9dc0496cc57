"""What an evaluation would decide: nothing is stored, and no streak moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.metric_names import parse_metric
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.policy.compiler import compile_mapping
from worlds.selectors import get_world, policy_in_force
from worlds.services.run_rows import compiled
from worlds.work.inputs import Gathered, Question, gather


def preview_world(*, world_id: str, as_of: datetime, now: datetime, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision envelope for a what-if question.

    ``question`` may hold ``policy`` (a document that stands in for the one in force), ``metrics`` (``{instance:
    {name: value}}``, which replace computed ones) and ``correlations`` (``[{a, b, rho}]``). A question about the past
    is judged by the bars that close up to ``as_of``, and by their freshness then.

    Raises:
        PolicyInvalidError: the given policy has faults.
        InputInvalidError: a metric or an instance is unknown.
    """
    world = get_world(world_id)
    given = question.get("policy")
    policy = compile_mapping(given, world_id=world_id) if given else compiled(policy_in_force(world))
    asked = Question(as_of, None, counts=False, looks_back=as_of < now)
    gathered = gather(world=world, policy=policy, question=asked)
    advice: dict[str, Any] = {}
    if metrics := question.get("metrics"):
        advice["advisory"] = _advisory(gathered, metrics)
    if correlations := question.get("correlations"):
        advice["correlations"] = _pairs(gathered, correlations)
    inputs = gathered.advised(**advice)
    decision = decide(policy, inputs, now=as_of)
    return envelope_with_plan(decision, gathered)


def envelope_with_plan(decision: Decision, gathered: Gathered) -> dict[str, Any]:
    """Return the envelope with its plan, and the hash that an approval would be bound to."""
    plan = decision.plan(base_generation=gathered.generation)
    told = {"plan": plan.to_json(), "plan_hash": plan.plan_hash, "inputs_digest": gathered.digest}
    return {**decision.envelope(), **told}


def _pairs(gathered: Gathered, correlations: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the given pairs; a name that nobody bears would silently change nothing."""
    known = frozenset(gathered.inputs.keys)
    for number, row in enumerate(correlations):
        for end in ("a", "b"):
            if row[end] not in known:
                raise InputInvalidError(field=f"correlations[{number}].{end}", reason="is not bound to this world")
    return {(row["a"], row["b"]): float(row["rho"]) for row in correlations}


def _advisory(gathered: Gathered, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, MetricColumn]:
    """Lay the given values over the instances; what is not given is insufficient."""
    places = {key: place for place, key in enumerate(gathered.inputs.keys)}
    names = sorted({name for values in metrics.values() for name in values})
    count = gathered.inputs.count
    columns = {name: (np.full(count, np.nan), np.full(count, MetricStatus.INSUFFICIENT, np.uint8)) for name in names}
    for instance, values in metrics.items():
        text = instance if "|" in instance else f"{instance}|long"
        if InstanceKey.from_text(text).text not in places:
            raise InputInvalidError(field=f"metrics.{instance}", reason="is not bound to this world")
        for name, value in values.items():
            if parse_metric(name) is None:
                raise InputInvalidError(field=f"metrics.{instance}.{name}", reason="is no metric")
            column, status = columns[name]
            column[places[text]], status[places[text]] = value, MetricStatus.OK
    return {name: _column(value, status) for name, (value, status) in columns.items()}


def _column(value: Any, status: Any) -> MetricColumn:
    return MetricColumn(value, status, np.ones(len(value), np.int32), 0, 0)
