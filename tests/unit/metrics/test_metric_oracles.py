"""Equality with libraries that others trust, on real prices; a file of its own, for importing them takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import empyrical
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from skfolio import measures
from skfolio.datasets import load_sp500_dataset

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.metrics.correlation import CorrelationScreen
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings
from strategies.data.prices import load_prices
from tests.unit.metrics.panels import days, measure

pytestmark = pytest.mark.slow
Series = NDArray[np.float64]
SESSIONS = 252
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


@cache
def stock_panel() -> ReturnPanel:
    """Daily returns of the vendored stocks over all their dates, NaN before a listing."""
    prices = {symbol: pd.Series(series.adjusted, index=list(series.dates)) for symbol, series in load_prices().items()}
    returns = pd.DataFrame(prices).sort_index().pct_change(fill_method=None)[list(SYMBOLS)].iloc[1:]
    return ReturnPanel(days(len(returns)), np.ascontiguousarray(returns.to_numpy().T))


@cache
def index_panel() -> ReturnPanel:
    """Returns of twenty constituents of an index over 32 years."""
    returns = load_sp500_dataset().pct_change().iloc[1:]
    return ReturnPanel(days(len(returns)), np.ascontiguousarray(returns.to_numpy().T))


ORACLES: dict[str, Callable[[Series], float]] = {
    "sharpe": empyrical.sharpe_ratio,
    "sortino": empyrical.sortino_ratio,
    "volatility": empyrical.annual_volatility,
    "max_dd": lambda series: -empyrical.max_drawdown(series),
    "cagr": empyrical.cagr,
    "calmar": empyrical.calmar_ratio,
    "var_95": lambda series: -empyrical.value_at_risk(series, 0.05),
    "var_99": lambda series: -empyrical.value_at_risk(series, 0.01),
    "cvar_95": lambda series: -empyrical.conditional_value_at_risk(series, 0.05),
    "cvar_99": lambda series: -empyrical.conditional_value_at_risk(series, 0.01),
    "skew": lambda series: float(measures.skew(series)),
    "kurt": lambda series: float(measures.kurtosis(series)),
    "psr": lambda series: float(measures.probabilistic_sharpe_ratio(series)),
}


@pytest.mark.parametrize("base", ORACLES)
@pytest.mark.parametrize("window", [60, 252, 2520])
@pytest.mark.parametrize("panel_of", [stock_panel, index_panel], ids=["stocks", "index"])
def test_metric_of_real_prices_is_that_of_the_oracle(
    base: str, window: int, panel_of: Callable[[], ReturnPanel]
) -> None:
    panel = panel_of()

    column = measure(panel, MetricRef(base, window), settings=MetricSettings())[f"{base}_{window}d"]

    series = [row[-window:][~np.isnan(row[-window:])] for row in panel.returns]
    expected = [ORACLES[base](row) for row in series]
    assert column.n_obs.tolist() == [len(row) for row in series]
    np.testing.assert_allclose(column.value, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("panel_of", [stock_panel, index_panel], ids=["stocks", "index"])
def test_dsr_of_real_prices_is_that_of_the_oracle(panel_of: Callable[[], ReturnPanel]) -> None:
    panel = panel_of()
    refs = [MetricRef("dsr", SESSIONS), MetricRef("sharpe", SESSIONS)]

    columns = measure(panel, *refs, settings=MetricSettings())

    trials = columns["sharpe_252d"].value / np.sqrt(SESSIONS)
    series = [row[-SESSIONS:][~np.isnan(row[-SESSIONS:])] for row in panel.returns]
    expected = [measures.deflated_sharpe_ratio(row, trials) for row in series]
    np.testing.assert_allclose(columns["dsr_252d"].value, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_correlations_of_real_prices_are_those_of_pandas(gaps: float) -> None:
    panel = index_panel()
    returns = panel.returns[:, -120:].copy()
    returns[np.random.default_rng(4).random(returns.shape) < gaps] = np.nan
    first, second = np.triu_indices(len(returns), 1)
    screen = CorrelationScreen(ReturnPanel(days(120), returns), as_of=int(days(120)[-1]), cap=0.8, min_overlap=30)

    rho = screen.rho(first, second)

    expected = pd.DataFrame(returns.T).corr(min_periods=30).to_numpy()[first, second]
    np.testing.assert_allclose(rho, expected, rtol=0, atol=1e-12)
