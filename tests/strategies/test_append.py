from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from audit.models import AuditEvent
from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    SeriesConflictError,
    SeriesInvalidError,
    StrategyNotFoundError,
)
from qmtl_worlds.contracts.ids import Side
from strategies.lookup import stored_bars
from strategies.models import Provenance, Segment, SeriesHead, TailRow
from strategies.selectors import get_instance
from strategies.series import SeriesRows
from strategies.services.append import SEGMENT_ROWS
from tests.strategies.factories import append, bars_of, bind, day, loaded, series, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def ids() -> list[int]:
    """One strategy, long."""
    world()
    return bind("a")


def equity(values: dict[int, float]) -> SeriesRows:
    """An equity curve from day number -> point."""
    ts = array("q", [day(number) for number in values])
    return SeriesRows(ts, array("d", values.values()), is_equity=True)


def test_few_bars_become_rows_and_many_become_a_segment(ids: list[int]) -> None:
    append("a", series({1: 0.01, 2: 0.02}))
    append("a", series({number: number / 100 for number in range(3, 20)}))

    assert (TailRow.objects.count(), Segment.objects.count()) == (2, 1)
    assert bars_of(loaded(ids), 0) == {number: number / 100 for number in range(1, 20)}


def test_a_long_backfill_becomes_several_segments(ids: list[int]) -> None:
    rows = SeriesRows(array("q", range(SEGMENT_ROWS + 1)), array("d", [0.0] * (SEGMENT_ROWS + 1)))

    result = append("a", rows)

    assert (result.appended, Segment.objects.count()) == (SEGMENT_ROWS + 1, 2)


def test_the_same_bars_again_change_nothing(ids: list[int]) -> None:
    rows = series({number: number / 100 for number in range(1, 20)}, leverage=[2.0] * 19)
    append("a", rows)

    again = append("a", rows)
    without_leverage = append("a", series({1: 0.01, 2: 0.02}))

    assert (again.appended, again.unchanged, again.revised, again.revision) == (0, 19, 0, None)
    assert without_leverage.unchanged == 2


def test_an_overlap_stores_the_new_bars_only(ids: list[int]) -> None:
    append("a", series({1: 0.01, 2: 0.02, 4: 0.04}))

    result = append("a", series({2: 0.02, 3: 0.03, 4: 0.04, 5: 0.05}))

    assert (result.appended, result.unchanged) == (2, 2)
    assert bars_of(loaded(ids), 0) == {1: 0.01, 2: 0.02, 3: 0.03, 4: 0.04, 5: 0.05}


@pytest.mark.parametrize("rows", [series({1: 0.01, 2: 0.03}), series({2: 0.02}, leverage=[3.0])])
def test_a_bar_that_contradicts_a_stored_one_is_a_conflict(ids: list[int], rows: SeriesRows) -> None:
    append("a", series({1: 0.01, 2: 0.02}, leverage=[2.0, 2.0]))

    with pytest.raises(SeriesConflictError) as clash, transaction.atomic():
        append("a", rows)

    assert clash.value.facts["ts"] == "2026-01-03T00:00:00Z"
    assert bars_of(loaded(ids), 0) == {1: 0.01, 2: 0.02}


def test_revise_corrects_a_bar_and_keeps_the_old_one(ids: list[int]) -> None:
    before = append("a", series({1: 0.01, 2: 0.02}))

    after = append("a", series({1: 0.01, 2: 0.05, 3: 0.03}), revise=True)

    assert (after.appended, after.unchanged, after.revised) == (1, 1, 1)
    assert bars_of(loaded(ids), 0) == {1: 0.01, 2: 0.05, 3: 0.03}
    assert bars_of(loaded(ids, revision=before.revision), 0) == {1: 0.01, 2: 0.02}
    event = AuditEvent.objects.get(kind="data.revised")
    corrected = "2026-01-03T00:00:00+00:00"
    assert event.subject == "a|long"
    assert event.after == {"provenance": "paper", "bar_count": 1, "first": corrected, "last": corrected}


