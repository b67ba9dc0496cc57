"""When a world is due to be evaluated: slots, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.lifecycle.calendar import Calendar

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EverySlot:
    """A slot each ``every``, counted from the epoch, plus ``offset``.

    Raises:
        InputInvalidError: ``every`` is under a second.
    """

    every: timedelta
    offset: timedelta = timedelta()

    def __post_init__(self) -> None:
        """Refuse a schedule without pause."""
        if self.every < timedelta(seconds=1):
            raise InputInvalidError(field="schedule.every", reason="must be at least 1s")


@dataclass(frozen=True, slots=True)
class BarCloseSlot:
    """A slot ``delay`` after each close of the world's calendar (a UTC midnight for 24/7)."""

    delay: timedelta = timedelta(minutes=2)


Schedule = EverySlot | BarCloseSlot
"""No schedule at all (None) means by hand only."""


def newest_slot(schedule: Schedule | None, *, now: datetime, calendar: Calendar) -> datetime | None:
    """Return the latest slot <= ``now``; None without a schedule, or before the calendar begins."""
    match schedule:
        case None:
            return None
        case EverySlot(every, offset):
            return _EPOCH + offset + (now - _EPOCH - offset) // every * every
        case BarCloseSlot(delay):
            close = calendar.last_complete_close(now - delay)
            return None if close is None else close + delay


def due_slot(
    schedule: Schedule | None, *, last_slot: datetime | None, now: datetime, calendar: Calendar
) -> datetime | None:
    """Return the slot to claim at ``now``, None where none is due.

    After downtime that is the newest slot only: one run catches up with all that were missed. ``last_slot`` is the last
    one claimed (None: never). A slot that falls due while an evaluation still runs is claimed and skipped, so that it
    does not run late.
    """
    newest = newest_slot(schedule, now=now, calendar=calendar)
    return newest if newest is not None and (last_slot is None or newest > last_slot) else None


def slot_as_of(schedule: Schedule, slot: datetime) -> datetime:
    """Return the time of the data that a slot evaluates: the close itself, or the slot where it follows no close."""
    match schedule:
        case EverySlot():
            return slot
        case BarCloseSlot(delay):
            return slot - delay
