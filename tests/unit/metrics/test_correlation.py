from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qmtl_worlds.metrics.correlation import BAND, CorrelationScreen
from qmtl_worlds.metrics.panel import ReturnPanel
from tests.unit.metrics.panels import BRIEF, DAY, days

SEEDS = st.integers(0, 10_000)
GAPS = st.sampled_from([0.0, 0.25])


def clustered(count: int, sessions: int, *, gaps: float, seed: int) -> ReturnPanel:
    """Returns in clusters of three that move together, so that some pairs exceed any cap and some do not."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((-(-count // 3), sessions)).repeat(3, axis=0)[:count]
    returns = 0.01 * (common + rng.uniform(0.2, 1.5, (count, 1)) * rng.standard_normal((count, sessions)))
    returns[rng.random(returns.shape) < gaps] = np.nan
    return ReturnPanel(days(sessions), returns)


def screen_of(
    panel: ReturnPanel,
    *,
    cap: float = 0.6,
    min_overlap: int | None = None,
    mode: Literal["signed", "abs"] = "signed",
) -> CorrelationScreen:
    return CorrelationScreen(panel, as_of=int(panel.closes[-1]), cap=cap, window=80, min_overlap=min_overlap, mode=mode)


def masked_corrcoef(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    both = ~(np.isnan(left) | np.isnan(right))
    return float(np.corrcoef(left[both], right[both])[0, 1])


@BRIEF
@given(seed=SEEDS, gaps=GAPS)
def test_rho_is_the_correlation_of_common_sessions(seed: int, gaps: float) -> None:
    panel = clustered(6, 80, gaps=gaps, seed=seed)
    first, second = np.triu_indices(6, 1)

    rho = screen_of(panel, min_overlap=5).rho(first, second)

    expected = [masked_corrcoef(panel.returns[a], panel.returns[b]) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rho, expected, rtol=0, atol=1e-12)


@BRIEF
@given(seed=SEEDS, gaps=GAPS)
def test_rho_is_symmetric_to_the_bit(seed: int, gaps: float) -> None:
    panel = clustered(6, 80, gaps=gaps, seed=seed)
    first, second = np.triu_indices(6, 1)
    screen = screen_of(panel)

    assert screen.rho(first, second).tobytes() == screen.rho(second, first).tobytes()


@BRIEF
@given(seed=SEEDS, gaps=GAPS, mode=st.sampled_from(["signed", "abs"]), pair=st.integers(0, 14))
def test_verdicts_are_those_of_rho_even_for_a_pair_right_at_the_cap(
    seed: int, gaps: float, mode: Literal["signed", "abs"], pair: int
) -> None:
    panel = clustered(6, 80, gaps=gaps, seed=seed)
    rows = np.arange(6)
    first, second = np.triu_indices(6, 1)
    exact = np.full((6, 6), np.nan)
    exact[first, second] = exact[second, first] = screen_of(panel, min_overlap=40).rho(first, second)
    at_cap = exact[first[pair], second[pair]]
    size = np.abs(exact) if mode == "abs" else exact

    for cap in at_cap + np.array([0.0, -5e-13, -1e-11, 1e-11, -2 * BAND, 2 * BAND]):
        verdicts = screen_of(panel, cap=cap, min_overlap=40, mode=mode).against(rows, rows)

        off_diagonal = ~np.eye(6, dtype=np.bool_)
        assert np.array_equal(verdicts.unknown[off_diagonal], np.isnan(exact)[off_diagonal])
        assert np.array_equal(verdicts.exceeds[off_diagonal], (size > cap + 1e-12)[off_diagonal])


@BRIEF
@given(seed=SEEDS, gaps=GAPS, split=st.integers(1, 19))
def test_verdicts_do_not_depend_on_the_split_into_blocks(seed: int, gaps: float, split: int) -> None:
    panel = clustered(20, 80, gaps=gaps, seed=seed)
    rows = np.random.default_rng(seed).permutation(20)

    whole = screen_of(panel).against(rows, rows)
    screen = screen_of(panel)
    parts = [screen.against(rows[:split], rows), screen.against(rows[split:], rows)]

    assert np.array_equal(np.concatenate([part.exceeds for part in parts]), whole.exceeds)
    assert np.array_equal(np.concatenate([part.unknown for part in parts]), whole.unknown)


def test_conflicts_are_all_pairs_in_order_across_blocks() -> None:
    panel = clustered(1100, 80, gaps=0.0, seed=3)
    rows = np.arange(1099, -1, -1)
    screen = screen_of(panel)

    pairs = screen.conflicts(rows)

    verdicts = screen.against(rows, rows)
    first, second = np.nonzero(np.triu(verdicts.exceeds | verdicts.unknown, 1))
    assert len(pairs.first) > 300
    assert np.array_equal(pairs.first, first)
    assert np.array_equal(pairs.second, second)
    assert not pairs.unknown.any()


def test_pair_with_too_few_common_sessions_is_unknown() -> None:
    returns = np.random.default_rng(1).standard_normal((3, 80))
    returns[0, :41] = np.nan
    returns[1, :40] = np.nan
    screen = screen_of(ReturnPanel(days(80), returns), cap=-1.0)

    verdicts = screen.against(np.array([0, 1]), np.array([2]))

    assert verdicts.unknown.tolist() == [[True], [False]]
    assert verdicts.exceeds.tolist() == [[False], [True]]


def test_panel_shorter_than_the_overlap_leaves_every_pair_unknown() -> None:
    returns = np.random.default_rng(1).standard_normal((3, 29))

    pairs = screen_of(ReturnPanel(days(29), returns)).conflicts(np.arange(3))

    assert pairs.unknown.tolist() == [True, True, True]


@pytest.mark.parametrize("gaps", [False, True])
def test_series_without_variance_is_unknown(*, gaps: bool) -> None:
    returns = np.random.default_rng(1).standard_normal((3, 80)) * 0.01
    returns[1] = 0.001
    if gaps:
        returns[2, 5] = np.nan
    screen = screen_of(ReturnPanel(days(80), returns), cap=-1.0)

    verdicts = screen.against(np.array([0, 1, 2]), np.array([1]))

    assert verdicts.unknown.all()
    assert math.isnan(screen.rho(np.array([1]), np.array([2]))[0])


def test_series_flat_in_the_common_sessions_is_unknown() -> None:
    returns = np.random.default_rng(1).standard_normal((2, 80)) * 0.01
    returns[0, 40:] = 0.0
    returns[1, :40] = np.nan
    screen = screen_of(ReturnPanel(days(80), returns), cap=-1.0, min_overlap=30)

    verdicts = screen.against(np.array([0]), np.array([1]))

    assert verdicts.unknown.tolist() == [[True]]


def test_infinite_return_is_unknown_to_all_and_harms_no_other_pair() -> None:
    panel = clustered(4, 80, gaps=0.0, seed=5)
    panel.returns[3, 2] = np.inf
    rows = np.arange(4)

    broken = screen_of(panel).against(rows, rows)

    clean = screen_of(ReturnPanel(panel.closes, panel.returns[:3])).against(rows[:3], rows[:3])
    assert broken.unknown[3].all()
    assert broken.unknown[:, 3].all()
    assert np.array_equal(broken.exceeds[:3, :3], clean.exceeds)
    assert not broken.unknown[:3, :3].any()


def test_hedge_exceeds_only_in_mode_abs() -> None:
    series = np.random.default_rng(1).standard_normal(80)
    panel = ReturnPanel(days(80), np.array([series, -series]))
    first, second = np.array([0]), np.array([1])

    signed = screen_of(panel).against(first, second)
    absolute = screen_of(panel, mode="abs").against(first, second)

    assert (bool(signed.exceeds[0, 0]), bool(absolute.exceeds[0, 0])) == (False, True)


def test_correlation_looks_at_its_window_only() -> None:
    rng = np.random.default_rng(2)
    series = rng.standard_normal(80)
    other = rng.standard_normal(80)
    panel = ReturnPanel(days(161), np.array([[*other, *series, 5.0], [*-other, *series, -5.0]]))
    screen = CorrelationScreen(panel, as_of=160 * DAY, cap=0.5, window=80)

    assert screen.rho(np.array([0]), np.array([1]))[0] == pytest.approx(1.0, abs=1e-12)
