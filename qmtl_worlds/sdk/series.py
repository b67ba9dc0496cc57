"""A return series on its way to the server."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one instance, oldest first; every column that is given has the length of ``ts``.

    ``ts`` are whole epoch seconds of bar closes, ``ret`` simple returns net of costs on the capital allotted. A flat
    bar is an explicit 0. ``leverage`` is gross notional over capital, ``turnover`` the notional traded over capital,
    ``trades`` the round trips closed in the bar.
    """

    ts: Sequence[int]
    ret: Sequence[float]
    leverage: Sequence[float] | None = None
    turnover: Sequence[float] | None = None
    trades: Sequence[float] | None = None

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.ts)

    def until(self, last: int) -> Series:
        """Return the bars that close at ``last`` (epoch seconds) or before."""
        return self.take(0, bisect_right(self.ts, last))

    def since(self, first: int | None) -> Series:
        """Return the bars that close at ``first`` (epoch seconds) or after; all of them where it is None."""
        return self if first is None else self.take(bisect_left(self.ts, first), len(self))

    def take(self, first: int, stop: int) -> Series:
        """Return the bars from index ``first`` to before ``stop``."""
        leverage, turnover, trades = (
            None if column is None else column[first:stop] for column in (self.leverage, self.turnover, self.trades)
        )
        return Series(self.ts[first:stop], self.ret[first:stop], leverage, turnover, trades)

    def to_json(self) -> dict[str, object]:
        """Return the columns as JSON; times are ISO-8601 UTC."""
        columns = {"ret": self.ret, "leverage": self.leverage, "turnover": self.turnover, "trades": self.trades}
        times = [datetime.fromtimestamp(ts, UTC).isoformat().replace("+00:00", "Z") for ts in self.ts]
        return {"ts": times} | {name: list(column) for name, column in columns.items() if column is not None}

    def to_raw(self) -> bytes:
        """Return all times, then all returns, as little-endian float64; the other columns are not sent.

        Raises:
            ValueError: there are other columns, which this form would lose.
        """
        if (self.leverage, self.turnover, self.trades) != (None, None, None):
            raise ValueError("the raw form carries times and returns only; send JSON")
        numbers = array("d", [*self.ts, *self.ret])
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()
