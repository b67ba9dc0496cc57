from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

from qmtl_worlds.contracts.metric_names import METRICS, MetricRef
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings

DAY = 86_400
BRIEF = settings(max_examples=25, deadline=None)
GOLDEN = (0.01, -0.02, 0.015, 0.0, -0.005, 0.03, -0.01, 0.02, -0.015, 0.005)
EVERY_METRIC = [MetricRef(spec.name, "mid" if spec.windowed else None) for spec in METRICS.values()]


def days(count: int) -> NDArray[np.int64]:
    """Closes of ``count`` days, the first one at one day."""
    return np.arange(1, count + 1, dtype=np.int64) * DAY


def panel_of(*rows: Sequence[float]) -> ReturnPanel:
    return ReturnPanel(days(len(rows[0])), np.array(rows, dtype=np.float64))


def measure(
    panel: ReturnPanel,
    *refs: MetricRef,
    settings: MetricSettings | None = None,
    as_of: int | None = None,
    block_rows: int | None = None,
) -> dict[str, MetricColumn]:
    """Compute ``refs`` (default: every metric there is) as of the panel's last close."""
    return compute_metrics(
        panel,
        refs or EVERY_METRIC,
        as_of=int(panel.closes[-1]) if as_of is None else as_of,
        settings=settings or MetricSettings(min_obs=2),
        block_rows=block_rows,
    )


def random_panel(count: int, sessions: int, *, gaps: float, seed: int = 7) -> ReturnPanel:
    """Returns, leverage, turnover and trades drawn at random, with a share of ``gaps`` and an instance without data."""
    rng = np.random.default_rng(seed)
    shape = (count, sessions)
    returns = np.round(rng.standard_normal(shape) * 0.01, 4)
    returns[rng.random(shape) < gaps] = np.nan
    if gaps:
        returns[0] = np.nan
        returns[-1, : sessions // 2] = np.nan
    return ReturnPanel(
        days(sessions),
        returns,
        leverage=np.where(np.isnan(returns), np.nan, rng.random(shape) * 2),
        turnover=np.where(np.isnan(returns), np.nan, rng.random(shape)),
        trades=np.where(np.isnan(returns), np.nan, rng.integers(0, 3, shape).astype(np.float64)),
    )


def rows_of(panel: ReturnPanel, rows: NDArray[np.int64]) -> ReturnPanel:
    return ReturnPanel(
        panel.closes,
        panel.returns[rows],
        *(None if part is None else part[rows] for part in (panel.leverage, panel.turnover, panel.trades)),
    )
