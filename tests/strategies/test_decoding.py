from __future__ import annotations

import json
import math
from array import array

import pytest

from qmtl_worlds.contracts.errors import InputInvalidError, SeriesInvalidError
from strategies.decoding import NDJSON, RAW, decode_series
from strategies.series import MAX_ROWS

FIRST, SECOND = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
FIRST_TS = 1_767_312_000


def decode(value: object) -> object:
    """Decode a JSON value."""
    return decode_series(json.dumps(value).encode())


def test_rows_columns_lines_and_raw_numbers_give_the_same_series() -> None:
    rows = [{"ts": FIRST, "ret": 0.01}, {"ts": SECOND, "ret": -0.02}]
    raw = array("d", [FIRST_TS, FIRST_TS + 86_400, 0.01, -0.02]).tobytes()

    as_list = decode_series(json.dumps(rows).encode()).rows
    as_object = decode_series(json.dumps({"rows": rows}).encode()).rows
    as_columns = decode_series(json.dumps({"ts": [FIRST, SECOND], "ret": [0.01, -0.02]}).encode()).rows
    as_lines = decode_series(b"\n".join(json.dumps(row).encode() for row in rows), content_type=NDJSON).rows
    as_raw = decode_series(raw, content_type=RAW).rows

    assert list(as_list.ts) == [FIRST_TS, FIRST_TS + 86_400]
    assert list(as_list.ret) == [0.01, -0.02]
    assert as_list == as_object == as_columns == as_lines == as_raw


def test_a_value_left_out_is_nan_and_a_column_left_out_is_none() -> None:
    rows = decode_series(json.dumps([{"ts": FIRST, "ret": 0, "leverage": 2}, {"ts": SECOND, "ret": 0}]).encode()).rows

    assert rows.leverage is not None
    assert rows.leverage[0] == 2.0
    assert math.isnan(rows.leverage[1])
    assert rows.trades is None


def test_profit_is_divided_by_the_capital_it_was_made_on() -> None:
    rows = decode_series(json.dumps([{"ts": FIRST, "pnl": 5, "capital": 200}]).encode()).rows

    assert (list(rows.ret), rows.is_equity) == ([5 / 200], False)


def test_equity_is_marked_as_such_and_revise_is_passed_on() -> None:
    decoded = decode_series(json.dumps({"ts": [FIRST], "equity": [100.0], "revise": True}).encode())

    assert (decoded.rows.is_equity, decoded.revise) == (True, True)


def test_another_zone_is_converted() -> None:
    rows = decode_series(json.dumps([{"ts": "2026-01-02T01:00:00+01:00", "ret": 0}]).encode()).rows

    assert list(rows.ts) == [FIRST_TS]


@pytest.mark.parametrize(
    ("value", "row", "kind"),
    [
        ([{"ts": "2026-01-02T00:00:00", "ret": 0}], 0, "malformed"),
        ([{"ts": FIRST, "ret": 0}, {"ts": SECOND, "ret": "0"}], 1, "malformed"),
        ({"rows": [{"ts": FIRST, "ret": 0}, {"ts": SECOND, "gain": 0}]}, 1, "malformed"),
        ({"ts": [FIRST, "yesterday"], "ret": [0, 0]}, 1, "malformed"),
        ([{"ts": "2026-01-02T00:00:00.5Z", "ret": 0}], 0, "ts_not_whole_seconds"),
        ([{"ts": FIRST}], 0, "value_missing"),
        ([{"ts": FIRST, "ret": 0}, {"ts": SECOND}], 1, "value_missing"),
        ([{"ts": FIRST, "ret": 0}, {"ts": SECOND, "equity": 1}], 1, "mixed"),
        ([{"ts": FIRST, "pnl": 5}], 0, "pnl_without_capital"),
        ([{"ts": FIRST, "pnl": 5, "capital": 0}], 0, "pnl_without_capital"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(value: object, row: int, kind: str) -> None:
    with pytest.raises(SeriesInvalidError) as refused:
        decode(value)

    assert (refused.value.facts["row"], refused.value.facts["kind"]) == (row, kind)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"{}",
        b"7",
        b'{"ts": []}',
        b'[{"ts": "2026-01-02T00:00:00Z", "ret": NaN}]',
        b'{"ts": ["2026-01-02T00:00:00Z"], "ret": [1, 2]}',
        b'{"rows": [], "overwrite": true}',
        b'{"rows": "all"}',
        b'"\xff"',
        b"[" * 50_000,
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises((InputInvalidError, SeriesInvalidError)):
        decode_series(body)


@pytest.mark.parametrize(
    "body", [b"", b"1234567", array("d", [math.nan, 0.0]).tobytes(), array("d", [1e300, 0.0]).tobytes()]
)
def test_a_raw_body_needs_times_and_returns(body: bytes) -> None:
    if not body:
        assert len(decode_series(body, content_type=RAW).rows) == 0
        return

    with pytest.raises((InputInvalidError, SeriesInvalidError)):
        decode_series(body, content_type=RAW)


def test_a_number_beyond_float64_is_refused() -> None:
    with pytest.raises(SeriesInvalidError, match="out of range"):
        decode_series(b'[{"ts": "2026-01-02T00:00:00Z", "ret": 1e999}]')


def test_more_rows_than_allowed_are_refused() -> None:
    with pytest.raises(InputInvalidError, match=str(MAX_ROWS)):
        decode_series(bytes(16 * (MAX_ROWS + 1)), content_type=RAW)
