"""Session returns of many instances as one matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ReturnPanel:
    """N instances over T complete sessions; NaN is "no observation", never zero.

    ``closes`` are the period closes in epoch seconds, ascending. They hold EVERY session of the calendar from the first
    one to the last one by ``as_of``, because a window of W sessions is the last W columns, whatever a row has in them.

    float64[N, T]: ``returns`` (simple, of a session, on allocated capital, net of costs), ``leverage`` (gross notional
    over capital), ``turnover`` (one-way: sum of absolute weight changes over two), ``trades`` (closed round trips).
    float64[N]: ``data_end`` (close of the last bar) and ``last_trade`` (exit of the last closed round trip) in epoch
    seconds, NaN unknown. None means that nobody reports it; session closes then stand in for the two times.

    Raises:
        ValueError: shapes disagree, or closes do not ascend.
    """

    closes: Times
    returns: Floats
    leverage: Floats | None = None
    turnover: Floats | None = None
    trades: Floats | None = None
    data_end: Floats | None = None
    last_trade: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if np.any(self.closes[1:] <= self.closes[:-1]):
            raise ValueError("closes must ascend")
        column = (self.count,)
        matrix = (self.count, len(self.closes))
        _check_shape("returns", self.returns, matrix)
        _check_shape("leverage", self.leverage, matrix)
        _check_shape("turnover", self.turnover, matrix)
        _check_shape("trades", self.trades, matrix)
        _check_shape("data_end", self.data_end, column)
        _check_shape("last_trade", self.last_trade, column)

    @property
    def count(self) -> int:
        """Return the number of instances, N."""
        return int(self.returns.shape[0])

    def window(self, *, as_of: int, sessions: int | None = None) -> slice:
        """Return the columns of the last ``sessions`` sessions with close <= ``as_of``; all of them for None.

        Shorter, or empty, where the panel begins later.
        """
        end = int(np.searchsorted(self.closes, as_of, side="right"))
        return slice(0 if sessions is None else max(0, end - sessions), end)


def _check_shape(name: str, values: Floats | None, shape: tuple[int, ...]) -> None:
    if values is not None and values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape} where {shape} is needed")
