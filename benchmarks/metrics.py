"""P10: the metrics kernel beside a loop over pandas Series and beside plain whole-matrix numpy, in the same run.

All three must agree to 1e-9, and the kernel with itself to the bit, before anything is timed. Prints a Markdown table
of CPU time; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.metrics.compute import compute_metrics
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings

Floats = NDArray[np.float64]
Kernel = Callable[[], list[Floats]]

STRATEGIES: Final = 10_000
SESSIONS: Final = 252
PANDAS_STRATEGIES: Final = 100
ROUNDS: Final = 15
YEAR: Final = 252.0
GAPS: Final = 0.02
MIN_OVER_PANDAS: Final = 100.0
MIN_OVER_NUMPY: Final = 1.4
METRICS: Final = tuple(
    MetricRef(base, SESSIONS) for base in ("sharpe", "sortino", "max_dd", "ulcer", "winrate", "var_95")
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Median CPU microseconds of six metrics of one strategy; median of the rounds' ratios to the kernel."""

    kernel_us: float
    kernel_with_gaps_us: float
    numpy_us: float
    pandas_us: float
    over_numpy: float
    over_pandas: float

    def holds(self) -> bool:
        """Tell whether P10 is met."""
        return self.over_pandas >= MIN_OVER_PANDAS and self.over_numpy >= MIN_OVER_NUMPY


def by_kernel(panel: ReturnPanel, *, block_rows: int | None = None) -> list[Floats]:
    """Compute the six metrics as an evaluation does."""
    columns = compute_metrics(
        panel, METRICS, as_of=int(panel.closes[-1]), settings=MetricSettings(), block_rows=block_rows
    )
    return [columns[ref.name].value for ref in METRICS]


def by_numpy(returns: Floats) -> list[Floats]:
    """Compute them as one writes it first: whole matrices, one expression each."""
    mean = returns.mean(axis=1)
    wealth = np.cumprod(1 + returns, axis=1)
    drawdown = 1 - wealth / np.maximum(np.maximum.accumulate(wealth, axis=1), 1)
    return [
        mean / returns.std(axis=1, ddof=1) * np.sqrt(YEAR),
        mean * np.sqrt(YEAR) / np.sqrt((np.minimum(returns, 0) ** 2).mean(axis=1)),
        drawdown.max(axis=1),
        np.sqrt((drawdown**2).mean(axis=1)),
        (returns > 0).sum(axis=1) / (returns != 0).sum(axis=1),
        -np.percentile(returns, 5, axis=1),
    ]


def by_pandas(series: list[pd.Series]) -> list[Floats]:
    """Compute them strategy by strategy, as notebooks do."""
    return list(np.array([_one_by_pandas(one) for one in series]).T)


def _one_by_pandas(series: pd.Series) -> list[float]:
    wealth = (1 + series).cumprod()
    drawdown = 1 - wealth / wealth.cummax().clip(lower=1)
    return [
        series.mean() / series.std() * np.sqrt(YEAR),
        series.mean() * np.sqrt(YEAR) / np.sqrt((series.clip(upper=0) ** 2).mean()),
        drawdown.max(),
        np.sqrt((drawdown**2).mean()),
        (series > 0).sum() / (series != 0).sum(),
        -series.quantile(0.05),
    ]


def measure() -> Figures:
    """Time the three in turns, so that all see the same machine."""
    rng = np.random.default_rng(20_261_122)
    closes = np.arange(1, SESSIONS + 1, dtype=np.int64) * 86_400
    returns = rng.standard_normal((STRATEGIES, SESSIONS)) * 0.01
    panel = ReturnPanel(closes, np.asfortranarray(returns))
    with_gaps = ReturnPanel(closes, np.where(rng.random(panel.returns.shape) < GAPS, np.nan, panel.returns))
    series = [pd.Series(row) for row in returns[:PANDAS_STRATEGIES]]
    kernels: list[tuple[Kernel, int]] = [
        (lambda: by_kernel(panel), STRATEGIES),
        (lambda: by_kernel(with_gaps), STRATEGIES),
        (lambda: by_numpy(returns), STRATEGIES),
        (lambda: by_pandas(series), PANDAS_STRATEGIES),
    ]
    _check_agreement(panel, returns, series)
    rounds = [[_microseconds(kernel) / count for kernel, count in kernels] for _ in range(ROUNDS)]
    kernel, gaps, plain, loop = (statistics.median(column) for column in zip(*rounds, strict=True))
    over_plain = statistics.median(plain / kernel for kernel, _, plain, _ in rounds)
    over_loop = statistics.median(loop / kernel for kernel, _, _, loop in rounds)
    return Figures(kernel, gaps, plain, loop, over_plain, over_loop)


def _check_agreement(panel: ReturnPanel, returns: Floats, series: list[pd.Series]) -> None:
    ours = by_kernel(panel)
    order = np.random.default_rng(1).permutation(STRATEGIES)
    shuffled = by_kernel(ReturnPanel(panel.closes, panel.returns[order]), block_rows=333)
    for mine, mixed, plain, loop in zip(ours, shuffled, by_numpy(returns), by_pandas(series), strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(mine[: len(series)], loop, rtol=1e-9, atol=1e-12)
        if mine[order].tobytes() != mixed.tobytes():
            raise AssertionError("the kernel must give a row the same bits in any order and any block")


def _microseconds(kernel: Kernel) -> float:
    started = time.process_time_ns()
    kernel()
    return (time.process_time_ns() - started) / 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    figures = measure()
    print(_table(figures))
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    return int(options.check and not figures.holds())


def _table(figures: Figures) -> str:
    machine = f"Python {platform.python_version()}, numpy {np.__version__} on {platform.machine()}"
    return "\n".join(
        [
            f"{machine}, load {os.getloadavg()[0]:.1f}, median of {ROUNDS}, {STRATEGIES} x {SESSIONS}, six metrics",
            "",
            "| P10 | CPU us a strategy | over the kernel | goal |",
            "|---|---|---|---|",
            f"| kernel | {figures.kernel_us:.2f} | | |",
            f"| kernel, {GAPS:.0%} missing | {figures.kernel_with_gaps_us:.2f} | | |",
            f"| numpy, whole matrix | {figures.numpy_us:.2f} | {figures.over_numpy:.2f}x | >= {MIN_OVER_NUMPY}x |",
            f"| pandas, in a loop | {figures.pandas_us:.0f} | {figures.over_pandas:.0f}x | >= {MIN_OVER_PANDAS:.0f}x |",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