def test_a_correction_of_a_correction_counts_last(ids: list[int]) -> None:
    append("a", series({1: 0.01}))
    first = append("a", series({1: 0.02}), revise=True)

    append("a", series({1: 0.03}), revise=True)

    assert bars_of(loaded(ids), 0) == {1: 0.03}
    assert bars_of(loaded(ids, revision=first.revision), 0) == {1: 0.02}


def test_an_equity_curve_goes_on_from_its_last_point(ids: list[int]) -> None:
    first = append("a", equity({1: 100, 2: 110}))

    second = append("a", equity({3: 99}))

    assert (first.appended, second.appended) == (1, 1)
    assert bars_of(loaded(ids), 0) == {2: 110 / 100 - 1, 3: 99 / 110 - 1}


def test_the_same_equity_again_changes_nothing(ids: list[int]) -> None:
    append("a", equity({1: 100, 2: 110, 3: 99}))

    whole = append("a", equity({1: 100, 2: 110, 3: 99}))
    last = append("a", equity({3: 99}))

    assert (whole.unchanged, whole.appended) == (2, 0)
    assert (last.unchanged, last.appended) == (0, 0)


def test_another_last_equity_point_is_a_conflict(ids: list[int]) -> None:
    append("a", equity({1: 100, 2: 110}))

    with pytest.raises(SeriesConflictError):
        append("a", equity({2: 111, 3: 112}))


def test_a_refused_series_stores_nothing(ids: list[int]) -> None:
    with pytest.raises(SeriesInvalidError):
        append("a", series({1: 0.01, 2: -3.0}))

    assert (TailRow.objects.count(), SeriesHead.objects.get().revision) == (0, 1)


def test_each_provenance_is_a_series_of_its_own_and_live_counts_first(ids: list[int]) -> None:
    append("a", series({1: 0.01, 2: 0.02, 3: 0.03}), provenance=Provenance.BACKTEST)
    append("a", series({2: 0.12, 3: 0.13}), provenance=Provenance.PAPER)
    append("a", series({3: 0.23}), provenance=Provenance.LIVE)

    everything = frozenset({"backtest", "paper", "live"})
    assert bars_of(loaded(ids), 0) == {2: 0.12, 3: 0.23}
    assert bars_of(loaded(ids, provenance=everything), 0) == {1: 0.01, 2: 0.12, 3: 0.23}


def test_a_backtest_keeps_nothing_fresh_where_it_does_not_count(ids: list[int]) -> None:
    result = append("a", series({1: 0.01}), provenance=Provenance.BACKTEST)

    assert (result.data_end, result.fresh_until) == (None, None)


def test_fresh_until_is_a_bar_and_the_lag_after_the_last_bar(ids: list[int]) -> None:
    append("a", series({5: 0.01}))

    late = append("a", series({3: 0.01}))

    assert late.data_end == datetime(2026, 1, 6, tzinfo=UTC)
    assert late.fresh_until == datetime(2026, 1, 7, tzinfo=UTC) + timedelta(minutes=5)
    assert late.was_fresh_until == late.fresh_until
    assert get_instance("w1", "a").first_data == datetime(2026, 1, 4, tzinfo=UTC)


def test_without_a_rule_nothing_turns_fresh(ids: list[int]) -> None:
    result = append("a", series({1: 0.01}), rule=None)

    assert result.data_end is not None
    assert result.fresh_until is None


def test_an_unbound_strategy_and_an_unnamed_side_are_refused(ids: list[int]) -> None:
    bind("a", side=Side.SHORT)

    with pytest.raises(StrategyNotFoundError):
        append("b", series({1: 0.01}))
    with pytest.raises(InputInvalidError, match="both sides"):
        append("a", series({1: 0.01}))
    assert append("a", series({1: 0.01}), side=Side.SHORT).key.text == "a|short"


def test_stored_bars_are_found_in_every_kind_of_storage(ids: list[int]) -> None:
    append("a", series({number: number / 100 for number in range(1, 11)}, trades=[3.0] * 10))
    append("a", series({4: 0.4}), revise=True)

    bars = stored_bars(get_instance("w1", "a"), provenance="paper", first=day(3), last=day(5))

    assert bars == {
        day(3): (0.03, None, None, 3.0),
        day(4): (0.4, None, None, None),
        day(5): (0.05, None, None, 3.0),
    }
