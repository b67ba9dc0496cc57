from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.lifecycle.calendar import (
    BarLength,
    Calendar,
    calendar_names,
    fresh_until,
    market_is_open,
    parse_bar,
)

NYSE = Calendar.load("XNYS")
FRIDAY_CLOSE = datetime(2026, 3, 6, 21, tzinfo=UTC)  # the clocks change on the Sunday after
MAX_LAG = timedelta(minutes=5)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 hypothesis wants naive bounds
LENGTHS = st.timedeltas(timedelta(), timedelta(days=20))


def utc(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_open_time_over_a_weekend_with_a_clock_change_counts_from_the_opening() -> None:
    assert NYSE.open_time_add(FRIDAY_CLOSE, MAX_LAG) == utc(3, 9, 13, 35)


def test_open_time_within_a_session_is_wall_time() -> None:
    assert NYSE.open_time_add(utc(3, 9, 14), MAX_LAG) == utc(3, 9, 14, 5)


def test_open_time_skips_a_holiday_and_ends_a_short_day_early() -> None:
    # Thanksgiving is 26 November; the 27th closes at 18:00Z after 3.5 hours.
    assert NYSE.open_time_add(utc(11, 25, 21), timedelta(hours=3, minutes=30)) == utc(11, 30, 14, 30)
    assert NYSE.open_time_add(utc(11, 25, 21), timedelta(hours=3, minutes=29)) == utc(11, 27, 17, 59)


@pytest.mark.parametrize(
    ("bar", "until"),
    [("1m", utc(3, 9, 13, 36)), ("1h", utc(3, 9, 14, 35)), ("1d", utc(3, 10, 13, 35))],
)
def test_data_of_friday_is_fresh_until_one_bar_and_the_lag_after_monday_opens(bar: str, until: datetime) -> None:
    assert fresh_until(FRIDAY_CLOSE, bar=parse_bar(bar), max_lag=MAX_LAG, calendar=NYSE) == until


def test_hourly_data_on_the_wall_clock_is_due_one_hour_and_the_lag_later() -> None:
    until = fresh_until(utc(3, 9, 10), bar=parse_bar("1h"), max_lag=MAX_LAG, calendar=None)

    assert until == utc(3, 9, 11, 5)


def test_daily_data_of_a_market_that_never_closes_is_due_a_day_and_the_lag_later() -> None:
    always = Calendar.load("24/7")

    until = fresh_until(utc(3, 7), bar=parse_bar("1d"), max_lag=MAX_LAG, calendar=always)

    assert until == utc(3, 8, 0, 5)
    assert until == fresh_until(utc(3, 7), bar=parse_bar("1d"), max_lag=MAX_LAG, calendar=None)


def test_market_is_closed_at_its_close_and_open_at_its_opening() -> None:
    assert not NYSE.is_open(FRIDAY_CLOSE)
    assert NYSE.is_open(FRIDAY_CLOSE - timedelta(seconds=1))
    assert NYSE.is_open(utc(3, 9, 13, 30))
    assert not market_is_open(NYSE, utc(3, 7, 15))
    assert market_is_open(None, utc(3, 7, 15))


def test_sessions_between_includes_both_ends_and_no_weekend() -> None:
    sessions = NYSE.sessions_between(date(2026, 3, 5), date(2026, 3, 9))

    assert [session.day.day for session in sessions] == [5, 6, 9]
    assert sessions[-1].closes_at == NYSE.session_close(date(2026, 3, 9)) == utc(3, 9, 20)


def test_last_complete_close_counts_a_session_from_its_close_on() -> None:
    assert NYSE.last_complete_close(FRIDAY_CLOSE) == FRIDAY_CLOSE
    assert NYSE.last_complete_close(FRIDAY_CLOSE - timedelta(seconds=1)) == utc(3, 5, 21)
    assert NYSE.last_complete_close(datetime(1990, 1, 1, tzinfo=UTC)) is None


def test_weekday_calendar_rests_on_saturday_and_sunday() -> None:
    sessions = Calendar.load("24/5").sessions_between(date(2026, 3, 6), date(2026, 3, 9))

    assert [session.day.day for session in sessions] == [6, 9]


def test_a_year_of_new_york_has_its_known_number_of_sessions() -> None:
    assert len(NYSE.sessions_between(date(2025, 1, 1), date(2025, 12, 31))) == 250  # one day of mourning
    assert len(NYSE.sessions_between(date(2001, 1, 1), date(2001, 12, 31))) == 248


def test_nothing_stays_fresh_beyond_the_table() -> None:
    last = NYSE.sessions_between(date(2035, 12, 1), date(2036, 1, 1))[-1].closes_at

    assert NYSE.open_time_add(last, MAX_LAG) == last
    assert NYSE.session_add(last, 1) == last
    assert not NYSE.is_open(last + timedelta(days=1))


def test_table_that_runs_out_is_noticed_thirty_sessions_before() -> None:
    sessions = NYSE.sessions_between(date(2035, 10, 1), date(2036, 1, 1))

    assert NYSE.runs_out(sessions[-30].closes_at)
    assert not NYSE.runs_out(sessions[-31].closes_at)
    assert NYSE.sessions_ahead(sessions[-31].closes_at) == 30


@pytest.mark.parametrize("name", ["XXXX", "../XNYS", "xnys", ""])
def test_unknown_calendar_is_refused_with_the_known_names(name: str) -> None:
    with pytest.raises(InputInvalidError, match="XNYS"):
        Calendar.load(name)


def test_day_without_session_has_no_close() -> None:
    with pytest.raises(InputInvalidError, match="2026-03-07"):
        NYSE.session_close(date(2026, 3, 7))


@pytest.mark.parametrize("text", ["", "1", "d", "0m", "-1m", "1.5h", "1mo", "1D"])
def test_bar_length_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputInvalidError):
        parse_bar(text)


def test_bar_of_a_day_is_a_session() -> None:
    assert parse_bar("2d") == BarLength(timedelta(), 2)
    assert parse_bar("2d").wall_time == timedelta(days=2)


@pytest.mark.parametrize("name", calendar_names())
def test_sessions_of_every_calendar_are_in_order_and_apart(name: str) -> None:
    sessions = Calendar.load(name).sessions_between(date(1999, 1, 1), date(2035, 12, 31))

    assert len(sessions) > 6000
    assert all(session.opens_at < session.closes_at for session in sessions)
    assert all(one.closes_at <= two.opens_at for one, two in pairwise(sessions))


@given(INSTANTS, LENGTHS, LENGTHS)
def test_open_time_adds_up(start: datetime, first: timedelta, second: timedelta) -> None:
    at_once = NYSE.open_time_add(start, first + second)

    in_two_steps = NYSE.open_time_add(NYSE.open_time_add(start, first), second)

    assert in_two_steps == at_once
    assert at_once >= start + first + second
