"""Bodies with return series, decoded into columns: JSON rows, JSON columns, NDJSON, and raw float64.

Decoding is typed and happens once, in C; a row costs well under a microsecond.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from operator import attrgetter, sub, truediv
from typing import Annotated, Final, NoReturn, cast

import msgspec

from qmtl_worlds.contracts.errors import InputInvalidError, SeriesInvalidError
from strategies.codec import CELL_BYTES, unpack_floats
from strategies.series import MAX_ROWS, SeriesRows

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
RAW: Final = "application/octet-stream"

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Column = list[float | None]

EARLIEST: Final = -2_208_988_800
LATEST: Final = 253_402_300_799
"""Epoch seconds of the first instant of 1900 and the last of 9999."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROW_NUMBER = re.compile(r"\[(\d+)\]")


class Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One bar: its close and one of a return, an equity point, or a profit with its capital base."""

    ts: Time
    ret: float | None = None
    equity: float | None = None
    pnl: float | None = None
    capital: float | None = None
    leverage: float | None = None
    turnover: float | None = None
    trades: float | None = None


class ReturnRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What most rows are: a ``Row`` with a return."""

    ts: Time
    ret: float
    leverage: float | None = None
    turnover: float | None = None
    trades: float | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object: ``rows``, or the same as columns; ``revise`` allows corrections."""

    rows: list[Row] | None = None
    ts: list[Time] | None = None
    ret: Column | None = None
    equity: Column | None = None
    pnl: Column | None = None
    capital: Column | None = None
    leverage: Column | None = None
    turnover: Column | None = None
    trades: Column | None = None
    revise: bool = False


@dataclass(frozen=True, slots=True)
class DecodedSeries:
    """What a body holds; ``revise`` is False where the body cannot or does not say so."""

    rows: SeriesRows
    revise: bool = False


def decode_series(body: bytes, *, content_type: str = JSON) -> DecodedSeries:
    """Decode one body, already unzipped.

    JSON is a list of rows, or an object with ``rows`` or with columns; NDJSON is a row a line. The raw form is n times
    (epoch seconds), then n returns, all little-endian float64. Times must carry a zone and be whole seconds.

    Raises:
        InputInvalidError: the body is not of that form, or has more than ``MAX_ROWS`` rows.
        SeriesInvalidError: a row is not; it is named.
    """
    if content_type == RAW:
        return DecodedSeries(_raw(body))
    if plain := _returns_alone(body, content_type):
        return DecodedSeries(plain)
    try:
        parsed = _LINES.decode_lines(body) if content_type == NDJSON else _BODY.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputInvalidError(field="body", reason=f"is no valid JSON: {error}") from error
    if isinstance(parsed, list):
        return DecodedSeries(_from_rows(parsed))
    if parsed.rows is not None:
        return DecodedSeries(_from_rows(parsed.rows), revise=parsed.revise)
    return DecodedSeries(_from_columns(parsed), revise=parsed.revise)


_BODY = msgspec.json.Decoder(list[Row] | Body)
_LINES = msgspec.json.Decoder(Row)
_RETURNS = msgspec.json.Decoder(list[ReturnRow])
_RETURN_LINES = msgspec.json.Decoder(ReturnRow)


def _returns_alone(body: bytes, content_type: str) -> SeriesRows | None:
    """Decode what most bodies are, a list of rows with returns; None where it is anything else."""
    try:
        rows = _RETURN_LINES.decode_lines(body) if content_type == NDJSON else _RETURNS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    _checked_count(len(rows))
    return SeriesRows(
        _epoch_seconds([row.ts for row in rows]),
        array("d", [row.ret for row in rows]),
        _optional([row.leverage for row in rows]),
        _optional([row.turnover for row in rows]),
        _optional([row.trades for row in rows]),
    )


def _refusal(error: msgspec.ValidationError) -> InputInvalidError | SeriesInvalidError:
    """Name the row where the decoder names one."""
    message = str(error)
    if row := _ROW_NUMBER.search(message):
        return SeriesInvalidError(row=int(row[1]), reason=message, kind="malformed")
    return InputInvalidError(field="body", reason=message)


def _raw(body: bytes) -> SeriesRows:
    if len(body) % (2 * CELL_BYTES):
        raise InputInvalidError(field="body", reason="must be n float64 times followed by n float64 returns")
    numbers = unpack_floats(body)
    count = _checked_count(len(numbers) // 2)
    times = numbers[:count]
    if not all(EARLIEST <= time <= LATEST for time in times):
        row = next(row for row, time in enumerate(times) if not EARLIEST <= time <= LATEST)
        raise SeriesInvalidError(row=row, reason="ts must lie in the years 1900 to 9999", kind="ts_out_of_range")
    return SeriesRows(_whole_seconds(times), numbers[count:])


def _from_rows(rows: Sequence[Row]) -> SeriesRows:
    _checked_count(len(rows))
    return _series(
        [row.ts for row in rows],
        {
            "ret": [row.ret for row in rows],
            "equity": [row.equity for row in rows],
            "pnl": [row.pnl for row in rows],
            "capital": [row.capital for row in rows],
            "leverage": [row.leverage for row in rows],
            "turnover": [row.turnover for row in rows],
            "trades": [row.trades for row in rows],
        },
    )


def _from_columns(body: Body) -> SeriesRows:
    if body.ts is None:
        raise InputInvalidError(field="body", reason="needs rows, or columns ts and ret")
    count = _checked_count(len(body.ts))
    columns: dict[str, Column] = {}
    for name in ("ret", "equity", "pnl", "capital", "leverage", "turnover", "trades"):
        column: Column | None = getattr(body, name)
        columns[name] = [None] * count if column is None else column
        if len(columns[name]) != count:
            raise InputInvalidError(field=name, reason=f"must have {count} values, as many as ts")
    return _series(body.ts, columns)


def _series(times: Sequence[datetime], columns: dict[str, Column]) -> SeriesRows:
    ts = _epoch_seconds(times)
    leverage, turnover, trades = (_optional(columns[name]) for name in ("leverage", "turnover", "trades"))
    match [name for name in ("ret", "equity", "pnl") if _is_given(columns[name])]:
        case ["ret"]:
            return SeriesRows(ts, _complete(columns["ret"]), leverage, turnover, trades)
        case ["equity"]:
            return SeriesRows(ts, _complete(columns["equity"]), leverage, turnover, trades, is_equity=True)
        case ["pnl"]:
            returns = _on_capital(columns["pnl"], columns["capital"])
            return SeriesRows(ts, returns, leverage, turnover, trades)
        case []:
            raise SeriesInvalidError(row=0, reason="has neither ret nor equity nor pnl", kind="value_missing")
        case names:
            row = min(next(row for row, value in enumerate(columns[name]) if value is not None) for name in names[1:])
            raise SeriesInvalidError(row=row, reason=f"mixes {' and '.join(names)}", kind="mixed")


def _is_given(column: Column) -> bool:
    """Tell whether any row has a value; mostly the first one tells."""
    return bool(column) and (column[0] is not None or column.count(None) < len(column))


def _complete(column: Column) -> array[float]:
    try:
        return array("d", cast("list[float]", column))
    except TypeError:
        row = column.index(None)
        raise SeriesInvalidError(row=row, reason="has no value", kind="value_missing") from None


def _on_capital(profits: Column, capital: Column) -> array[float]:
    """Return profits over the capital they were made on."""
    for row, base in enumerate(capital):
        if base is None or not base > 0:
            reason = "pnl needs the capital it was made on, above zero; send ret or equity instead"
            raise SeriesInvalidError(row=row, reason=reason, kind="pnl_without_capital")
    return array("d", map(truediv, _complete(profits), _complete(capital)))


def _optional(column: Column) -> array[float] | None:
    if not _is_given(column):
        return None
    try:
        return array("d", cast("list[float]", column))
    except TypeError:
        return array("d", [math.nan if value is None else value for value in column])


def _epoch_seconds(times: Sequence[datetime]) -> array[int]:
    """Return whole epoch seconds; by subtraction, because ``timestamp`` costs twice as much."""
    since = list(map(sub, times, repeat(_EPOCH)))
    if any(map(attrgetter("microseconds"), since)):
        _refuse_fraction(next(row for row, delta in enumerate(since) if delta.microseconds))
    return array("q", [delta.days * 86_400 + delta.seconds for delta in since])


def _whole_seconds(times: Sequence[float]) -> array[int]:
    if not all(map(float.is_integer, times)):
        _refuse_fraction(next(row for row, time in enumerate(times) if not time.is_integer()))
    return array("q", map(int, times))


def _refuse_fraction(row: int) -> NoReturn:
    raise SeriesInvalidError(row=row, reason="ts must be a whole second", kind="ts_not_whole_seconds")


def _checked_count(count: int) -> int:
    if count > MAX_ROWS:
        raise InputInvalidError(field="rows", reason=f"must be at most {MAX_ROWS}")
    return count
