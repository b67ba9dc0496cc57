"""The vendored prices are the ones that PROVENANCE.md describes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from strategies.data.prices import PRICES_PATH, load_prices


def test_vendored_prices_hold_the_promised_rows() -> None:
    prices = load_prices()

    assert {symbol: len(series.dates) for symbol, series in prices.items()} == {
        "AAPL": 3270,
        "FB": 196,
        "GOOG": 2148,
        "IBM": 3270,
        "MSFT": 3270,
    }
    assert prices["AAPL"].dates[0] == date(2000, 3, 1)
    assert prices["AAPL"].adjusted[0] == 4.186662803811
    assert {series.dates[-1] for series in prices.values()} == {date(2013, 3, 1)}


def test_vendored_prices_are_positive_and_ascend_in_time() -> None:
    for series in load_prices().values():
        assert all(price > 0 for price in series.adjusted)
        assert all(earlier < later for earlier, later in zip(series.dates, series.dates[1:], strict=False))


def test_load_prices_refuses_a_file_with_one_changed_byte(tmp_path: Path) -> None:
    data = bytearray(PRICES_PATH.read_bytes())
    data[1000] ^= 1
    copy = tmp_path / PRICES_PATH.name
    copy.write_bytes(data)
    (tmp_path / "SHA256").write_bytes(PRICES_PATH.with_name("SHA256").read_bytes())

    with pytest.raises(ValueError, match="restore the vendored file"):
        load_prices(copy)
