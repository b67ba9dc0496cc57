"""Stored bars laid out on one grid of times and instances; of each bar the version that counts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.codec import bitmap_size
from strategies.selectors import PRECEDENCE, StoredBlock, StoredRow, StoredSegment, StoredSeries
from worlds.work.bar_digests import Row

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Packed = tuple[bytes, bytes, bytes, bytes]
Version = StoredBlock | StoredSegment | StoredRow

ABSENT: Final = -1
_SEGMENTS_AT_ONCE: Final = 64
_OPTIONAL: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class BarGrid:
    """Returns, leverage, turnover and trades over times x instances; NaN is "no bar" or "not given".

    The optional three are None where no bar has them. Every time has a bar of some instance. ``kept_digests`` are those
    of the times whose bars are all in one block that kept its own; an unknown one is empty.
    """

    ts: Integers
    returns: Floats
    leverage: Floats | None
    turnover: Floats | None
    trades: Floats | None
    kept_digests: Sequence[bytes] = ()

    def row(self, number: int) -> Row:
        """Return the four columns at one time."""
        leverage, turnover, trades = (
            None if matrix is None else matrix[number] for matrix in (self.leverage, self.turnover, self.trades)
        )
        return self.returns[number], leverage, turnover, trades


def grid_of(stored: StoredSeries, instances: Integers) -> BarGrid:
    """Lay out the bars of ``instances``, a column each, in their order.

    Versions are laid over one another from the weakest to the strongest, so the last one written counts.
    """
    grid = _Grid(stored, instances)
    versions: list[Version] = [*stored.blocks, *stored.segments, *stored.rows]
    for _, group in groupby(sorted(versions, key=_strength), key=_strength):
        grid.put(list(group))
    return grid.finished()


def _strength(version: Version) -> tuple[int, int]:
    return PRECEDENCE[version.provenance], version.revision


class _Grid:
    """The grid while it is filled; a row is NaN from its first use on, so a complete block is one copy."""

    def __init__(self, stored: StoredSeries, instances: Integers) -> None:
        self._cells = _Cells(stored, instances)
        self._axis = _Axis(stored)
        shape = (len(self._axis.ts), len(instances))
        self._returns: Floats = np.empty(shape)
        self._optional: list[Floats | None] = [np.empty(shape) if given else None for given in _given(stored)]
        self._used = np.zeros(shape[0], dtype=np.bool_)
        self._complete = np.zeros(shape[0], dtype=np.bool_)
        self._digests = [b""] * shape[0]

    def put(self, versions: Sequence[Version]) -> None:
        """Lay versions of one strength over what is there; no two of them have the same bar."""
        segments: dict[bytes, list[StoredSegment]] = {}
        rows: list[StoredRow] = []
        for version in versions:
            match version:
                case StoredBlock():
                    self._put_block(version)
                case StoredSegment():
                    segments.setdefault(version.times, []).append(version)
                case StoredRow():
                    rows.append(version)
        for group in segments.values():
            for start in range(0, len(group), _SEGMENTS_AT_ONCE):
                self._put_segments(group[start : start + _SEGMENTS_AT_ONCE])
        self._put_rows(rows)

    def finished(self) -> BarGrid:
        """Return the grid without times that have no bar and without columns that nobody gives."""
        kept = self._complete.copy()
        for row in np.flatnonzero(self._used & ~kept):
            kept[row] = not np.isnan(self._returns[row]).all()
        returns = self._returns if kept.all() else self._returns[kept]
        leverage, turnover, trades = (_given_rows(matrix, kept) for matrix in self._optional)
        digests = [digest for digest, stays in zip(self._digests, kept.tolist(), strict=True) if stays]
        return BarGrid(self._axis.ts[kept], returns, leverage, turnover, trades, digests)

    def _put_block(self, block: StoredBlock) -> None:
        columns, kept = self._cells.of_block(block.layout, block.presence)
        returns = np.frombuffer(block.columns[0], "<f8")
        optional = [_unpack_optional(block.columns[number], len(returns)) for number in _OPTIONAL]
        if kept is not None:
            returns = returns[kept]
            optional = [None if column is None else column[kept] for column in optional]
        row = self._axis.row(block.ts)
        is_alone = kept is None and not self._used[row]
        self._open(np.array([row]), complete=isinstance(columns, slice))
        self._digests[row] = block.digest if is_alone else b""
        self._write((row, columns), returns, optional)

    def _put_segments(self, segments: Sequence[StoredSegment]) -> None:
        """Write segments of one extent, side by side."""
        columns = self._cells.of(np.array([segment.instance for segment in segments]))
        known = [segment.columns for segment, column in zip(segments, columns, strict=True) if column != ABSENT]
        rows, inside = self._axis.rows(segments[0].times)
        count = len(self._axis.decoded(segments[0].times))
        if not (known and len(rows)):
            return
        returns = np.frombuffer(b"".join(packed[0] for packed in known), "<f8").reshape(-1, count)
        optional = [_unpack_many([packed[number] for packed in known], count, inside) for number in _OPTIONAL]
        self._open(rows, complete=False)
        self._write(_crossing(rows, columns[columns != ABSENT]), returns[:, inside].T, optional)

    def _put_rows(self, rows: Sequence[StoredRow]) -> None:
        columns = self._cells.of(np.array([row.instance for row in rows], dtype=np.int64))
        known = [row for row, column in zip(rows, columns, strict=True) if column != ABSENT]
        if not known:
            return
        times = np.searchsorted(self._axis.ts, np.array([row.ts for row in known]))
        bars = np.array([row.bar for row in known], dtype=np.float64).T
        self._open(times, complete=False)
        self._write((times, columns[columns != ABSENT]), bars[0], list(bars[1:]))

    def _open(self, rows: Integers, *, complete: bool) -> None:
        for row in set(rows[self._used[rows]].tolist()):
            self._digests[row] = b""
        unused = rows[~self._used[rows]]
        self._used[unused] = True
        if complete:
            self._complete[rows] = True
            return
        for matrix in (self._returns, *self._optional):
            if matrix is not None:
                matrix[unused] = np.nan

    def _write(self, where: Any, returns: Floats, optional: Sequence[Floats | None]) -> None:
        self._returns[where] = returns
        for matrix, values in zip(self._optional, optional, strict=True):
            if matrix is not None:
                matrix[where] = np.nan if values is None else values


class _Axis:
    """The times of the grid: all at which something is stored."""

    def __init__(self, stored: StoredSeries) -> None:
        self._first, self._last = stored.first, stored.last
        self._decoded: dict[bytes, Integers] = {}
        points = [block.ts for block in stored.blocks]
        points += [row.ts for row in stored.rows]
        stretches = {segment.times: None for segment in stored.segments}
        times = [self.decoded(times)[self._inside(self.decoded(times))] for times in stretches]
        self.ts: Integers = np.unique(np.concatenate([np.array(points, dtype=np.int64), *times]))
        self._rows = {ts: row for row, ts in enumerate(self.ts.tolist())}

    def row(self, ts: int) -> int:
        """Return the row of a time."""
        return self._rows[ts]

    def decoded(self, times: bytes) -> Integers:
        """Return the times of a segment; segments that came in together share them."""
        if times not in self._decoded:
            self._decoded[times] = np.cumsum(np.frombuffer(zlib.decompress(times), "<i8"))
        return self._decoded[times]

    def rows(self, times: bytes) -> tuple[Integers, slice]:
        """Return the rows of a segment's times, and which of its bars they are."""
        ts = self.decoded(times)
        inside = self._inside(ts)
        return np.searchsorted(self.ts, ts[inside]), inside

    def _inside(self, ts: Integers) -> slice:
        return slice(int(np.searchsorted(ts, self._first)), int(np.searchsorted(ts, self._last, side="right")))


