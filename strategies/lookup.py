"""The bars of one instance, wherever they are stored. Standard library only: the web process reads them."""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from strategies import codec
from strategies.models import BarBlock, BlockLayout, Segment, StrategyInstance, TailRow
from strategies.series import Bar

Version = tuple[int, int, Bar]
"""Revision, time and bar."""

_COLUMNS = ("ret", "leverage", "turnover", "trades")


def stored_bars(
    instance: StrategyInstance, *, provenance: str, first: int, last: int, revision: int | None = None
) -> dict[int, Bar]:
    """Return the bars of one provenance with ``first`` <= ts <= ``last``, by time, ascending.

    Of a corrected bar the latest revision counts, at most ``revision`` where that is given. The narrow kinds of storage
    are read first: bars only ever move from them to blocks, so none is missed while that happens.
    """
    extent = _Extent(instance, provenance, first, last, revision)
    versions = [*extent.tail(), *extent.segments(), *extent.blocks()]
    versions.sort(key=lambda version: version[0])
    latest = {ts: bar for _, ts, bar in versions}
    return dict(sorted(latest.items()))


class _Extent:
    """One instance, one provenance, a stretch of time, a bound on revisions."""

    def __init__(
        self, instance: StrategyInstance, provenance: str, first: int, last: int, revision: int | None
    ) -> None:
        self._instance = instance
        self._first = first
        self._last = last
        self._filter: dict[str, object] = {"provenance": provenance}
        if revision is not None:
            self._filter["revision__lte"] = revision

    def tail(self) -> Iterator[Version]:
        rows = TailRow.objects.filter(instance=self._instance, ts__range=(self._first, self._last), **self._filter)
        for revision, ts, *bar in rows.order_by().values_list("revision", "ts", *_COLUMNS):
            yield revision, ts, (bar[0], bar[1], bar[2], bar[3])

    def segments(self) -> Iterator[Version]:
        rows = Segment.objects.filter(
            instance=self._instance, last_ts__gte=self._first, first_ts__lte=self._last, **self._filter
        )
        for revision, times, *columns in rows.order_by().values_list("revision", "times", *_COLUMNS).iterator(64):
            ts = codec.unpack_times(bytes(times))
            ret, leverage, turnover, trades = (bytes(column) for column in columns)
            bars = zip(
                codec.unpack_floats(ret),
                codec.unpack_optional(leverage, count=len(ts)),
                codec.unpack_optional(turnover, count=len(ts)),
                codec.unpack_optional(trades, count=len(ts)),
                strict=True,
            )
            inside = slice(bisect_left(ts, self._first), bisect_right(ts, self._last))
            yield from ((revision, at, bar) for at, bar in zip(ts[inside], list(bars)[inside], strict=True))

    def blocks(self) -> Iterator[Version]:
        layouts: dict[int, array[int]] = {}
        rows = BarBlock.objects.filter(
            world_id=self._instance.world_id, ts__range=(self._first, self._last), **self._filter
        )
        columns = rows.order_by().values_list("revision", "ts", "layout_id", "presence", *_COLUMNS)
        for revision, ts, layout_id, presence, *packed in columns.iterator(64):
            if layout_id not in layouts:
                layouts[layout_id] = _layout(layout_id)
            bar = _cell(layouts[layout_id], self._instance.pk, bytes(presence), [bytes(column) for column in packed])
            if bar is not None:
                yield revision, ts, bar


def _layout(layout_id: int) -> array[int]:
    return codec.unpack_integers(bytes(BlockLayout.objects.values_list("instances", flat=True).get(pk=layout_id)))


def _cell(layout: array[int], instance_id: int, presence: bytes, columns: list[bytes]) -> Bar | None:
    """Return one instance's bar of a block, None where it has none."""
    index = bisect_left(layout, instance_id)
    if index == len(layout) or layout[index] != instance_id:
        return None
    if presence:
        bitmap = zlib.decompress(presence)
        if not codec.has_bit(bitmap, index):
            return None
        index = codec.rank(bitmap, index)
    ret, *optional = columns
    count = len(ret) // codec.CELL_BYTES
    leverage, turnover, trades = (codec.optional_cell(column, index, count=count) for column in optional)
    return codec.float_at(ret, index), leverage, turnover, trades
