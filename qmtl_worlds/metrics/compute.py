"""Metric columns from session returns."""

from __future__ import annotations

from collections.abc import Sequence

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings


def compute_metrics(
    panel: ReturnPanel, refs: Sequence[MetricRef], *, as_of: int, settings: MetricSettings
) -> dict[str, MetricColumn]:
    """Compute every metric of ``refs``, keyed by its name as a policy writes it (``MetricRef.name``).

    ``as_of`` is epoch seconds; sessions that close later are not looked at. Metrics that Runners report are left out:
    they come with the inputs. Status is ok, insufficient (fewer than ``min_obs`` observations for metrics that need
    them, else none) or undefined (a divisor of zero, a value that is not finite); never stale, which the caller knows.

    The bits of a row depend on that row alone: not on the order of rows, on how many there are, or on the processor.
    Only ``dsr`` looks across rows, and only at the set of ok Sharpe ratios, in no order.

    Raises:
        ValueError: a name is no metric.
    """
    raise NotImplementedError
