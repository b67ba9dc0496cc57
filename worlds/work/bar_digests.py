"""Digests of bars: one for all that close together, whichever rows, segments or blocks they are stored in.

It covers the ids of the instances that have a bar, ascending, and their values as a block packs them. A block keeps the
digest of its bars, so that an evaluation of many blocks need not hash them again.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Row = tuple[Floats, Floats | None, Floats | None, Floats | None]
"""Returns, leverage, turnover and trades at one time; NaN is no bar or not given, None is given by nobody."""
Packed = tuple[bytes, bytes, bytes, bytes]
"""Returns, and the given ones of leverage, turnover and trades behind a bitmap of them."""


class BarDigests:
    """Packs and digests the bars of ``instances`` (ids in any order), each time a row of matrices."""

    def __init__(self, instances: Integers) -> None:
        order = np.argsort(instances, kind="stable")
        self._ids = instances[order].astype("<i8")
        self._order = None if np.array_equal(order, np.arange(len(order))) else order
        self._owners: dict[bytes, bytes] = {}

    def pack(self, row: Row) -> tuple[Flags, Packed]:
        """Return which instances have a bar, and the cells of those, by id."""
        returns, *optional = row
        ordered = self._by_id(returns)
        present = ~np.isnan(ordered)
        leverage, turnover, trades = (
            b"" if cells is None else _pack_optional(self._by_id(cells)[present]) for cells in optional
        )
        return present, (ordered[present].astype("<f8").tobytes(), leverage, turnover, trades)

    def digest(self, present: Flags, packed: Packed) -> bytes:
        """Return the digest of what ``pack`` returned."""
        bitmap = pack_flags(present)
        if bitmap not in self._owners:
            self._owners[bitmap] = hashlib.sha256(self._ids[present].tobytes()).digest()
        hasher = hashlib.sha256(self._owners[bitmap])
        for column in packed:
            hasher.update(len(column).to_bytes(8, "little"))
            hasher.update(column)
        return hasher.digest()

    def _by_id(self, cells: Floats) -> Floats:
        return cells if self._order is None else cells[self._order]


def pack_flags(flags: Flags) -> bytes:
    """Pack flags, least significant bit first."""
    return np.packbits(flags, bitorder="little").tobytes()


def _pack_optional(cells: Floats) -> bytes:
    given = ~np.isnan(cells)
    return pack_flags(given) + cells[given].astype("<f8").tobytes() if given.any() else b""
