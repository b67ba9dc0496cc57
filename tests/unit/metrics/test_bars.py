from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.errors import SeriesInvalidError
from qmtl_worlds.metrics.bars import BarBlock, check_series, compound_bars, equity_to_returns
from qmtl_worlds.metrics.sessions import utc_day_closes
from tests.unit.metrics.panels import BRIEF, DAY, days

HOUR = 3_600
NAN = math.nan


def times(*hours: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(hours, dtype=np.int64) * HOUR


def test_bars_of_a_session_compound() -> None:
    bars = BarBlock(times(12, 24, 36, 48), np.array([[0.10, -0.10, 0.02, 0.03]]))

    panel = compound_bars(bars, closes=days(2), after=0)

    np.testing.assert_allclose(panel.returns, [[-0.01, 0.0506]], rtol=0, atol=1e-15)


def test_bar_at_the_close_belongs_to_the_session_and_one_after_it_to_the_next() -> None:
    bars = BarBlock(times(0, 24, 25, 49), np.array([[0.5, 0.01, 0.02, 0.7]]))

    panel = compound_bars(bars, closes=days(2), after=0)

    assert panel.returns.tolist() == [[0.01, 0.02]]


def test_lone_bar_keeps_its_return_to_the_bit() -> None:
    bars = BarBlock(times(24, 48, 72), np.array([[0.1, 1 / 3, -1.7]]))

    assert compound_bars(bars, closes=days(3), after=0).returns.tolist() == [[0.1, 1 / 3, -1.7]]


def test_loss_beyond_the_capital_leaves_nothing_to_win_back() -> None:
    bars = BarBlock(times(1, 2, 24), np.array([[-1.5, -3.0, 0.4]]))

    assert compound_bars(bars, closes=days(1), after=0).returns.tolist() == [[-1.0]]


def test_session_without_a_bar_is_missing_and_a_flat_one_is_zero() -> None:
    bars = BarBlock(times(24, 48, 72), np.array([[0.0, NAN, 0.01], [NAN, NAN, NAN]]))

    panel = compound_bars(bars, closes=days(3), after=0)

    np.testing.assert_array_equal(panel.returns, [[0.0, NAN, 0.01], [NAN, NAN, NAN]])


def test_session_is_no_observation_until_a_bar_at_or_after_its_close_has_come() -> None:
    ts = times(12, 24, 36, 49)
    values = np.array([[0.01, 0.01, 0.01, NAN], [0.01, 0.01, 0.01, 0.01]])

    panel = compound_bars(BarBlock(ts, values, trades=np.ones((2, 4))), closes=days(2), after=0)

    assert np.isnan(panel.returns).tolist() == [[False, True], [False, False]]
    assert panel.trades is not None
    assert np.isnan(panel.trades).tolist() == [[False, True], [False, False]]


def test_turnover_and_trades_add_up_and_leverage_is_the_largest() -> None:
    bars = BarBlock(
        times(12, 24, 48),
        np.zeros((1, 3)),
        leverage=np.array([[1.5, 0.5, NAN]]),
        turnover=np.array([[0.25, 0.5, NAN]]),
        trades=np.array([[1.0, NAN, 0.0]]),
    )

    panel = compound_bars(bars, closes=days(2), after=0)

    np.testing.assert_array_equal(panel.leverage, [[1.5, NAN]])
    np.testing.assert_array_equal(panel.turnover, [[0.75, NAN]])
    np.testing.assert_array_equal(panel.trades, [[1.0, 0.0]])


def test_times_of_the_last_bar_and_trade_are_kept() -> None:
    bars = BarBlock(times(12, 24, 30), np.array([[0.0, 0.0, 0.0], [NAN] * 3]), trades=np.array([[1.0, 0.0, 0.0]] * 2))

    panel = compound_bars(bars, closes=days(1), after=0)

    np.testing.assert_array_equal(panel.data_end, [30 * HOUR, NAN])
    np.testing.assert_array_equal(panel.last_trade, [12 * HOUR, 12 * HOUR])


def test_no_bars_at_all_give_an_empty_panel() -> None:
    panel = compound_bars(BarBlock(times(), np.empty((2, 0))), closes=days(3), after=0)

    assert np.isnan(panel.returns).all()
    assert panel.returns.shape == (2, 3)


@BRIEF
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=48),
    st.lists(st.integers(1, 40), min_size=48, max_size=48),
)
def test_compounding_sessions_keeps_the_wealth_of_the_bars(returns: list[float], gaps: list[int]) -> None:
    ts = np.cumsum(gaps[: len(returns)], dtype=np.int64) * HOUR
    closes = utc_day_closes(1, int(ts[-1]) + DAY)

    panel = compound_bars(BarBlock(np.append(ts, closes[-1]), np.array([[*returns, 0.0]])), closes=closes, after=0)

    wealth = np.prod(1.0 + panel.returns[~np.isnan(panel.returns)])
    assert wealth == pytest.approx(np.prod(1.0 + np.array(returns)), rel=1e-12)


def test_utc_days_close_at_midnight_and_hold_it() -> None:
    assert utc_day_closes(DAY, 3 * DAY).tolist() == [DAY, 2 * DAY, 3 * DAY]
    assert utc_day_closes(DAY + 1, 3 * DAY - 1).tolist() == [2 * DAY]


def test_equity_becomes_simple_returns() -> None:
    np.testing.assert_allclose(equity_to_returns(np.array([100.0, 110.0, 99.0])), [0.1, -0.1], rtol=1e-15)


@pytest.mark.parametrize(
    ("equity", "row", "kind"),
    [
        ([100.0, 0.0, -1.0], 1, "equity_not_positive"),
        ([100.0, 101.0, -1.0], 2, "equity_not_positive"),
        ([NAN, 101.0], 0, "not_finite"),
        ([100.0, math.inf], 1, "not_finite"),
    ],
)
def test_equity_without_a_return_is_refused_with_its_row(equity: list[float], row: int, kind: str) -> None:
    with pytest.raises(SeriesInvalidError) as refusal:
        equity_to_returns(np.array(equity))

    assert (refusal.value.facts["row"], refusal.value.facts["kind"]) == (row, kind)


@pytest.mark.parametrize(
    ("ts", "values", "row", "kind"),
    [
        ([1, 2, 2], [0.0, 0.0, 0.0], 2, "not_increasing"),
        ([2, 1, 3], [0.0, 0.0, 0.0], 1, "not_increasing"),
        ([1, 2, 3], [0.0, NAN, 0.0], 1, "not_finite"),
    ],
)
def test_series_that_cannot_be_stored_is_refused_with_its_row(
    ts: list[int], values: list[float], row: int, kind: str
) -> None:
    with pytest.raises(SeriesInvalidError) as refusal:
        check_series(np.array(ts, dtype=np.int64), np.array(values))

    assert (refusal.value.facts["row"], refusal.value.facts["kind"]) == (row, kind)
