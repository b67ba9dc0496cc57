"""Write config/calendars/*.csv; a developer's tool, run by hand about once a year.

It needs the package exchange-calendars (extra ``dev``), which the server does not: the tables are vendored.

    python scripts/make_calendars.py config/calendars
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import exchange_calendars

LAST_DAY = "2035-12-31"
FIRST_DAYS = {"XNYS": "1999-01-01", "XLON": "2010-01-01", "XTKS": "2010-01-01"}


def calendar_text(name: str, *, first_day: str, last_day: str) -> str:
    """Return the table of one exchange: session, opening and closing time of day in UTC.

    Raises:
        ValueError: a session opens on another UTC day than it is named for, which the format cannot say.
    """
    schedule = exchange_calendars.get_calendar(name, start=first_day, end=last_day).schedule
    rows = [_row(day, opens, closes) for day, opens, closes in zip(schedule.index, *_columns(schedule), strict=True)]
    source = f"exchange-calendars {exchange_calendars.__version__} (Apache-2.0), {name}; lunch breaks count as open"
    return "\n".join((f"# Made by scripts/make_calendars.py from {source}.", "session,open_utc,close_utc", *rows, ""))


def _columns(schedule: Any) -> tuple[Any, Any]:  # a pandas frame, which has no types here
    return schedule["open"], schedule["close"]


def _row(day: Any, opens: Any, closes: Any) -> str:  # pandas timestamps
    if not (opens.date() == closes.date() == day.date()):
        raise ValueError(f"session {day.date()} leaves its UTC day: {opens} to {closes}")
    return f"{day.date()},{opens:%H:%M},{closes:%H:%M}"


def main(folder: str) -> None:
    """Write every table into ``folder``."""
    for name, first_day in FIRST_DAYS.items():
        text = calendar_text(name, first_day=first_day, last_day=LAST_DAY)
        Path(folder, f"{name}.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