class _Cells:
    """Which column of the grid an instance has, and which columns the cells of a block belong to."""

    def __init__(self, stored: StoredSeries, instances: Integers) -> None:
        self._order = np.argsort(instances)
        self._sorted = instances[self._order]
        self._layouts = {layout: self.of(np.array(ids)) for layout, ids in stored.layouts.items()}
        self._blocks: dict[tuple[int, bytes], tuple[Integers | slice, Flags | None]] = {}

    def of(self, ids: Integers) -> Integers:
        """Return the column of each instance, ``ABSENT`` for those not wanted."""
        if not len(self._sorted):
            return np.full(len(ids), ABSENT)
        places = np.searchsorted(self._sorted, ids).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == ids, self._order[places], ABSENT)

    def of_block(self, layout: int, presence: bytes) -> tuple[Integers | slice, Flags | None]:
        """Return the columns of a block's wanted cells, and which cells those are; None is all of them.

        The columns are a slice where the cells are all columns in order.
        """
        known = self._blocks.get((layout, presence))
        if known is None:
            known = self._blocks[layout, presence] = self._map(layout, presence)
        return known

    def _map(self, layout: int, presence: bytes) -> tuple[Integers | slice, Flags | None]:
        columns = self._layouts[layout]
        if presence:
            columns = columns[_flags(zlib.decompress(presence), len(columns))]
        wanted = columns != ABSENT
        kept = None if wanted.all() else wanted
        columns = columns[wanted]
        if np.array_equal(columns, np.arange(len(self._sorted))):
            return slice(None), kept
        return columns, kept


def _given(stored: StoredSeries) -> tuple[bool, bool, bool]:
    """Tell which optional columns any bar has."""
    packed = [block.columns for block in stored.blocks] + [segment.columns for segment in stored.segments]
    leverage, turnover, trades = (
        any(columns[number] for columns in packed) or any(row.bar[number] is not None for row in stored.rows)
        for number in _OPTIONAL
    )
    return leverage, turnover, trades


def _given_rows(matrix: Floats | None, kept: Flags) -> Floats | None:
    if matrix is None:
        return None
    rows = matrix if kept.all() else matrix[kept]
    return None if np.isnan(rows).all() else rows


def _crossing(rows: Integers, columns: Integers) -> Any:
    """Index all ``rows`` at all ``columns``, as slices where they follow each other: those are copied fastest."""
    spans = [_span(rows), _span(columns)]
    if all(isinstance(span, slice) for span in spans):
        return tuple(spans)
    return np.ix_(rows, columns)


def _span(indices: Integers) -> Integers | slice:
    first, last = int(indices[0]), int(indices[-1])
    if last - first == len(indices) - 1 and bool((np.diff(indices) == 1).all()):
        return slice(first, last + 1)
    return indices


def _unpack_optional(data: bytes, count: int) -> Floats | None:
    if not data:
        return None
    size = bitmap_size(count)
    values = np.full(count, np.nan)
    values[_flags(data[:size], count)] = np.frombuffer(data, "<f8", offset=size)
    return values


def _unpack_many(packed: Sequence[bytes], count: int, inside: slice) -> Floats | None:
    """Return the cells of one column of several segments, a segment a column."""
    if not any(packed):
        return None
    values = np.full((count, len(packed)), np.nan)
    for number, data in enumerate(packed):
        if (column := _unpack_optional(data, count)) is not None:
            values[:, number] = column
    return values[inside]


def _flags(bitmap: bytes, count: int) -> Flags:
    return np.unpackbits(np.frombuffer(bitmap, np.uint8), count=count, bitorder="little").view(np.bool_)
