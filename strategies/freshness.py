"""Until when an instance's data is fresh, by the rule of its world's policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.lifecycle.calendar import BarLength, Calendar, fresh_until
from strategies.models import SESSION_SECONDS, Provenance

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


def bar_length(interval_seconds: int) -> BarLength:
    """Return a declared interval as a bar: whole days are sessions."""
    days, rest = divmod(interval_seconds, SESSION_SECONDS)
    return BarLength(timedelta(seconds=interval_seconds)) if rest else BarLength(timedelta(), days)
