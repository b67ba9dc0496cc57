"""A return series on its way in: columns of plain numbers, checked before anything is stored.

Times are whole epoch seconds of bar closes. NaN in an optional column means "not given"; it is never stored.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from operator import lt
from typing import Final

from qmtl_worlds.contracts.errors import SeriesInvalidError

MAX_ROWS: Final = 100_000
"""The most rows that one call may bring."""
FUTURE_SECONDS: Final = 5
"""How far ahead of the database's clock the close of a bar may lie."""

Bar = tuple[float, float | None, float | None, float | None]
"""What is known of one bar: return, leverage, turnover, trades."""


@dataclass(frozen=True, slots=True)
class SeriesRows:
    """Bars of one instance in the order of the request.

    ``ret`` holds simple returns, or equity points where ``is_equity``: then the first point is the base of the second
    and no bar by itself. Optional columns are None, or as long as ``ts`` with NaN where a row leaves them out.
    """

    ts: array[int]
    ret: array[float]
    leverage: array[float] | None = None
    turnover: array[float] | None = None
    trades: array[float] | None = None
    is_equity: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ts)

    def bar(self, row: int) -> Bar:
        """Return what one row says."""
        return (self.ret[row], _given(self.leverage, row), _given(self.turnover, row), _given(self.trades, row))

    def take(self, rows: Sequence[int]) -> SeriesRows:
        """Return the named rows alone."""
        return SeriesRows(
            array("q", [self.ts[row] for row in rows]),
            array("d", [self.ret[row] for row in rows]),
            _taken(self.leverage, rows),
            _taken(self.turnover, rows),
            _taken(self.trades, rows),
            is_equity=self.is_equity,
        )


def check_rows(rows: SeriesRows, *, now: datetime) -> None:
    """Refuse a series that cannot be stored; ``now`` is the database's clock.

    Raises:
        SeriesInvalidError: the first row whose time does not ascend (``not_increasing``) or lies ahead
            (``future_timestamp``), whose value is NaN or infinite (``not_finite``), an equity at or below zero
            (``equity_not_positive``), a return below -1 (``below_total_loss``), or a negative leverage, turnover or
            trade count (``negative``); or there is no row (``empty``).
    """
    if not rows.ts:
        raise SeriesInvalidError(row=0, reason="there is no row", kind="empty")
    _check_times(rows.ts, now=now)
    _check_finite(rows.ret, reason="the value is NaN or infinite")
    if rows.is_equity and not min(rows.ret) > 0:
        raise _refused(rows.ret, lambda value: value > 0, "equity must be above zero", kind="equity_not_positive")
    if not rows.is_equity and not min(rows.ret) >= -1:
        raise _refused(rows.ret, lambda value: value >= -1, "a bar cannot lose more than all", kind="below_total_loss")
    for name, column in (("leverage", rows.leverage), ("turnover", rows.turnover), ("trades", rows.trades)):
        if column is not None:
            _check_amounts(column, name=name)


def to_returns(rows: SeriesRows, *, base: float | None) -> SeriesRows:
    """Turn checked equity points into returns.

    With ``base``, the equity just before the first row, each row becomes a bar; without, the first row is the base and
    drops out. Returns pass unchanged.

    Raises:
        SeriesInvalidError: two neighbors are so far apart that their ratio is infinite (``not_finite``).
    """
    if not rows.is_equity:
        return rows
    equity = rows.ret if base is None else array("d", [base, *rows.ret])
    kept = rows.take(range(len(rows) - len(equity) + 1, len(rows)))
    returns = array("d", [after / before - 1 for before, after in pairwise(equity)])
    _check_finite(returns, reason="the return from the point before is infinite")
    return SeriesRows(kept.ts, returns, kept.leverage, kept.turnover, kept.trades)


def at(ts: int) -> datetime:
    """Return epoch seconds as an aware time."""
    return datetime.fromtimestamp(ts, tz=UTC)


def _given(column: array[float] | None, row: int) -> float | None:
    if column is None or math.isnan(column[row]):
        return None
    return column[row]


def _taken(column: array[float] | None, rows: Iterable[int]) -> array[float] | None:
    return None if column is None else array("d", [column[row] for row in rows])


def _check_times(ts: array[int], *, now: datetime) -> None:
    times = ts.tolist()
    if not all(map(lt, times, times[1:])):
        row = next(index for index, (before, after) in enumerate(pairwise(ts), start=1) if after <= before)
        raise SeriesInvalidError(row=row, reason="ts does not come after the row before", kind="not_increasing")
    latest = now.timestamp() + FUTURE_SECONDS
    if ts[-1] > latest:
        row = next(index for index, value in enumerate(ts) if value > latest)
        raise SeriesInvalidError(row=row, reason=f"ts {at(ts[row]):%FT%TZ} lies ahead", kind="future_timestamp")


def _check_finite(column: array[float], *, reason: str) -> None:
    # A sum may overflow although its terms are finite; then each is looked at.
    if not math.isfinite(sum(column)) and not all(map(math.isfinite, column)):
        raise _refused(column, math.isfinite, reason, kind="not_finite")


def _check_amounts(column: array[float], *, name: str) -> None:
    """Refuse infinite and negative amounts; NaN is "not given"."""
    given = column if math.isfinite(sum(column)) else [value for value in column if not math.isnan(value)]
    if not given or (min(given) >= 0 and (given is column or max(given) < math.inf)):
        return
    if math.inf in given:
        raise _refused(column, lambda value: value != math.inf, f"{name} is infinite", kind="not_finite")
    raise _refused(column, lambda value: not value < 0, f"{name} must not be negative", kind="negative")


def _refused(column: array[float], holds: Callable[[float], bool], reason: str, *, kind: str) -> SeriesInvalidError:
    row = next(index for index, value in enumerate(column) if not holds(value))
    return SeriesInvalidError(row=row, reason=reason, kind=kind)
