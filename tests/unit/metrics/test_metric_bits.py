from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qmtl_worlds.metrics.bars import equity_to_returns
from qmtl_worlds.metrics.columns import MetricColumn
from qmtl_worlds.metrics.ordered import ordered_sum
from qmtl_worlds.metrics.panel import ReturnPanel
from strategies.data.prices import load_prices
from tests.unit.metrics.digests import digest_of_everything
from tests.unit.metrics.panels import BRIEF, EVERY_METRIC, days, measure, random_panel, rows_of

OF_ONE_ROW = [ref for ref in EVERY_METRIC if ref.base != "dsr"]
OF_THE_C_LIBRARY = {"cagr", "calmar", "psr"}
RECORDED = "3e57ef9cf0b731392822d6d8657eaf19d3c0391fb9c4902a12f0fbc5ec56db63"
GAPS = st.sampled_from([0.0, 0.3])
SEEDS = st.integers(0, 10_000)


def bits(columns: Mapping[str, MetricColumn], rows: NDArray[np.int64]) -> dict[str, bytes]:
    return {name: column.value[rows].tobytes() + column.status[rows].tobytes() for name, column in columns.items()}


@BRIEF
@given(seed=SEEDS, gaps=GAPS)
def test_metrics_do_not_depend_on_the_order_of_rows(seed: int, gaps: float) -> None:
    panel = random_panel(17, 45, gaps=gaps, seed=seed)
    order = np.random.default_rng(seed).permutation(17)

    shuffled = measure(rows_of(panel, order))

    assert bits(shuffled, np.arange(17)) == bits(measure(panel), order)


@BRIEF
@given(seed=SEEDS, gaps=GAPS, block_rows=st.integers(1, 20))
def test_metrics_do_not_depend_on_how_many_rows_are_worked_on_at_a_time(
    seed: int, gaps: float, block_rows: int
) -> None:
    panel = random_panel(17, 45, gaps=gaps, seed=seed)

    in_blocks = measure(panel, block_rows=block_rows)

    assert bits(in_blocks, np.arange(17)) == bits(measure(panel), np.arange(17))


@BRIEF
@given(seed=SEEDS, gaps=GAPS, row=st.integers(0, 16))
def test_metrics_of_an_instance_can_be_recomputed_from_its_series_alone(seed: int, gaps: float, row: int) -> None:
    panel = random_panel(17, 45, gaps=gaps, seed=seed)
    alone = np.array([row])

    recomputed = measure(rows_of(panel, alone), *OF_ONE_ROW)

    assert bits(recomputed, np.array([0])) == bits(measure(panel, *OF_ONE_ROW), alone)


@BRIEF
@given(seed=SEEDS, missing=st.integers(1, 40))
def test_metrics_do_not_depend_on_how_far_back_the_others_go(seed: int, missing: int) -> None:
    panel = random_panel(3, 45, gaps=0.1, seed=seed)
    panel.returns[1, :missing] = np.nan
    one = np.array([1])
    trimmed = ReturnPanel(panel.closes[missing:], panel.returns[one, missing:])
    refs = [ref for ref in OF_ONE_ROW if ref.base not in {"turnover", "trades", "leverage", "last_trade_age_seconds"}]

    recomputed = measure(trimmed, *refs)

    assert bits(recomputed, np.array([0])) == bits(measure(panel, *refs), one)


@BRIEF
@given(seed=SEEDS)
def test_instance_without_data_changes_no_other(seed: int) -> None:
    panel = random_panel(9, 45, gaps=0.0, seed=seed)
    silent = panel.returns.copy()
    silent[4] = np.nan
    others = np.array([0, 1, 2, 3, 5, 6, 7, 8])

    columns = measure(ReturnPanel(panel.closes, silent), *OF_ONE_ROW)

    complete = measure(ReturnPanel(panel.closes, panel.returns), *OF_ONE_ROW)
    assert bits(columns, others) == bits(complete, others)


def test_metrics_do_not_depend_on_the_layout_of_the_matrix() -> None:
    panel = random_panel(40, 60, gaps=0.1)
    by_time = ReturnPanel(panel.closes, np.asfortranarray(panel.returns))
    strided = ReturnPanel(panel.closes, np.repeat(panel.returns, 2, axis=0)[::2])

    assert bits(measure(by_time, *OF_ONE_ROW[:17]), np.arange(40)) == bits(
        measure(strided, *OF_ONE_ROW[:17]), np.arange(40)
    )


def test_metrics_do_not_depend_on_the_sign_of_zero() -> None:
    zeros = np.where(np.arange(40) % 3 == 0, 0.0, np.linspace(-0.01, 0.02, 40))
    negative = np.where(zeros == 0.0, -0.0, zeros)
    panel = ReturnPanel(days(40), np.array([zeros, negative, np.zeros(40), -np.zeros(40)]))

    columns = bits(measure(panel), np.array([0, 2]))

    assert columns == bits(measure(panel), np.array([1, 3]))


@BRIEF
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=70), st.integers(0, 9))
def test_ordered_sum_is_accurate_and_blind_to_zeros_in_front(values: list[float], zeros: int) -> None:
    column = np.array(values)[:, None] + 0.0
    padded = np.concatenate((np.zeros((zeros, 1)), column))

    total = ordered_sum(column)

    assert ordered_sum(padded).tobytes() == total.tobytes()
    assert abs(Fraction(total[0]) - sum(map(Fraction, values))) <= Fraction(1e-11)


def test_bits_of_real_prices_are_those_recorded_on_another_day() -> None:
    adjusted = np.array(load_prices()["IBM"].adjusted)
    returns = equity_to_returns(adjusted)[-3000:].reshape(10, 300)
    refs = [ref for ref in OF_ONE_ROW if ref.base not in OF_THE_C_LIBRARY]

    columns = measure(ReturnPanel(days(300), returns), *refs)

    digest = hashlib.sha256(b"".join(name.encode() + columns[name].value.tobytes() for name in sorted(columns)))
    assert digest.hexdigest() == RECORDED


@pytest.mark.slow
@pytest.mark.parametrize("blas", ["Nehalem", "Haswell"])
def test_bits_do_not_depend_on_the_processor(blas: str) -> None:
    vectors = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(vectors), "OPENBLAS_CORETYPE": blas}
    program = "from tests.unit.metrics.digests import digest_of_everything; print(digest_of_everything())"

    plain = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)

    assert plain.stdout.strip() == digest_of_everything()
