"""Series leave the SDK in forms that the server reads without loss."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.sdk.series import Series
from strategies.decoding import RAW, decode_series

FLOATS = st.floats(min_value=-1, max_value=10, allow_nan=False)


@given(st.lists(st.tuples(FLOATS, FLOATS, st.integers(0, 9)), min_size=1, max_size=20))
def test_series_in_json_reaches_the_server_unchanged(rows: list[tuple[float, float, int]]) -> None:
    ret, leverage, trades = (list(column) for column in zip(*rows, strict=True))
    series = Series(range(86_400, 86_400 * (len(rows) + 1), 86_400), ret, leverage=leverage, trades=trades)

    decoded = decode_series(json.dumps(series.to_json()).encode()).rows

    assert list(decoded.ts) == list(series.ts)
    assert list(decoded.ret) == ret
    assert list(decoded.leverage or []) == leverage
    assert list(decoded.trades or []) == trades
    assert decoded.turnover is None


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_raw_series_reaches_the_server_unchanged(ret: list[float]) -> None:
    series = Series(range(1_330_000_000, 1_330_000_000 + len(ret)), ret)

    decoded = decode_series(series.to_raw(), content_type=RAW).rows

    assert (list(decoded.ts), list(decoded.ret)) == (list(series.ts), ret)


def test_raw_form_refuses_columns_that_it_would_lose() -> None:
    with pytest.raises(ValueError, match="send JSON"):
        Series([1], [0.1], trades=[1]).to_raw()


def test_series_until_a_time_includes_the_bar_that_closes_then() -> None:
    series = Series([10, 20, 30], [0.1, 0.2, 0.3], turnover=[1.0, 2.0, 3.0])

    assert series.until(20) == Series([10, 20], [0.1, 0.2], turnover=[1.0, 2.0])
    assert len(series.until(9)) == 0
