"""Bars and equity curves, and how they become a panel of complete sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.errors import SeriesInvalidError
from qmtl_worlds.metrics.panel import Floats, ReturnPanel, Times
from qmtl_worlds.metrics.sessions import session_edges


@dataclass(frozen=True, slots=True, eq=False)
class BarBlock:
    """Bars of N instances on one axis of B bar closes (epoch seconds, ascending); float64[N, B], NaN: no bar.

    An instance with times of its own is a block of one row.
    """

    ts: Times
    returns: Floats
    leverage: Floats | None = None
    turnover: Floats | None = None
    trades: Floats | None = None


def compound_bars(bars: BarBlock, *, closes: Times, after: int) -> ReturnPanel:
    """Compound bars into the sessions that end at ``closes``.

    A session takes the bars in (close before, close]; ``after`` is the close before the first one, and bars outside are
    left out. Returns compound (a loss beyond the capital leaves nothing: -1), turnover and trades add up, leverage is
    the largest. A session without a bar is NaN. So is an instance's last session until a bar at or after its close has
    come: an open session is no observation. Give no bar later than the ``as_of`` of the run.
    """
    edges = session_edges(bars.ts, closes=closes, after=after)
    data_end = _last_time(bars.ts, ~np.isnan(bars.returns))
    still_open = ~(data_end[:, None] >= closes)
    return ReturnPanel(
        closes=closes,
        returns=_fold_bars(bars.returns, edges, still_open, _compound),
        leverage=None if bars.leverage is None else _fold_bars(bars.leverage, edges, still_open, np.maximum),
        turnover=None if bars.turnover is None else _fold_bars(bars.turnover, edges, still_open, np.add),
        trades=None if bars.trades is None else _fold_bars(bars.trades, edges, still_open, np.add),
        data_end=data_end,
        last_trade=None if bars.trades is None else _last_time(bars.ts, bars.trades > 0),
    )


def equity_to_returns(equity: Floats) -> Floats:
    """Return the M - 1 simple returns between M equity points.

    Raises:
        SeriesInvalidError: the first point that is not finite (``not_finite``) or not above zero
            (``equity_not_positive``).
    """
    _refuse_first(~np.isfinite(equity), reason="equity is not finite", kind="not_finite")
    _refuse_first(equity <= 0, reason="equity must be above zero", kind="equity_not_positive")
    return equity[1:] / equity[:-1] - 1.0


def check_series(ts: Times, values: Floats) -> None:
    """Refuse a series that cannot be stored.

    Raises:
        SeriesInvalidError: the first row whose value is not finite (``not_finite``), or whose time does not come after
            that of the row before (``not_increasing``).
    """
    _refuse_first(~np.isfinite(values), reason="the value is not finite", kind="not_finite")
    late = np.zeros(len(ts), dtype=np.bool_)
    late[1:] = ts[1:] <= ts[:-1]
    _refuse_first(late, reason="its time does not come after the row before", kind="not_increasing")


def _refuse_first(wrong: NDArray[np.bool_], *, reason: str, kind: str) -> None:
    if wrong.any():
        raise SeriesInvalidError(row=int(wrong.argmax()), reason=reason, kind=kind)


def _last_time(ts: Times, seen: NDArray[np.bool_]) -> Floats:
    if not len(ts):
        return np.full(len(seen), np.nan)
    last = ts[len(ts) - 1 - seen[:, ::-1].argmax(axis=1)].astype(np.float64)
    return np.where(seen.any(axis=1), last, np.nan)


def _fold_bars(
    values: Floats, edges: Times, still_open: NDArray[np.bool_], combine: Callable[[Floats, Floats], Floats]
) -> Floats:
    lengths = np.diff(edges)
    folded = np.full((len(values), len(lengths)), np.nan)
    for rank in range(int(lengths.max(initial=0))):
        sessions = np.flatnonzero(lengths > rank)
        bar = values[:, edges[sessions] + rank]
        so_far = folded[:, sessions]
        both = np.where(np.isnan(bar), so_far, combine(so_far, bar))
        folded[:, sessions] = np.where(np.isnan(so_far), bar, both)
    folded[still_open] = np.nan
    return folded


def _compound(so_far: Floats, bar: Floats) -> Floats:
    """Return (1 + a)(1 + b) - 1 in a form that leaves a lone return and an exhausted capital exact."""
    so_far, bar = np.maximum(so_far, -1.0), np.maximum(bar, -1.0)
    return so_far + (bar + so_far * bar)
