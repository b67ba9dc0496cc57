"""Trading sessions: when a market is open, when its bars are complete, how long data stays fresh.

Tables in config/calendars/*.csv hold exchanges; ``24/7`` (UTC days) and ``24/5`` (UTC weekdays) are built in. Beyond
the last row of a table nothing is open and time does not go on: data turns stale, nothing turns fresh.
"""

from __future__ import annotations

import csv
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from qmtl_worlds.contracts.errors import InputInvalidError

CALENDAR_ROOT: Final = Path(__file__).resolve().parents[2] / "config" / "calendars"
"""Where the tables lie in a checkout."""

MIN_SESSIONS_AHEAD: Final = 30
"""With fewer sessions left than this it is time to make new tables."""

_BUILT_IN: Final = {"24/7": 7, "24/5": 5}
_FIRST_DAY: Final = date(1999, 1, 1)
_LAST_DAY: Final = date(2059, 12, 31)
_NAME = re.compile(r"[A-Z0-9]{1,16}")


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One trading day: ``opens_at`` <= t < ``closes_at``, aware UTC."""

    day: date
    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """The sessions of one market, in order; get it with ``Calendar.load``.

    ``opens`` and ``closes`` are epoch seconds, one for each of ``days`` (proleptic ordinals).
    """

    name: str
    days: array[int]
    opens: array[int]
    closes: array[int]

    @staticmethod
    def load(name: str, root: Path | None = None) -> Calendar:
        """Return the calendar called ``name``, read once per process; ``root`` holds the CSV files.

        Raises:
            InputInvalidError: there is no such calendar.
        """
        return _load(name, root or CALENDAR_ROOT)

    def is_session(self, day: date) -> bool:
        """Tell whether there is a session on ``day``."""
        at = bisect_left(self.days, day.toordinal())
        return at < len(self.days) and self.days[at] == day.toordinal()

    def session_close(self, day: date) -> datetime:
        """Return when the session of ``day`` closes.

        Raises:
            InputInvalidError: ``day`` is no session.
        """
        if not self.is_session(day):
            raise InputInvalidError(field="day", reason=f"must be a session of {self.name}, {day} is none")
        return _instant(self.closes[bisect_left(self.days, day.toordinal())])

    def sessions_between(self, first: date, last: date) -> tuple[Session, ...]:
        """Return the sessions of ``first`` to ``last``, both included, in order."""
        start, stop = bisect_left(self.days, first.toordinal()), bisect_right(self.days, last.toordinal())
        return tuple(self._session(at) for at in range(start, stop))

    def is_open(self, now: datetime) -> bool:
        """Tell whether the market is open; at its close it is not."""
        at = self._next(now)
        return at < len(self.closes) and self.opens[at] <= now.timestamp()

    def last_complete_close(self, as_of: datetime) -> datetime | None:
        """Return the latest close <= ``as_of``; None before the first."""
        at = self._next(as_of)
        return _instant(self.closes[at - 1]) if at else None

    def open_time_add(self, start: datetime, length: timedelta) -> datetime:
        """Return the last instant at which no more than ``length`` of open time has passed since ``start``.

        Nights, weekends and holidays do not count and early closes shorten a day: Friday's close plus 5 minutes is
        Monday's open plus 5 minutes. ``length`` is >= 0; beyond the table the answer is its last close.
        """
        left = length
        for at in range(self._next(start), len(self.closes)):
            begins = max(start, _instant(self.opens[at]))
            available = _instant(self.closes[at]) - begins
            if left < available:
                return begins + left
            left -= available
        return self._end()

    def session_add(self, start: datetime, count: int) -> datetime:
        """Return the ``count``-th close (>= 1) after ``start``, or the table's last one."""
        at = self._next(start) + count - 1
        return _instant(self.closes[at]) if at < len(self.closes) else self._end()

    def sessions_ahead(self, now: datetime) -> int:
        """Return how many sessions of the table close after ``now``."""
        return len(self.closes) - self._next(now)

    def runs_out(self, now: datetime) -> bool:
        """Tell whether under ``MIN_SESSIONS_AHEAD`` sessions are left, so that the table must be renewed."""
        return self.sessions_ahead(now) < MIN_SESSIONS_AHEAD

    def _next(self, now: datetime) -> int:
        return bisect_right(self.closes, now.timestamp())

    def _end(self) -> datetime:
        return _instant(self.closes[-1])

    def _session(self, at: int) -> Session:
        return Session(date.fromordinal(self.days[at]), _instant(self.opens[at]), _instant(self.closes[at]))


