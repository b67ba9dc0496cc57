from __future__ import annotations

import math

import numpy as np
import pytest

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.contracts.statuses import MetricStatus
from qmtl_worlds.metrics.settings import MetricSettings
from tests.unit.metrics.panels import GOLDEN, measure, panel_of, random_panel

ULCER = 0.009940977956167139
PERIOD_SHARPE = 2.9726021658411734 / math.sqrt(252)
PERIOD_ERROR = math.sqrt((1 - 0.1691875787039406 * PERIOD_SHARPE + 0.978354978354978 / 4 * PERIOD_SHARPE**2) / 9)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("sharpe", 2.9726021658411734),
        ("sharpe_lcb", (PERIOD_SHARPE - 1.645 * PERIOD_ERROR) * math.sqrt(252)),
        ("volatility", 0.25432262974418934),
        ("sortino", 5.499090833947007),
        ("max_dd", 0.02),
        ("cagr", 1.0667535195630684),
        ("calmar", 53.33767597815),
        ("ulcer", ULCER),
        ("winrate", 5 / 9),
        ("var_95", 0.01775),
        ("cvar_95", 0.02),
        ("var_99", 0.01955),
        ("cvar_99", 0.02),
        ("skew", 0.1691875787039406),
        ("kurt", 1.978354978354978),
        ("psr", 0.7151093098726444),
    ],
)
def test_metrics_of_the_golden_vector_are_those_of_the_design(base: str, expected: float) -> None:
    column = measure(panel_of(GOLDEN), MetricRef(base, "mid"))[f"{base}_mid"]

    assert column.value[0] == pytest.approx(expected, abs=1e-9)
    assert column.status[0] == MetricStatus.OK
    assert column.n_obs[0] == len(GOLDEN)


def test_sharpe_of_the_golden_vector_takes_the_periods_of_its_calendar() -> None:
    settings = MetricSettings.for_calendar("24/7", min_obs=2)

    column = measure(panel_of(GOLDEN), MetricRef("sharpe", "mid"), settings=settings)["sharpe_mid"]

    assert column.value[0] == pytest.approx(3.5775272603715114, abs=1e-9)


def test_sharpe_takes_the_riskless_return_off_and_sortino_does_not() -> None:
    settings = MetricSettings(min_obs=2, rf=0.001)

    columns = measure(panel_of(GOLDEN), settings=settings)

    assert columns["sharpe_mid"].value[0] == pytest.approx(2.9726021658411734 * 2 / 3, abs=1e-9)
    assert columns["sortino_mid"].value[0] == pytest.approx(5.499090833947007, abs=1e-9)


def test_max_dd_counts_a_loss_in_the_first_session() -> None:
    column = measure(panel_of([-0.10, 0.05, 0.05]), MetricRef("max_dd", "mid"))["max_dd_mid"]

    assert column.value[0] == pytest.approx(0.10, abs=1e-15)


def test_wealth_after_a_loss_beyond_the_capital_stays_at_nothing() -> None:
    columns = measure(panel_of([0.1, -2.5, -2.0, 0.5]))

    assert columns["max_dd_mid"].value[0] == 1.0
    assert columns["cagr_mid"].value[0] == -1.0


def test_missing_sessions_are_dropped_and_not_zero() -> None:
    gappy = [GOLDEN[0], math.nan, *GOLDEN[1:5], math.nan, math.nan, *GOLDEN[5:]]

    with_gaps = measure(panel_of(gappy))
    without = measure(panel_of(GOLDEN))

    returns_only = [name for name in without if name.endswith("_mid")]
    assert {name: with_gaps[name].n_obs[0] for name in returns_only} == {
        name: without[name].n_obs[0] for name in returns_only
    }
    np.testing.assert_allclose(
        [with_gaps[name].value[0] for name in returns_only],
        [without[name].value[0] for name in returns_only],
        rtol=1e-13,
    )


def test_dsr_is_psr_against_the_best_of_the_trials() -> None:
    panel = random_panel(40, 90, gaps=0.0)

    columns = measure(panel, MetricRef("dsr", "mid"), MetricRef("psr", "mid"), MetricRef("sharpe", "mid"))

    assert np.all(columns["dsr_mid"].value < columns["psr_mid"].value)
    best = int(np.argmax(columns["sharpe_mid"].value))
    assert columns["dsr_mid"].value[best] < 0.95


def test_dsr_counts_only_instances_with_an_ok_sharpe_as_trials() -> None:
    few = [math.nan] * 8 + [0.5, -0.1]
    flat = [0.001] * 10
    settings = MetricSettings(min_obs=3)

    alone = measure(panel_of(GOLDEN, few, flat), MetricRef("dsr", "mid"), settings=settings)["dsr_mid"]
    pair = measure(panel_of(GOLDEN, GOLDEN[::-1], few), MetricRef("dsr", "mid"), settings=settings)["dsr_mid"]

    assert alone.status.tolist() == [MetricStatus.UNDEFINED, MetricStatus.INSUFFICIENT, MetricStatus.UNDEFINED]
    assert pair.status.tolist() == [MetricStatus.OK, MetricStatus.OK, MetricStatus.INSUFFICIENT]
    assert pair.value[0] == pytest.approx(0.7151093098726444, abs=1e-9)
