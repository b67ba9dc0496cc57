from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from qmtl_worlds.lifecycle.calendar import BarLength, Calendar
from strategies.freshness import FreshnessRule, bar_length, currency
from strategies.models import Provenance
from strategies.selectors import get_instance
from strategies.services.currency import refresh_world_currency
from tests.strategies.factories import RULE, append, bind, series, world

FRIDAY_CLOSE = datetime(2026, 3, 6, 21, 0, tzinfo=UTC)
NEW_YORK = FreshnessRule(max_lag=timedelta(minutes=5), calendar=Calendar.load("XNYS"))


@pytest.mark.parametrize(
    ("rule", "interval", "expected"),
    [
        (NEW_YORK, 60, datetime(2026, 3, 9, 13, 36, tzinfo=UTC)),
        (NEW_YORK, 86_400, datetime(2026, 3, 10, 13, 35, tzinfo=UTC)),
        (replace(NEW_YORK, bar=BarLength(timedelta(hours=1))), 86_400, datetime(2026, 3, 9, 14, 35, tzinfo=UTC)),
        (replace(NEW_YORK, calendar=None), 60, FRIDAY_CLOSE + timedelta(minutes=6)),
    ],
)
def test_freshness_counts_open_time_unless_told_otherwise(
    rule: FreshnessRule, interval: int, expected: datetime
) -> None:
    assert rule.until(FRIDAY_CLOSE, interval_seconds=interval) == expected


def test_whole_days_are_sessions() -> None:
    assert bar_length(2 * 86_400) == BarLength(timedelta(), 2)
    assert bar_length(90) == BarLength(timedelta(seconds=90))


def test_currency_sums_up_counted_series_only() -> None:
    extents = [("backtest", 10, 900), ("paper", 100, 200), ("live", 150, 300), ("live", None, None)]

    summed = currency(extents, interval_seconds=60, rule=RULE)

    assert (summed.first_data, summed.data_end) == (
        datetime.fromtimestamp(100, tz=UTC),
        datetime.fromtimestamp(300, tz=UTC),
    )


@pytest.mark.django_db
def test_a_new_rule_is_applied_to_the_whole_world() -> None:
    world()
    bind("a", "b")
    append("a", series({1: 0.1}), provenance=Provenance.BACKTEST)
    append("b", series({2: 0.1}))
    replay = replace(RULE, provenance=frozenset({"backtest"}))

    changed = refresh_world_currency(world_id="w1", rule=replay)

    assert changed == 2
    assert get_instance("w1", "a").fresh_until == datetime(2026, 1, 3, 0, 5, tzinfo=UTC)
    assert get_instance("w1", "b").data_end is None
    assert refresh_world_currency(world_id="w1", rule=replay) == 0
    assert refresh_world_currency(world_id="w1", rule=None) == 2
