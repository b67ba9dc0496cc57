"""The metrics of a return series, each a formula over one window (docs/reference/metrics.md).

Only ``+ - * /``, square roots and sums in fixed order: numpy's powers, exponentials and logarithms change their last
bit with the processor. A zero divisor or an overflow leaves NaN or infinity, which the caller reports as undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from qmtl_worlds.metrics.ordered import Floats, running_sum
from qmtl_worlds.metrics.settings import MetricSettings
from qmtl_worlds.metrics.window import Window

Kernel = Callable[[Window, MetricSettings], Floats]

ONE_SIDED_95: Final = 1.645
PERIOD_SHARPE: Final = "period_sharpe"
PERIOD_SHARPE_ERROR: Final = "period_sharpe_error"


def normal_cdf(z: Floats) -> Floats:
    """Return the standard normal distribution function; NaN stays NaN."""
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()], dtype=np.float64)


def _period_sharpe(window: Window, settings: MetricSettings) -> Floats:
    return (window.mean - settings.rf) / window.deviation


def _period_sharpe_error(window: Window, settings: MetricSettings) -> Floats:
    """Return the standard error of the Sharpe ratio of one period (Bailey and Lopez de Prado 2012)."""
    ratio = _period_sharpe(window, settings)
    spread = 1.0 - window.skew * ratio + (window.kurt - 1.0) / 4.0 * ratio * ratio
    return np.sqrt(np.where(spread > 0.0, spread, np.nan) / (window.n_obs - 1))


def _sharpe(window: Window, settings: MetricSettings) -> Floats:
    return _period_sharpe(window, settings) * math.sqrt(settings.periods_per_year)


def _sharpe_lcb(window: Window, settings: MetricSettings) -> Floats:
    bound = _period_sharpe(window, settings) - ONE_SIDED_95 * _period_sharpe_error(window, settings)
    return bound * math.sqrt(settings.periods_per_year)


def _psr(window: Window, settings: MetricSettings) -> Floats:
    return normal_cdf(_period_sharpe(window, settings) / _period_sharpe_error(window, settings))


def _sortino(window: Window, settings: MetricSettings) -> Floats:
    losses = np.minimum(window.series, 0.0, out=window.array("losses"))
    return window.mean * math.sqrt(settings.periods_per_year) / np.sqrt(window.mean_of_product(losses, losses))


def _volatility(window: Window, settings: MetricSettings) -> Floats:
    return window.deviation * math.sqrt(settings.periods_per_year)


def _skew(window: Window, _settings: MetricSettings) -> Floats:
    return window.skew


def _kurt(window: Window, _settings: MetricSettings) -> Floats:
    return window.kurt


def _max_dd(window: Window, _settings: MetricSettings) -> Floats:
    deepest: Floats = window.drawdown.max(axis=0)
    return deepest


def _ulcer(window: Window, _settings: MetricSettings) -> Floats:
    return np.sqrt(window.mean_of_product(window.drawdown, window.drawdown))


def _cagr(window: Window, settings: MetricSettings) -> Floats:
    ends, counts = window.wealth[-1].tolist(), window.n_obs.tolist()
    grown = [_annual_growth(end, settings.periods_per_year, count) for end, count in zip(ends, counts, strict=True)]
    return np.array(grown, dtype=np.float64)


def _annual_growth(wealth: float, periods_per_year: float, count: int) -> float:
    if not count or not math.isfinite(wealth):
        return math.nan
    try:
        return math.pow(wealth, periods_per_year / count) - 1.0
    except OverflowError:
        return math.inf


def _calmar(window: Window, settings: MetricSettings) -> Floats:
    return _cagr(window, settings) / _max_dd(window, settings)


def _winrate(window: Window, _settings: MetricSettings) -> Floats:
    gains = np.add.reduce(window.series > 0.0, axis=0, dtype=np.int32)
    moves = np.add.reduce(window.series != 0.0, axis=0, dtype=np.int32)
    share: Floats = gains / moves
    return share


def _value_at_risk(percent: int) -> Kernel:
    """Return minus the percentile of the returns, linear between the two nearest observations."""

    def kernel(window: Window, _settings: MetricSettings) -> Floats:
        at = np.arange(len(window.n_obs))
        steps = np.maximum(window.n_obs - 1, 0)
        below = steps * percent // 100
        share = steps * percent % 100 / 100.0
        low: Floats = window.worst[below, at]
        high: Floats = window.worst[np.minimum(below + 1, steps), at]
        return 0.0 - (low * (1.0 - share) + high * share)

    return kernel


def _expected_shortfall(percent: int) -> Kernel:
    """Return minus the mean of the floor(percent/100 (N - 1)) + 1 worst returns."""

    def kernel(window: Window, _settings: MetricSettings) -> Floats:
        last = np.maximum(window.n_obs - 1, 0) * percent // 100
        sums = running_sum(window.worst[: int(last.max(initial=0)) + 1].copy())
        shortfall: Floats = 0.0 - sums[last, np.arange(len(last))] / (last + 1)
        return shortfall

    return kernel


KERNELS: Final[dict[str, Kernel]] = {
    "sharpe": _sharpe,
    "sharpe_lcb": _sharpe_lcb,
    "sortino": _sortino,
    "volatility": _volatility,
    "max_dd": _max_dd,
    "cagr": _cagr,
    "calmar": _calmar,
    "ulcer": _ulcer,
    "winrate": _winrate,
    "var_95": _value_at_risk(5),
    "var_99": _value_at_risk(1),
    "cvar_95": _expected_shortfall(5),
    "cvar_99": _expected_shortfall(1),
    "skew": _skew,
    "kurt": _kurt,
    "psr": _psr,
    PERIOD_SHARPE: _period_sharpe,
    PERIOD_SHARPE_ERROR: _period_sharpe_error,
}
