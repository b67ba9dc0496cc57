"""Trading rules: from closing prices to a stance (1 long, -1 short, 0 flat) at each close.

A stance at index ``i`` uses closes up to and including ``i`` and nothing later. Stances before a rule's ``warm_up``
index are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

Stances = list[int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its parameters; ``warm_up`` is the first index with a stance of its own."""

    kind: str
    parameters: tuple[tuple[str, int], ...]
    warm_up: int
    stances: Callable[[Sequence[float]], Stances]

    @property
    def name(self) -> str:
        """Return kind and parameters, such as ``sma-5-20``."""
        return "-".join([self.kind, *(str(value) for _, value in self.parameters)])


def sma_cross(closes: Sequence[float], *, fast: int, slow: int) -> Stances:
    """Follow the mean of the last ``fast`` closes where it stands above or below the mean of the last ``slow``."""
    sums = [0.0, *accumulate(closes)]
    stances = [0] * len(closes)
    for end in range(slow, len(closes) + 1):
        gap = (sums[end] - sums[end - fast]) / fast - (sums[end] - sums[end - slow]) / slow
        stances[end - 1] = _sign(gap)
    return stances


def momentum(closes: Sequence[float], *, lookback: int) -> Stances:
    """Follow the sign of the price change over ``lookback`` sessions."""
    stances = [0] * len(closes)
    for i in range(lookback, len(closes)):
        stances[i] = _sign(closes[i] - closes[i - lookback])
    return stances


def reversal(closes: Sequence[float], *, lookback: int) -> Stances:
    """Take the other side of the price change over ``lookback`` sessions."""
    return [-stance for stance in momentum(closes, lookback=lookback)]


def donchian(closes: Sequence[float], *, entry: int, exit_after: int) -> Stances:
    """Follow a close beyond all of the last ``entry`` closes until one beyond the last ``exit_after`` the other way.

    ``exit_after`` is at most ``entry``: no close breaks out of the wide channel without leaving the narrow one.
    """
    stances = [0] * len(closes)
    stance = 0
    for i in range(entry, len(closes)):
        close = closes[i]
        near = closes[i - exit_after : i]
        if (stance > 0 and close < min(near)) or (stance < 0 and close > max(near)):
            stance = 0
        if stance == 0:
            stance = _breakout(close, closes[i - entry : i])
        stances[i] = stance
    return stances


def _breakout(close: float, channel: Sequence[float]) -> int:
    if close > max(channel):
        return 1
    return -1 if close < min(channel) else 0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _sma_rule(fast: int, slow: int) -> Rule:
    return Rule("sma", (("fast", fast), ("slow", slow)), slow - 1, partial(sma_cross, fast=fast, slow=slow))


def _momentum_rule(lookback: int) -> Rule:
    return Rule("momentum", (("lookback", lookback),), lookback, partial(momentum, lookback=lookback))


def _reversal_rule(lookback: int) -> Rule:
    return Rule("reversal", (("lookback", lookback),), lookback, partial(reversal, lookback=lookback))


def _donchian_rule(entry: int, exit_after: int) -> Rule:
    parameters = (("entry", entry), ("exit", exit_after))
    return Rule("donchian", parameters, entry, partial(donchian, entry=entry, exit_after=exit_after))


RULES: tuple[Rule, ...] = (
    *(_sma_rule(*pair) for pair in ((5, 20), (5, 50), (10, 30), (10, 50), (20, 50), (20, 100), (50, 100), (50, 200))),
    *(_momentum_rule(lookback) for lookback in (10, 20, 40, 60, 90, 120, 180, 250)),
    *(_reversal_rule(lookback) for lookback in (1, 2, 3, 5, 10)),
    *(_donchian_rule(*pair) for pair in ((20, 10), (40, 20), (55, 20), (100, 50))),
)
"""The 25 rules of the demo; every one is run on every symbol, on the long and on the short side."""
