"""What following one rule on one side would have returned, session by session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

COST_PER_TURNOVER = 0.0005
"""5 basis points of the traded notional."""


@dataclass(frozen=True, slots=True)
class ReturnSeries:
    """One row a session, oldest first; all columns have the length of ``dates``.

    ``returns`` are net of costs, on the capital allotted; ``turnover`` is the notional traded over that capital, each
    fill counted once; ``trades`` counts round trips closed in the session; ``leverage`` is gross notional over capital.
    """

    dates: tuple[date, ...]
    returns: tuple[float, ...]
    turnover: tuple[float, ...]
    trades: tuple[int, ...]
    leverage: tuple[float, ...]


def hold(stances: Sequence[int], *, direction: int) -> list[int]:
    """Return the position wanted at each close: ``direction`` (1 or -1) where the stance agrees with it, else 0."""
    return [direction if stance == direction else 0 for stance in stances]


def simulate(dates: Sequence[date], closes: Sequence[float], wanted: Sequence[int], *, warm_up: int) -> ReturnSeries:
    """Trade the ``wanted`` positions one bar late, at full capital or none, and account for each session.

    The position of session ``i`` is what was wanted at the close of ``i - 1``; it earns the change from that close to
    the next and pays ``COST_PER_TURNOVER`` on what it differs from the position before. Rows begin after the first
    stance, at ``warm_up + 1``; a session without a position is an explicit 0.
    """
    first = warm_up + 1
    held = wanted[warm_up:-1] if first < len(closes) else ()
    returns: list[float] = []
    turnover: list[float] = []
    trades: list[int] = []
    before = 0
    for i, position in enumerate(held, start=first):
        traded = abs(position - before)
        returns.append(position * (closes[i] / closes[i - 1] - 1.0) - COST_PER_TURNOVER * traded)
        turnover.append(float(traded))
        trades.append(int(before != 0 and position == 0))
        before = position
    leverage = tuple(float(abs(position)) for position in held)
    return ReturnSeries(tuple(dates[first:]), tuple(returns), tuple(turnover), tuple(trades), leverage)
