from __future__ import annotations

import math

import numpy as np
import pytest

from qmtl_worlds.contracts.metric_names import METRICS, MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings
from tests.unit.metrics.panels import EVERY_METRIC, days, measure, panel_of, random_panel

OF_RETURNS = [ref for ref in EVERY_METRIC if ref.window is not None and ref.base not in {"turnover", "trades", "dsr"}]


def status_of(panel: ReturnPanel, base: str, *, min_obs: int = 2) -> MetricStatus:
    ref = MetricRef(base, "mid")
    return MetricStatus(measure(panel, ref, settings=MetricSettings(min_obs=min_obs))[ref.name].status[0])


def test_status_words_are_those_of_the_wire() -> None:
    assert [status.word for status in MetricStatus] == ["ok", "insufficient", "undefined", "stale"]


@pytest.mark.parametrize("base", ["sharpe", "sharpe_lcb", "calmar", "skew", "kurt", "psr"])
@pytest.mark.parametrize("value", [0.1, 0.01, 1e-5, 0.0, -0.003])
def test_ratios_of_a_constant_series_are_undefined(base: str, value: float) -> None:
    panel = panel_of([value] * 30)

    if base == "calmar" and value < 0:
        assert status_of(panel, base) == MetricStatus.OK
    else:
        assert status_of(panel, base) == MetricStatus.UNDEFINED


def test_sharpe_of_an_equity_curve_of_constant_growth_is_undefined_whatever_its_rounding() -> None:
    equity = 1000.0 * np.cumprod(np.full(60, 1.0007))

    assert status_of(panel_of((equity[1:] / equity[:-1] - 1.0).tolist()), "sharpe") == MetricStatus.UNDEFINED


def test_sortino_without_a_loss_is_undefined() -> None:
    assert status_of(panel_of([0.01, 0.0, 0.02]), "sortino") == MetricStatus.UNDEFINED


def test_winrate_without_a_move_is_undefined() -> None:
    assert status_of(panel_of([0.0, 0.0, 0.0]), "winrate") == MetricStatus.UNDEFINED


def test_cagr_too_large_for_a_number_is_undefined() -> None:
    assert status_of(panel_of([99.0, 99.0]), "cagr") == MetricStatus.UNDEFINED


@pytest.mark.parametrize("ref", OF_RETURNS, ids=lambda ref: ref.base)
def test_metric_needs_min_obs_observations_or_one(ref: MetricRef) -> None:
    needed = 6 if METRICS[ref.base].needs_min_obs else 1
    moves = [-0.01, 0.02, -0.015, 0.01, 0.005, -0.02]
    settings = MetricSettings(min_obs=6)

    enough = measure(panel_of([*[math.nan] * 3, *moves[:needed]]), ref, settings=settings)[ref.name]
    too_few = measure(panel_of([*[math.nan] * 3, *moves[1:needed], math.nan]), ref, settings=settings)[ref.name]

    assert (enough.status[0], enough.n_obs[0]) == (MetricStatus.OK, needed)
    assert (too_few.status[0], too_few.n_obs[0]) == (MetricStatus.INSUFFICIENT, needed - 1)


def test_value_is_nan_exactly_where_the_status_is_not_ok() -> None:
    columns = measure(random_panel(30, 60, gaps=0.5), settings=MetricSettings(min_obs=25))

    for name, column in columns.items():
        assert np.array_equal(np.isnan(column.value), ~column.is_ok), name


def test_infinite_return_is_undefined_and_touches_no_other_row() -> None:
    panel = random_panel(5, 40, gaps=0.0)
    broken = panel.returns.copy()
    broken[2, 7] = math.inf

    columns = measure(ReturnPanel(panel.closes, broken), MetricRef("sharpe", "mid"), MetricRef("max_dd", "mid"))
    clean = measure(panel, MetricRef("sharpe", "mid"), MetricRef("max_dd", "mid"))

    others = [0, 1, 3, 4]
    for name, column in columns.items():
        assert column.status[2] == MetricStatus.UNDEFINED
        assert column.value[others].tobytes() == clean[name].value[others].tobytes()


def test_panel_without_sessions_by_then_is_insufficient_everywhere() -> None:
    columns = measure(panel_of([0.01, 0.02], [0.0, 0.01]), as_of=10)

    assert {name for name, column in columns.items() if column.status.tolist() != [1, 1]} == set()
    assert columns["sharpe_mid"].window_start == columns["sharpe_mid"].window_end == 10


def test_panel_without_instances_gives_empty_columns() -> None:
    columns = measure(ReturnPanel(days(5), np.empty((0, 5))))

    assert {column.value.shape for column in columns.values()} == {(0,)}


def test_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sharp_mid"):
        measure(panel_of([0.01]), MetricRef("sharp", "mid"))


def test_reported_metric_is_left_out() -> None:
    assert measure(panel_of([0.01]), MetricRef("reported.alpha")) == {}
