"""Return series from a CSV file: one row a bar and instance."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.metrics.bars import BarBlock
from qmtl_worlds.policy.suggestions import did_you_mean

REQUIRED: Final = ("ts", "strategy_id", "side", "ret")
AMOUNTS: Final = ("leverage", "turnover", "trades")
COLUMNS: Final = (*REQUIRED, *AMOUNTS, "sector")
STDIN: Final = "-"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_DATE_LENGTH: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class ReturnRows:
    """The bars of a file, in its order.

    ``keys`` (``strategy_id|side``) are sorted; ``instance`` numbers them row by row. ``ts`` are bar closes in epoch
    seconds, ascending within an instance. Amounts are NaN where a row leaves them out.
    """

    keys: tuple[str, ...]
    sectors: Mapping[str, str]
    instance: NDArray[np.int64]
    ts: NDArray[np.int64]
    ret: NDArray[np.float64]
    amounts: Mapping[str, NDArray[np.float64]]

    @property
    def closes(self) -> tuple[datetime, ...]:
        """Return the time of every bar, ascending, each once."""
        return tuple(datetime.fromtimestamp(ts, UTC) for ts in np.unique(self.ts).tolist())

    @property
    def last(self) -> datetime:
        """Return the time of the latest bar."""
        return datetime.fromtimestamp(int(self.ts.max()), UTC)

    def bars(self, keys: Sequence[str], *, as_of: int) -> BarBlock:
        """Return the bars up to ``as_of`` (epoch seconds), a row for each of ``keys``; one without bars is empty."""
        places = {key: place for place, key in enumerate(keys)}
        row_of = np.array([places.get(key, -1) for key in self.keys], dtype=np.int64)
        rows = row_of[self.instance]
        kept = (self.ts <= as_of) & (rows >= 0)
        axis, column = np.unique(self.ts[kept], return_inverse=True)

        def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
            matrix = np.full((len(keys), len(axis)), np.nan)
            matrix[rows[kept], column] = values[kept]
            return matrix

        optional = {name: spread(values) for name, values in self.amounts.items()}
        return BarBlock(axis, spread(self.ret), **{name: None if _empty(m) else m for name, m in optional.items()})


def read_returns(path: str | Path, *, calendar: str = "24/7") -> ReturnRows:
    """Read ``ts,strategy_id,side,ret[,leverage,turnover,trades,sector]`` with a header line, in any order of columns.

    ``path`` may be gzipped, or ``-`` for the standard input. ``ts`` is the close of the bar: a time with its offset
    (``2026-03-02T21:00:00Z``), or a date, which is the close of that session of ``calendar``. ``ret`` is the simple
    return of the bar. Bars of one instance come in the order of time, each once; instances may be mixed.

    Raises:
        InputInvalidError: the first line that cannot be used, by its number; or there is no bar.
        OSError: the file cannot be read.
    """
    name = "standard input" if str(path) == STDIN else Path(path).name
    reader = _Reader(name, Calendar.load(calendar))
    try:
        for line, cells in _lines(_bytes_of(path)):
            reader.take(line, cells)
    except (csv.Error, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputInvalidError(field=name, reason=f"is no CSV text in UTF-8 ({error})") from error
    return reader.finished()


def _bytes_of(path: str | Path) -> bytes:
    data = sys.stdin.buffer.read() if str(path) == STDIN else Path(path).read_bytes()
    return gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    return ((rows.line_num, cells) for cells in rows if cells)


@dataclass(slots=True)
class _Reader:
    """The columns while they are read."""

    name: str
    calendar: Calendar
    header: list[str] = field(default_factory=list)
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    sectors: dict[str, str] = field(default_factory=dict)
    latest: list[int] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    instance: array[int] = field(default_factory=lambda: array("q"))
    ts: array[int] = field(default_factory=lambda: array("q"))
    ret: array[float] = field(default_factory=lambda: array("d"))
    amounts: dict[str, array[float]] = field(default_factory=dict)

    def take(self, line: int, cells: list[str]) -> None:
        """Take the header or one row."""
        try:
            if not self.header:
                self._take_header(cells)
            else:
                self._take_row(cells)
        except ValueError as error:
            raise self._refused(line, str(error)) from error
        except InputInvalidError as error:
            raise self._refused(line, str(error).rstrip(".")) from error

    def finished(self) -> ReturnRows:
        """Return what was read, the instances sorted."""
        if not self.ts:
            raise InputInvalidError(field=self.name, reason="has no bar")
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.arange(len(order))
        return ReturnRows(
            keys=tuple(self.keys[place] for place in order),
            sectors=self.sectors,
            instance=number[np.array(self.instance)],
            ts=np.array(self.ts),
            ret=np.array(self.ret),
            amounts={name: np.array(values) for name, values in self.amounts.items()},
        )

    def _take_header(self, cells: list[str]) -> None:
        header = [cell.strip() for cell in cells]
        for cell in header:
            if cell not in COLUMNS:
                guess = did_you_mean(cell, COLUMNS)
                raise ValueError(f"unknown column {cell!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        if missing := [name for name in REQUIRED if name not in header]:
            raise ValueError(f"the header lacks {', '.join(missing)}")
        if len(set(header)) < len(header):
            raise ValueError("the header names a column twice")
        self.header = header
        self.amounts = {name: array("d") for name in AMOUNTS if name in header}

    def _take_row(self, cells: list[str]) -> None:
        if len(cells) != len(self.header):
            raise ValueError(f"has {len(cells)} cells where the header has {len(self.header)}")
        row = dict(zip(self.header, cells, strict=True))
        place = self._place(row["strategy_id"], row["side"])
        ts = self._time(row["ts"])
        if ts <= self.latest[place]:
            raise ValueError(f"ts {row['ts']} does not come after the bar before of {self.keys[place]}")
        self.latest[place] = ts
        self._take_sector(self.keys[place], row.get("sector", ""))
        self.instance.append(place)
        self.ts.append(ts)
        self.ret.append(_number("ret", row["ret"], least=-1.0))
        for name, values in self.amounts.items():
            values.append(_number(name, row[name], least=0.0) if row[name] else math.nan)

    def _place(self, strategy_id: str, side: str) -> int:
        place = self.places.get((strategy_id, side))
        if place is None:
            key = InstanceKey.from_text(f"{strategy_id}|{side}").text
            place = self.places[strategy_id, side] = len(self.keys)
            self.keys.append(key)
            self.latest.append(-sys.maxsize)
        return place

    def _take_sector(self, key: str, sector: str) -> None:
        if sector and self.sectors.setdefault(key, sector) != sector:
            raise ValueError(f"{key} was in sector {self.sectors[key]!r} before, here in {sector!r}")

    def _time(self, text: str) -> int:
        ts = self.times.get(text)
        if ts is None:
            ts = self.times[text] = _epoch(text, self.calendar)
        return ts

    def _refused(self, line: int, reason: str) -> InputInvalidError:
        return InputInvalidError(field=f"{self.name} line {line}", reason=reason, line=line)


def parse_time(text: str, calendar: Calendar) -> datetime:
    """Read an aware time, or a date as the close of that session of ``calendar``.

    Raises:
        ValueError: it is neither.
        InputInvalidError: the calendar has no session on that date.
    """
    if len(text) == _DATE_LENGTH:
        return calendar.session_close(date.fromisoformat(text))
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time {text} has no offset; add Z for UTC")
    return time.astimezone(UTC)


def _epoch(text: str, calendar: Calendar) -> int:
    seconds = parse_time(text, calendar).timestamp()
    if not seconds.is_integer():
        raise ValueError(f"ts {text} is not on a whole second")
    return int(seconds)


def _number(name: str, text: str, *, least: float) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} is no number") from error
    if not least <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least {least:g}, it is {text}")
    return value


def _empty(matrix: NDArray[np.float64]) -> bool:
    return bool(np.isnan(matrix).all())
