"""Metric columns from session returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from qmtl_worlds.contracts.metric_names import METRICS, MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.metrics.activity import ACTIVITY
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.deflated import deflate
from qmtl_worlds.metrics.kernels import KERNELS, PERIOD_SHARPE, PERIOD_SHARPE_ERROR
from qmtl_worlds.metrics.ordered import Scratch
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.run import Measured, MetricRun
from qmtl_worlds.metrics.settings import MetricSettings
from qmtl_worlds.metrics.window import Block

_BLOCK_BYTES: Final = 1 << 20
_MIN_BLOCK_ROWS: Final = 256
_PARTS: Final = {"dsr": (PERIOD_SHARPE, PERIOD_SHARPE_ERROR)}

_ByStart = dict[int, dict[str, Measured]]


def compute_metrics(
    panel: ReturnPanel,
    refs: Sequence[MetricRef],
    *,
    as_of: int,
    settings: MetricSettings,
    block_rows: int | None = None,
) -> dict[str, MetricColumn]:
    """Compute every metric of ``refs``, keyed by its name as a policy writes it (``MetricRef.name``).

    ``as_of`` is epoch seconds; sessions that close later are not looked at. Metrics that Runners report are left out:
    they come with the inputs. Status is ok, insufficient (fewer than ``min_obs`` observations for metrics that need
    them, else none) or undefined (a divisor of zero, a value that is not finite); never stale, which the caller knows.

    The bits of a row depend on that row alone: not on the order of rows, on how many there are, on ``block_rows`` (how
    many are worked on at a time), or on the processor. Only ``dsr`` looks across rows, and only at the set of ok Sharpe
    ratios, in no order.

    Raises:
        ValueError: a name is no metric.
    """
    wanted = [ref for ref in dict.fromkeys(refs) if not ref.is_reported]
    if unknown := [ref.name for ref in wanted if ref.base not in METRICS]:
        raise ValueError(f"no such metric: {', '.join(unknown)}")
    run = MetricRun(panel, as_of, settings)
    with np.errstate(all="ignore"):
        by_start = _run_kernels(run, wanted, block_rows=block_rows)
        return {ref.name: _judge(run, ref, _measure(run, ref, by_start)) for ref in wanted}


def _run_kernels(run: MetricRun, refs: Sequence[MetricRef], *, block_rows: int | None) -> _ByStart:
    """Return what each kernel gives, by the first column of its window: windows that begin together are one."""
    by_start = _allocate(run, refs)
    if not by_start:
        return by_start
    longest = slice(min(by_start), run.panel.window(as_of=run.as_of).stop)
    scratch = Scratch()
    for rows in _blocks(run.panel.count, block_rows or _fitting_rows(longest.stop - longest.start)):
        block = Block(run.panel, rows, longest, scratch)
        for start, kernels in by_start.items():
            window = block.window(start)
            for name, into in kernels.items():
                into.value[rows] = KERNELS[name](window, run.settings)
                into.n_obs[rows] = window.n_obs
    return by_start


def _allocate(run: MetricRun, refs: Sequence[MetricRef]) -> _ByStart:
    by_start: _ByStart = {}
    for ref in refs:
        columns = run.columns(ref)
        if ref.base not in ACTIVITY and columns.start < columns.stop:
            for name in _PARTS.get(ref.base, (ref.base,)):
                by_start.setdefault(columns.start, {}).setdefault(name, run.nothing())
    return by_start


def _blocks(count: int, block_rows: int) -> Iterator[slice]:
    for first in range(0, count, block_rows):
        yield slice(first, min(first + block_rows, count))


def _fitting_rows(sessions: int) -> int:
    """Return how many rows keep the temporaries of a block in the processor's cache."""
    return max(_MIN_BLOCK_ROWS, _BLOCK_BYTES // (8 * sessions))


def _measure(run: MetricRun, ref: MetricRef, by_start: Mapping[int, Mapping[str, Measured]]) -> Measured:
    columns = run.columns(ref)
    if ref.base in ACTIVITY:
        return ACTIVITY[ref.base](run, columns)
    kernels = by_start.get(columns.start)
    if kernels is None:
        return run.nothing()
    if ref.base == "dsr":
        return deflate(kernels[PERIOD_SHARPE], kernels[PERIOD_SHARPE_ERROR], min_obs=run.settings.min_obs)
    return kernels[ref.base]


def _judge(run: MetricRun, ref: MetricRef, measured: Measured) -> MetricColumn:
    needed = run.settings.min_obs if METRICS[ref.base].needs_min_obs else 1
    status = np.where(np.isfinite(measured.value), MetricStatus.OK, MetricStatus.UNDEFINED)
    status[measured.n_obs < needed] = MetricStatus.INSUFFICIENT
    closes = run.panel.closes[run.columns(ref)]
    return MetricColumn(
        value=np.where(status == MetricStatus.OK, measured.value + 0.0, np.nan),
        status=status.astype(np.uint8),
        n_obs=measured.n_obs.astype(np.int32),
        window_start=int(closes[0]) if len(closes) else run.as_of,
        window_end=int(closes[-1]) if len(closes) else run.as_of,
    )