def market_is_open(calendar: Calendar | None, now: datetime) -> bool:
    """Tell whether the market is open; without a calendar (wall time) it always is. This never makes data fresh."""
    return calendar is None or calendar.is_open(now)


@dataclass(frozen=True, slots=True)
class BarLength:
    """The length of a bar: a time, or a number of sessions where ``sessions`` is not 0."""

    time: timedelta
    sessions: int = 0

    @property
    def wall_time(self) -> timedelta:
        """Return the length on the wall clock; a session is a day."""
        return self.time + timedelta(days=self.sessions)


_BAR = re.compile(r"([1-9][0-9]{0,4})(s|m|h|d)")
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}


def parse_bar(text: str) -> BarLength:
    """Read ``30s``, ``5m``, ``4h`` or ``1d`` (a session).

    Raises:
        InputInvalidError: it is no bar length.
    """
    match = _BAR.fullmatch(text)
    if match is None:
        raise InputInvalidError(field="bar", reason="must be a number and s, m, h or d, such as 5m or 1d")
    count, unit = int(match[1]), match[2]
    return BarLength(timedelta(), count) if unit == "d" else BarLength(_UNITS[unit] * count)


def fresh_until(data_end: datetime, *, bar: BarLength, max_lag: timedelta, calendar: Calendar | None) -> datetime:
    """Return the last instant at which data that ends at ``data_end`` is fresh: one bar and ``max_lag`` later.

    Counted in the calendar's open time, or in wall time without a calendar (``bar_alignment: wall_clock``). A bar of
    sessions is due at the close of the next session, whatever its length.
    """
    if calendar is None:
        return data_end + bar.wall_time + max_lag
    if bar.sessions:
        return calendar.open_time_add(calendar.session_add(data_end, bar.sessions), max_lag)
    return calendar.open_time_add(data_end, bar.time + max_lag)


@lru_cache(maxsize=32)
def _load(name: str, root: Path) -> Calendar:
    days, opens, closes = array("q"), array("q"), array("q")
    for day, opens_at, closes_at in _built_in(name) if name in _BUILT_IN else _read(name, root):
        days.append(day)
        opens.append(opens_at)
        closes.append(closes_at)
    return Calendar(name, days, opens, closes)


def _built_in(name: str) -> Iterator[tuple[int, int, int]]:
    epoch = date(1970, 1, 1).toordinal()
    for day in range(_FIRST_DAY.toordinal(), _LAST_DAY.toordinal() + 1):
        if (day - 1) % 7 < _BUILT_IN[name]:
            yield day, (day - epoch) * 86_400, (day - epoch + 1) * 86_400


def _read(name: str, root: Path) -> Iterator[tuple[int, int, int]]:
    path = root / f"{name}.csv"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise InputInvalidError(field="calendar", reason=f"{name!r} is none of {', '.join(calendar_names(root))}")
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            day = date.fromisoformat(row["session"])
            yield day.toordinal(), _epoch(day, row["open_utc"]), _epoch(day, row["close_utc"])


def calendar_names(root: Path | None = None) -> tuple[str, ...]:
    """Return every calendar there is, sorted."""
    return tuple(sorted({*_BUILT_IN, *(path.stem for path in (root or CALENDAR_ROOT).glob("*.csv"))}))


def _epoch(day: date, clock: str) -> int:
    return int(datetime.combine(day, time.fromisoformat(clock), tzinfo=UTC).timestamp())


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
