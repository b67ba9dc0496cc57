"""Until when an instance's data is fresh, by the rule of its world's policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.lifecycle.calendar import BarLength, Calendar, fresh_until
from strategies.models import SESSION_SECONDS, Provenance
from strategies.series import at

Extent = tuple[str, int | None, int | None]
"""Provenance, first and last time of one series."""

COUNTED: Final = frozenset({Provenance.PAPER.value, Provenance.LIVE.value})
"""The provenances that count where no policy says otherwise."""


@dataclass(frozen=True, slots=True)
class FreshnessRule:
    """What a policy says of data currency.

    ``bar`` is None where each instance's declared interval counts; ``calendar`` is None for wall time. Data of a
    provenance that is not counted keeps nothing fresh.
    """

    max_lag: timedelta
    calendar: Calendar | None
    bar: BarLength | None = None
    provenance: frozenset[str] = COUNTED

    def until(self, data_end: datetime, *, interval_seconds: int) -> datetime:
        """Return the last instant at which data that ends at ``data_end`` is fresh."""
        bar = self.bar or bar_length(interval_seconds)
        return fresh_until(data_end, bar=bar, max_lag=self.max_lag, calendar=self.calendar)


@dataclass(frozen=True, slots=True)
class Currency:
    """How far an instance's counted series reach, and until when that is fresh; None is never."""

    first_data: datetime | None
    data_end: datetime | None
    fresh_until: datetime | None


def currency(extents: Iterable[Extent], *, interval_seconds: int, rule: FreshnessRule | None) -> Currency:
    """Sum up the series of one instance; without a ``rule`` (no policy in force) nothing is fresh."""
    counted = COUNTED if rule is None else rule.provenance
    found = [(first, last) for provenance, first, last in extents if provenance in counted]
    first = min((start for start, _ in found if start is not None), default=None)
    last = max((end for _, end in found if end is not None), default=None)
    if first is None or last is None:
        return Currency(None, None, None)
    fresh = rule.until(at(last), interval_seconds=interval_seconds) if rule else None
    return Currency(at(first), at(last), fresh)


def bar_length(interval_seconds: int) -> BarLength:
    """Return a declared interval as a bar: whole days are sessions."""
    days, rest = divmod(interval_seconds, SESSION_SECONDS)
    return BarLength(timedelta(seconds=interval_seconds)) if rest else BarLength(timedelta(), days)
