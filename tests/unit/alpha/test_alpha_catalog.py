"""The catalog of alphas that the demo submits."""

from __future__ import annotations

import re

import pytest

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN
from strategies.alpha.catalog import SECTORS, Alpha, build_catalog, build_series, find_alpha
from strategies.alpha.simulation import ReturnSeries
from strategies.data.prices import PriceSeries, load_prices


@pytest.fixture(scope="module")
def prices() -> dict[str, PriceSeries]:
    return load_prices()


@pytest.fixture(scope="module")
def histories(prices: dict[str, PriceSeries]) -> dict[Alpha, ReturnSeries]:
    return dict(build_series(prices))


def test_catalog_has_at_least_200_instances_with_long_histories(histories: dict[Alpha, ReturnSeries]) -> None:
    rows = {(alpha.strategy_id, alpha.side): len(series.dates) for alpha, series in histories.items()}

    assert len(rows) == 246
    assert sum(count > 1500 for count in rows.values()) == 200


def test_catalog_ids_are_legal_and_params_tell_instances_apart(prices: dict[str, PriceSeries]) -> None:
    catalog = build_catalog(prices)

    assert all(re.fullmatch(OBJECT_ID_PATTERN, alpha.strategy_id) for alpha in catalog)
    assert len({(alpha.side, *alpha.params.items()) for alpha in catalog}) == len(catalog)
    assert {alpha.sector for alpha in catalog} == set(SECTORS.values())


def test_series_columns_agree_with_each_other(histories: dict[Alpha, ReturnSeries]) -> None:
    for series in histories.values():
        columns = (series.returns, series.turnover, series.trades, series.leverage)
        assert {len(column) for column in columns} == {len(series.dates)}
        assert sum(series.trades) in {int(sum(series.turnover)) // 2, (int(sum(series.turnover)) - 1) // 2}
        assert set(series.leverage) <= {0.0, 1.0}


def test_long_and_short_of_a_rule_are_never_in_the_market_together(prices: dict[str, PriceSeries]) -> None:
    long = find_alpha(prices, "donchian-20-10.IBM", "long")
    short = find_alpha(prices, "donchian-20-10.IBM", "short")

    assert long is not None
    assert short is not None
    assert all(a * b == 0 for a, b in zip(long.wanted(prices["IBM"]), short.wanted(prices["IBM"]), strict=True))


def test_find_alpha_does_not_know_other_ids(prices: dict[str, PriceSeries]) -> None:
    assert find_alpha(prices, "sma-5-20.NONE", "long") is None
