"""Rules and the accounting behind their return series, checked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.alpha.rules import donchian, momentum, reversal, sma_cross
from strategies.alpha.simulation import hold, simulate

CLOSES = [100.0, 110.0, 99.0, 108.9, 108.9, 98.01]
DATES = [date(2012, 1, 2) + timedelta(days=i) for i in range(len(CLOSES))]


def test_momentum_takes_the_sign_of_the_change() -> None:
    stances = momentum(CLOSES, lookback=1)

    assert stances == [0, 1, -1, 1, 0, -1]


def test_reversal_takes_the_other_side() -> None:
    stances = reversal(CLOSES, lookback=1)

    assert stances == [0, -1, 1, -1, 0, 1]


def test_sma_cross_compares_the_two_means_at_each_close() -> None:
    stances = sma_cross([1.0, 2.0, 3.0, 2.0, 1.0, 1.5], fast=2, slow=3)

    assert stances == [0, 0, 1, 1, -1, -1]


def test_donchian_enters_beyond_the_long_channel_and_leaves_beyond_the_short_one() -> None:
    closes = [10.0, 11.0, 12.0, 13.0, 12.5, 12.1, 12.2, 9.0, 9.5, 13.5]

    stances = donchian(closes, entry=3, exit_after=2)

    assert stances == [0, 0, 0, 1, 1, 0, 0, -1, -1, 1]


def test_simulated_long_series_equals_the_hand_calculation() -> None:
    wanted = hold(momentum(CLOSES, lookback=1), direction=1)

    series = simulate(DATES, CLOSES, wanted, warm_up=1)

    # Positions of sessions 2..5 are the wishes at closes 1..4: 1, 0, 1, 0.
    assert series.dates == tuple(DATES[2:])
    assert series.returns == pytest.approx((-0.1 - 0.0005, -0.0005, 0.0 - 0.0005, -0.0005), abs=1e-15)
    assert series.turnover == (1.0, 1.0, 1.0, 1.0)
    assert series.trades == (0, 1, 0, 1)
    assert series.leverage == (1.0, 0.0, 1.0, 0.0)


def test_simulated_short_series_equals_the_hand_calculation() -> None:
    wanted = hold(momentum(CLOSES, lookback=1), direction=-1)

    series = simulate(DATES, CLOSES, wanted, warm_up=1)

    # Wishes at closes 1..4: 0, -1, 0, 0. The short earns -(108.9 / 99 - 1) in session 3.
    assert series.returns == pytest.approx((0.0, -0.1 - 0.0005, -0.0005, 0.0), abs=1e-15)
    assert series.trades == (0, 0, 1, 0)
    assert series.leverage == (0.0, 1.0, 0.0, 0.0)


def test_simulation_without_bars_after_the_warm_up_has_no_rows() -> None:
    series = simulate(DATES[:2], CLOSES[:2], [0, 1], warm_up=1)

    assert series.dates == ()
    assert series.returns == ()


@given(st.lists(st.floats(min_value=1.0, max_value=1000.0), min_size=2, max_size=40))
def test_rules_never_look_ahead(closes: list[float]) -> None:
    rules: list[Callable[[Sequence[float]], list[int]]] = [
        partial(sma_cross, fast=2, slow=5),
        partial(momentum, lookback=3),
        partial(donchian, entry=4, exit_after=2),
    ]

    for stances in rules:
        assert stances(closes[:-1]) == stances(closes)[:-1]
