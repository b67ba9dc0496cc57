"""The conventions behind the numbers of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from qmtl_worlds.contracts.metric_names import MetricRef, Window

ALWAYS_OPEN: Final = "24/7"
LEVERAGE_SESSIONS: Final = 20


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """``periods_per_year`` is k, ``windows`` are lengths in sessions, ``rf`` is the riskless return of one session."""

    periods_per_year: float = 252.0
    windows: Mapping[Window, int] = field(default_factory=lambda: {"short": 30, "mid": 90, "long": 252})
    min_obs: int = 20
    rf: float = 0.0

    @classmethod
    def for_calendar(cls, calendar: str, *, min_obs: int = 20, rf: float = 0.0) -> MetricSettings:
        """Return the defaults of a calendar: 30, 90 and 365 UTC days for ``24/7``, else 30, 90 and 252 sessions."""
        year = 365 if calendar == ALWAYS_OPEN else 252
        return cls(float(year), {"short": 30, "mid": 90, "long": year}, min_obs, rf)

    def sessions(self, ref: MetricRef) -> int | None:
        """Return the length of the window of ``ref``; None for all there is. ``leverage`` looks back 20 sessions."""
        match ref.window:
            case None:
                return LEVERAGE_SESSIONS if ref.base == "leverage" else None
            case int(days):
                return days
            case word:
                return self.windows[word]
