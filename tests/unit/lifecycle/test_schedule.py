from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.lifecycle.schedule import BarCloseSlot, EverySlot, due_slot, newest_slot, slot_as_of

ALWAYS, NYSE = Calendar.load("24/7"), Calendar.load("XNYS")
HOURLY = EverySlot(timedelta(hours=1), timedelta(minutes=5))
AFTER_CLOSE = BarCloseSlot(timedelta(minutes=2))


def at(hour: int, minute: int = 0, day: int = 9) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_slots_lie_at_the_offset_of_each_length() -> None:
    assert newest_slot(HOURLY, now=at(10, 4), calendar=ALWAYS) == at(9, 5)
    assert newest_slot(HOURLY, now=at(10, 5), calendar=ALWAYS) == at(10, 5)


def test_slot_is_due_once() -> None:
    slot = due_slot(HOURLY, last_slot=at(9, 5), now=at(10, 7), calendar=ALWAYS)

    assert slot == at(10, 5)
    assert due_slot(HOURLY, last_slot=slot, now=at(10, 59), calendar=ALWAYS) is None


def test_downtime_catches_up_with_the_newest_slot_only() -> None:
    assert due_slot(HOURLY, last_slot=at(1, 5), now=at(23, 30), calendar=ALWAYS) == at(23, 5)


def test_world_that_never_ran_is_due() -> None:
    assert due_slot(HOURLY, last_slot=None, now=at(10, 7), calendar=ALWAYS) == at(10, 5)


def test_world_without_schedule_is_never_due() -> None:
    assert due_slot(None, last_slot=None, now=at(10), calendar=ALWAYS) is None


def test_clock_that_jumped_back_makes_nothing_due() -> None:
    assert due_slot(HOURLY, last_slot=at(10, 5), now=at(8), calendar=ALWAYS) is None


def test_bar_close_slots_follow_the_sessions() -> None:
    friday = at(21, 2, day=6)

    assert newest_slot(AFTER_CLOSE, now=friday - timedelta(seconds=1), calendar=NYSE) == at(21, 2, day=5)
    assert newest_slot(AFTER_CLOSE, now=at(12, day=8), calendar=NYSE) == friday
    assert newest_slot(AFTER_CLOSE, now=at(20, 2), calendar=NYSE) == at(20, 2)
    assert slot_as_of(AFTER_CLOSE, friday) == at(21, day=6)
    assert slot_as_of(HOURLY, at(9, 5)) == at(9, 5)


def test_nothing_is_due_before_the_calendar_begins() -> None:
    long_ago = datetime(1980, 1, 1, tzinfo=UTC)

    assert due_slot(AFTER_CLOSE, last_slot=None, now=long_ago, calendar=NYSE) is None


def test_schedule_without_pause_is_refused() -> None:
    with pytest.raises(InputInvalidError):
        EverySlot(timedelta())


@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=40)),
    st.timedeltas(timedelta(), timedelta(days=40)),
    st.timedeltas(timedelta(), timedelta(days=9000)),
)
def test_newest_slot_is_at_most_one_length_ago(every: timedelta, offset: timedelta, later: timedelta) -> None:
    now = datetime(2000, 1, 1, tzinfo=UTC) + later

    slot = newest_slot(EverySlot(every, offset), now=now, calendar=ALWAYS)

    assert slot is not None
    assert now - every < slot <= now
