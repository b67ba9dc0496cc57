"""What is known beside the returns of a window: turnover, trades, leverage, age of the instance and of its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.metrics.ordered import Floats, ordered_sum
from qmtl_worlds.metrics.run import Measured, MetricRun


def _turnover(run: MetricRun, columns: slice) -> Measured:
    """Return the mean one-way turnover of a session, annualized."""
    total, count = _sum_observed(run, run.panel.turnover, columns)
    return Measured(total / count * run.settings.periods_per_year, count)


def _trades(run: MetricRun, columns: slice) -> Measured:
    """Return how many round trips closed; a window without any row about trades observed nothing."""
    return _sum_observed(run, run.panel.trades, columns)


def _leverage(run: MetricRun, columns: slice) -> Measured:
    """Return the largest leverage of the last 20 sessions."""
    if run.panel.leverage is None:
        return run.nothing()
    values = run.panel.leverage[:, columns]
    seen = ~np.isnan(values)
    return Measured(np.max(values, axis=1, initial=-np.inf, where=seen), np.count_nonzero(seen, axis=1))


def _sample_days(run: MetricRun, columns: slice) -> Measured:
    """Return the number of sessions with a return, over all of the panel."""
    count = np.count_nonzero(~np.isnan(run.panel.returns[:, columns]), axis=1)
    return Measured(count.astype(np.float64), count)


def _age_days(run: MetricRun, columns: slice) -> Measured:
    """Return the number of sessions closed after that of the first return: 0 on the first day."""
    seen = ~np.isnan(run.panel.returns[:, columns])
    if not seen.shape[1]:
        return run.nothing()
    age = seen.shape[1] - 1 - seen.argmax(axis=1)
    return Measured(age.astype(np.float64), np.count_nonzero(seen, axis=1))


def _data_lag(run: MetricRun, columns: slice) -> Measured:
    """Return the seconds since the close of the last bar."""
    if run.panel.data_end is not None:
        return _age(run, run.panel.data_end)
    return _age(run, _last_close(run, ~np.isnan(run.panel.returns[:, columns])))


def _last_trade_age(run: MetricRun, columns: slice) -> Measured:
    """Return the seconds since the exit of the last round trip."""
    if run.panel.last_trade is not None:
        return _age(run, run.panel.last_trade)
    if run.panel.trades is None:
        return run.nothing()
    return _age(run, _last_close(run, run.panel.trades[:, columns] > 0))


ACTIVITY: Final[dict[str, Callable[[MetricRun, slice], Measured]]] = {
    "turnover": _turnover,
    "trades": _trades,
    "leverage": _leverage,
    "sample_days": _sample_days,
    "age_days": _age_days,
    "data_lag_seconds": _data_lag,
    "last_trade_age_seconds": _last_trade_age,
}


def _sum_observed(run: MetricRun, values: Floats | None, columns: slice) -> Measured:
    if values is None:
        return run.nothing()
    block = np.array(values[:, columns].T, order="C")
    missing = np.isnan(block)
    block[missing] = 0.0
    return Measured(ordered_sum(block), len(block) - np.count_nonzero(missing, axis=0))


def _last_close(run: MetricRun, seen: NDArray[np.bool_]) -> Floats:
    if not seen.shape[1]:
        return np.full(run.panel.count, np.nan)
    last = seen.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
    return np.where(seen.any(axis=1), run.panel.closes[last].astype(np.float64), np.nan)


def _age(run: MetricRun, times: Floats) -> Measured:
    """Return the age of each time; undefined where it lies after ``as_of``, for that cannot be."""
    seconds = run.as_of - times
    return Measured(np.where(seconds < 0.0, np.nan, seconds), (~np.isnan(times)).astype(np.int64))
