"""An alpha as a world sees it: what it is, and its returns at the closes of the market's sessions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from qmtl_worlds.sdk.client import Binding
from qmtl_worlds.sdk.series import Series
from strategies.alpha.catalog import Alpha
from strategies.data.prices import PriceSeries

Closes = Mapping[date, int]
"""Epoch seconds at which each session closes."""


def read_closes(path: Path) -> Closes:
    """Read a table of sessions that close on their own UTC day: ``session,open_utc,close_utc``, ``#`` for comments."""
    with path.open(encoding="ascii", newline="") as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        return {day: _close(day, row["close_utc"]) for row in rows for day in [date.fromisoformat(row["session"])]}


@dataclass(frozen=True, slots=True)
class AlphaSubmission:
    """One alpha with the prices and sessions it runs on; a ``Strategy`` for ``Runner.submit``.

    Only sessions after ``after`` and up to ``until`` (included) are told of, where they are given.
    """

    alpha: Alpha
    prices: PriceSeries
    closes: Closes
    after: date | None = None
    until: date | None = None

    @property
    def binding(self) -> Binding:
        """Return id, side, params and sector."""
        alpha = self.alpha
        return Binding(alpha.strategy_id, alpha.side, {**alpha.params}, sector=alpha.sector)

    def series(self) -> Series:
        """Return the history between ``after`` and ``until``.

        Raises:
            KeyError: a session of the prices is not in the table of closes.
        """
        full = self.alpha.series(self.prices)
        first = sum(day <= self.after for day in full.dates) if self.after else 0
        stop = sum(day <= self.until for day in full.dates) if self.until else len(full.dates)
        return Series(
            ts=[self.closes[day] for day in full.dates[first:stop]],
            ret=full.returns[first:stop],
            leverage=full.leverage[first:stop],
            turnover=full.turnover[first:stop],
            trades=full.trades[first:stop],
        )


def _close(day: date, clock: str) -> int:
    return int(datetime.combine(day, time.fromisoformat(clock), UTC).timestamp())
