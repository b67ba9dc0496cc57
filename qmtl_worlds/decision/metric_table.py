"""The metrics of a run: computed from returns, reported by Runners, or given in a request's body."""

from __future__ import annotations

from typing import Final

import numpy as np

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.decision.codes import OK, Codes, Floats, Rows, code
from qmtl_worlds.decision.expressions import Operand, Table
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.metrics.settings import MetricSettings
from qmtl_worlds.policy.compiler import CompiledPolicy

HISTORY: Final = MetricRef("sample_days")
LEVERAGE: Final = MetricRef("leverage")
VOLATILITY: Final = MetricRef("volatility", "mid")
_BY_STATUS: Final = {
    MetricStatus.OK: Reason.OK,
    MetricStatus.INSUFFICIENT: Reason.METRIC_INSUFFICIENT,
    MetricStatus.UNDEFINED: Reason.METRIC_UNDEFINED,
    MetricStatus.STALE: Reason.METRIC_STALE,
}
_LOOKUP: Final = np.array([code(_BY_STATUS[status]) for status in sorted(MetricStatus)], dtype=np.uint8)


def metric_table(policy: CompiledPolicy, inputs: EvaluationInput, *, rows: Rows, as_of: int) -> Table:
    """Return every metric that the policy, the history rule and the leverage cap read, for ``rows`` of the input.

    A metric in the request's body replaces the computed one. A value that is not finite is missing.
    """
    wanted = sorted({*policy.metrics, HISTORY, LEVERAGE}, key=lambda ref: ref.name)
    advisory = inputs.advisory or {}
    computed = [ref for ref in wanted if not ref.is_reported and ref.name not in advisory]
    columns = {
        **compute_metrics(inputs.panel, computed, as_of=as_of, settings=settings_of(policy)),
        **{ref.name: advisory[ref.name] for ref in wanted if ref.name in advisory},
    }
    table = {name: _from_column(column, rows) for name, column in columns.items()}
    for ref in wanted:
        if ref.name not in table:
            table[ref.name] = _reported(inputs, ref, rows)
    return {name: table[name] for name in sorted(table)}


def settings_of(policy: CompiledPolicy) -> MetricSettings:
    """Return the conventions of the policy's metrics."""
    metrics = policy.document.metrics
    windows = metrics.windows
    return MetricSettings(
        periods_per_year=float(metrics.periods_per_year),
        windows={"short": windows.short_days, "mid": windows.mid_days, "long": windows.long_days},
        min_obs=metrics.min_obs,
        rf=metrics.rf,
    )


def _from_column(column: MetricColumn, rows: Rows) -> Operand:
    reason = _LOOKUP[column.status[rows]]
    return _checked(column.value[rows], np.where(reason == OK, OK, reason))


def _reported(inputs: EvaluationInput, ref: MetricRef, rows: Rows) -> Operand:
    values = inputs.reported.get(ref.name)
    if values is None:
        values = np.full(inputs.count, np.nan)
    return _checked(values[rows], np.full(len(rows), OK))


def _checked(value: Floats, reason: Codes) -> Operand:
    reason = np.where((reason == OK) & ~np.isfinite(value), code(Reason.METRIC_MISSING), reason)
    return Operand(np.where(reason == OK, value, np.nan), reason.astype(np.uint8))
