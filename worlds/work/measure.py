"""Measure one instance: every metric, whatever the policy reads."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from qmtl_worlds.contracts.errors import StrategyNotFoundError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.metric_names import METRICS, WINDOWS, MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.decision.metric_table import settings_of
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.compute import compute_metrics
from strategies.selectors import reported_values
from worlds.selectors import get_world, policy_in_force
from worlds.services.run_rows import compiled
from worlds.work.inputs import Gathered, Question, gather

EVERY_METRIC: Final = tuple(
    MetricRef(spec.name, window) for spec in METRICS.values() for window in (WINDOWS if spec.windowed else (None,))
)


def measure(*, world_id: str, key: InstanceKey, as_of: datetime, now: datetime) -> dict[str, Any]:
    """Return every metric of one candidate by name, under the conventions of the policy in force.

    Metrics that the Runner reports come along without a window. A stale instance's metrics say so.

    Raises:
        PolicyNotFoundError: no policy is in force.
        StrategyNotFoundError: the instance is no candidate.
    """
    world = get_world(world_id)
    policy = compiled(policy_in_force(world))
    refs = tuple(dict.fromkeys((*EVERY_METRIC, *policy.metrics)))
    gathered = gather(world=world, policy=replace(policy, metrics=refs), question=Question(as_of, None, counts=False))
    if key.text not in gathered.inputs.keys:
        raise StrategyNotFoundError(world_id, key.strategy_id, key.side.value)
    place = gathered.inputs.keys.index(key.text)
    is_fresh = bool(gathered.inputs.fresh_until[place] >= now.timestamp())
    columns = compute_metrics(gathered.inputs.panel, refs, as_of=int(as_of.timestamp()), settings=settings_of(policy))
    metrics = {name: _measured(column, place, is_fresh=is_fresh) for name, column in columns.items()}
    return {
        "world_id": world_id,
        "strategy_id": key.strategy_id,
        "side": key.side.value,
        "as_of": as_of.isoformat(),
        "policy_version": policy.document.version,
        "metrics": metrics | _reported(gathered, place, as_of),
    }


def _measured(column: MetricColumn, place: int, *, is_fresh: bool) -> dict[str, Any]:
    status = MetricStatus(int(column.status[place]))
    if status is MetricStatus.OK and not is_fresh:
        status = MetricStatus.STALE
    known = status in {MetricStatus.OK, MetricStatus.STALE}
    return {
        "value": float(column.value[place]) if known else None,
        "n_obs": int(column.n_obs[place]),
        "window_start": _time(column.window_start),
        "window_end": _time(column.window_end),
        "status": status.word,
    }


def _reported(gathered: Gathered, place: int, as_of: datetime) -> dict[str, Any]:
    instance, world_id = int(gathered.instances[place]), gathered.inputs.world_id
    reported = reported_values(world_id, as_of=as_of, revision=gathered.reference["series"]["revision"])
    return {
        name: {"value": values[instance], "n_obs": 1, "window_start": None, "window_end": None, "status": "ok"}
        for name, values in reported.items()
        if math.isfinite(values.get(instance, math.nan))
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
