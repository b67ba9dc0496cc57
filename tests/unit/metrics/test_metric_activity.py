from __future__ import annotations

import math

import numpy as np
import pytest

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.metrics.panel import ReturnPanel
from tests.unit.metrics.panels import DAY, days, measure

NAN = math.nan


def matrix(*values: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([values], dtype=np.float64)


def test_turnover_is_the_mean_of_a_session_annualized() -> None:
    panel = ReturnPanel(days(4), np.zeros((1, 4)), turnover=matrix(9.0, 0.5, NAN, 0.1))

    column = measure(panel, MetricRef("turnover", 3))["turnover_3d"]

    assert column.value[0] == pytest.approx(0.3 * 252)
    assert column.n_obs[0] == 2


def test_trades_are_added_up_over_the_window() -> None:
    panel = ReturnPanel(days(4), np.zeros((1, 4)), trades=matrix(9.0, 2.0, NAN, 0.0))

    column = measure(panel, MetricRef("trades", 3))["trades_3d"]

    assert (column.value[0], column.n_obs[0]) == (2.0, 2)


def test_trades_of_instances_that_never_say_are_insufficient_and_not_zero() -> None:
    panel = ReturnPanel(days(2), np.zeros((2, 2)), trades=np.array([[NAN, NAN], [0.0, 0.0]]))

    column = measure(panel, MetricRef("trades", "mid"))["trades_mid"]

    assert column.status.tolist() == [MetricStatus.INSUFFICIENT, MetricStatus.OK]


def test_leverage_is_the_largest_of_twenty_sessions() -> None:
    values = np.ones((1, 25))
    values[0, 4], values[0, 5] = 9.0, 3.0

    column = measure(ReturnPanel(days(25), np.zeros((1, 25)), leverage=values), MetricRef("leverage"))["leverage"]

    assert (column.value[0], column.n_obs[0]) == (3.0, 20)
    assert (column.window_start, column.window_end) == (6 * DAY, 25 * DAY)


@pytest.mark.parametrize("name", ["leverage", "last_trade_age_seconds"])
def test_what_nobody_reports_is_insufficient(name: str) -> None:
    column = measure(ReturnPanel(days(2), np.zeros((1, 2))), MetricRef(name))[name]

    assert (column.status[0], column.n_obs[0]) == (MetricStatus.INSUFFICIENT, 0)


def test_sample_days_count_returns_and_age_counts_sessions() -> None:
    panel = ReturnPanel(days(5), np.array([[NAN, 0.0, NAN, 0.01, NAN], [NAN] * 5]))

    columns = measure(panel, MetricRef("sample_days"), MetricRef("age_days"))

    assert columns["sample_days"].value[0] == 2.0
    assert columns["age_days"].value[0] == 3.0
    assert columns["sample_days"].status[1] == columns["age_days"].status[1] == MetricStatus.INSUFFICIENT


def test_ages_in_seconds_count_from_the_reported_times() -> None:
    panel = ReturnPanel(days(2), np.zeros((1, 2)), data_end=np.array([90_000.0]), last_trade=np.array([80_000.0]))

    columns = measure(panel, MetricRef("data_lag_seconds"), MetricRef("last_trade_age_seconds"), as_of=100_000)

    assert columns["data_lag_seconds"].value[0] == 10_000.0
    assert columns["last_trade_age_seconds"].value[0] == 20_000.0


def test_ages_in_seconds_fall_back_on_session_closes() -> None:
    panel = ReturnPanel(days(3), matrix(0.0, 0.01, NAN), trades=matrix(1.0, 0.0, NAN))

    columns = measure(panel, MetricRef("data_lag_seconds"), MetricRef("last_trade_age_seconds"), as_of=3 * DAY)

    assert columns["data_lag_seconds"].value[0] == DAY
    assert columns["last_trade_age_seconds"].value[0] == 2 * DAY


def test_data_from_the_future_have_no_age() -> None:
    panel = ReturnPanel(days(2), np.zeros((1, 2)), data_end=np.array([3.0 * DAY]))

    column = measure(panel, MetricRef("data_lag_seconds"))["data_lag_seconds"]

    assert column.status[0] == MetricStatus.UNDEFINED
