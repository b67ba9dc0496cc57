"""Every rule on every symbol and side: the strategies that the demo submits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from strategies.alpha.rules import RULES, Rule
from strategies.alpha.simulation import ReturnSeries, hold, simulate
from strategies.data.prices import PriceSeries

Side = Literal["long", "short"]

SECTORS: Final[Mapping[str, str]] = {
    "AAPL": "Technology hardware",
    "FB": "Internet",
    "GOOG": "Internet",
    "IBM": "IT services",
    "MSFT": "Software",
}


@dataclass(frozen=True, slots=True)
class Alpha:
    """One strategy on one side, as a world binds it."""

    rule: Rule
    symbol: str
    side: Side

    @property
    def strategy_id(self) -> str:
        """Return rule and symbol, such as ``sma-5-20.AAPL``; both sides share it."""
        return f"{self.rule.name}.{self.symbol}"

    @property
    def direction(self) -> int:
        """Return 1 for long, -1 for short."""
        return 1 if self.side == "long" else -1

    @property
    def sector(self) -> str:
        """Return the sector of the symbol."""
        return SECTORS[self.symbol]

    @property
    def params(self) -> dict[str, str | int]:
        """Return what makes this instance what it is: kind of rule, its parameters, the symbol."""
        return {"rule": self.rule.kind, "symbol": self.symbol, **dict(self.rule.parameters)}

    def wanted(self, prices: PriceSeries) -> list[int]:
        """Return the position wanted at each close of ``prices``, in the direction of the side or 0."""
        return hold(self.rule.stances(prices.adjusted), direction=self.direction)

    def series(self, prices: PriceSeries) -> ReturnSeries:
        """Return the full history of this alpha; without rows where ``prices`` end inside the warm-up."""
        return simulate(prices.dates, prices.adjusted, self.wanted(prices), warm_up=self.rule.warm_up)


def build_catalog(prices: Mapping[str, PriceSeries]) -> tuple[Alpha, ...]:
    """List every alpha with at least one row, by rule, symbol and side (long first); the same list on every machine."""
    return tuple(
        Alpha(rule, symbol, side)
        for rule in RULES
        for symbol in sorted(prices)
        if len(prices[symbol].dates) > rule.warm_up + 1
        for side in _SIDES
    )


def build_series(prices: Mapping[str, PriceSeries]) -> Iterator[tuple[Alpha, ReturnSeries]]:
    """Yield each alpha of the catalog with its history."""
    for alpha in build_catalog(prices):
        yield alpha, alpha.series(prices[alpha.symbol])


def find_alpha(prices: Mapping[str, PriceSeries], strategy_id: str, side: str) -> Alpha | None:
    """Return the alpha of that id and side, or None."""
    for alpha in build_catalog(prices):
        if (alpha.strategy_id, alpha.side) == (strategy_id, side):
            return alpha
    return None


_SIDES: Final[tuple[Side, ...]] = ("long", "short")
