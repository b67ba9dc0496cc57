from __future__ import annotations

import math
from array import array
from datetime import timedelta

import pytest

from qmtl_worlds.contracts.errors import SeriesInvalidError
from strategies.series import SeriesRows, check_rows, to_returns
from tests.strategies.factories import NOW, day, series


def rows(*ret: float, is_equity: bool = False, **columns: list[float]) -> SeriesRows:
    """Rows of consecutive days."""
    ts = array("q", [day(number) for number in range(len(ret))])
    optional = {name: array("d", column) for name, column in columns.items()}
    return SeriesRows(ts, array("d", ret), is_equity=is_equity, **optional)


@pytest.mark.parametrize(
    ("bad", "row", "kind"),
    [
        (rows(), 0, "empty"),
        (rows(0.1, math.nan), 1, "not_finite"),
        (rows(0.1, 0.2, math.inf), 2, "not_finite"),
        (rows(0.1, -1.5), 1, "below_total_loss"),
        (rows(100, 0, is_equity=True), 1, "equity_not_positive"),
        (rows(0.1, 0.1, leverage=[1.0, -1.0]), 1, "negative"),
        (rows(0.1, 0.1, turnover=[math.inf, 1.0]), 0, "not_finite"),
        (rows(0.1, 0.1, 0.1, trades=[math.nan, 1.0, -2.0]), 2, "negative"),
        (SeriesRows(array("q", [day(1), day(1)]), array("d", [0.1, 0.1])), 1, "not_increasing"),
        (SeriesRows(array("q", [day(2), day(1)]), array("d", [0.1, 0.1])), 1, "not_increasing"),
    ],
)
def test_check_names_the_first_row_that_cannot_be_stored(bad: SeriesRows, row: int, kind: str) -> None:
    with pytest.raises(SeriesInvalidError) as refused:
        check_rows(bad, now=NOW)

    assert (refused.value.facts["row"], refused.value.facts["kind"]) == (row, kind)


def test_check_lets_finite_values_pass_whose_sum_overflows() -> None:
    check_rows(rows(1e308, 1e308, leverage=[1e308, 1e308]), now=NOW)

    assert not math.isfinite(sum([1e308, 1e308]))


def test_check_lets_a_total_loss_and_missing_optional_values_pass() -> None:
    check_rows(rows(-1.0, 0.0, leverage=[math.nan, 0.0], trades=[math.nan, math.nan]), now=NOW)


@pytest.mark.parametrize(("ahead", "is_refused"), [(5, False), (6, True)])
def test_check_allows_five_seconds_ahead_of_the_clock(ahead: int, *, is_refused: bool) -> None:
    latest = SeriesRows(array("q", [int((NOW + timedelta(seconds=ahead)).timestamp())]), array("d", [0.0]))

    try:
        check_rows(latest, now=NOW)
        refused = False
    except SeriesInvalidError as error:
        refused = error.facts["kind"] == "future_timestamp"

    assert refused is is_refused


def test_equity_becomes_returns_and_its_first_point_is_the_base() -> None:
    returns = to_returns(rows(100, 110, 99, is_equity=True, leverage=[1.0, 2.0, 3.0]), base=None)

    assert list(returns.ts) == [day(1), day(2)]
    assert list(returns.ret) == [110 / 100 - 1, 99 / 110 - 1]
    assert list(returns.leverage or ()) == [2.0, 3.0]


def test_equity_after_a_known_point_makes_every_row_a_bar() -> None:
    returns = to_returns(rows(110, 99, is_equity=True), base=100)

    assert list(returns.ret) == [110 / 100 - 1, 99 / 110 - 1]


def test_equity_whose_ratio_overflows_is_refused() -> None:
    with pytest.raises(SeriesInvalidError, match="infinite"):
        to_returns(rows(1e-300, 1e300, is_equity=True), base=None)


def test_returns_pass_unchanged() -> None:
    given = series({1: 0.1})

    assert to_returns(given, base=5.0) is given
