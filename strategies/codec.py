"""How bars are packed into the bytes of segments and blocks.

A column is the little-endian float64 of its cells in order. One that not every cell has (leverage, turnover, trades)
begins with a bitmap of those that do, least significant bit first, and is empty where none has. Times are the first one
and the steps between, as int64, deflated: a thousand daily closes take a hundred bytes. Standard library only; the
loader of ``worlds.work`` reads the same bytes with numpy.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Final

CELL_BYTES: Final = 8

_DOUBLE = struct.Struct("<d")


def pack_numbers(numbers: array[float] | array[int]) -> bytes:
    """Return eight little-endian bytes a number."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def unpack_floats(data: bytes) -> array[float]:
    """Return the numbers of ``pack_numbers``."""
    numbers = array("d", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def unpack_integers(data: bytes) -> array[int]:
    """Return the numbers of ``pack_numbers``."""
    numbers = array("q", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def pack_times(ts: array[int]) -> bytes:
    """Deflate ascending times."""
    steps = array("q", chain(ts[:1], (after - before for before, after in pairwise(ts))))
    return zlib.compress(pack_numbers(steps), 6)


def unpack_times(data: bytes) -> array[int]:
    """Return the times of ``pack_times``."""
    return array("q", accumulate(unpack_integers(zlib.decompress(data))))


def pack_optional(column: Sequence[float] | None) -> bytes:
    """Pack a column whose missing cells are NaN."""
    if column is None:
        return b""
    given = [not math.isnan(value) for value in column]
    if not any(given):
        return b""
    return pack_bits(given) + pack_numbers(array("d", (value for value in column if not math.isnan(value))))


def unpack_optional(data: bytes, *, count: int) -> list[float | None]:
    """Return the ``count`` cells of ``pack_optional``."""
    if not data:
        return [None] * count
    size = bitmap_size(count)
    dense = iter(unpack_floats(data[size:]))
    return [next(dense) if has_bit(data, index) else None for index in range(count)]


def optional_cell(data: bytes, index: int, *, count: int) -> float | None:
    """Return one of the ``count`` cells of ``pack_optional``."""
    if not data or not has_bit(data, index):
        return None
    return float_at(data, rank(data, index), start=bitmap_size(count))


def float_at(data: bytes, index: int, *, start: int = 0) -> float:
    """Return one number of a packed column that begins at byte ``start``."""
    value: float = _DOUBLE.unpack_from(data, start + CELL_BYTES * index)[0]
    return value


def pack_bits(flags: Iterable[bool]) -> bytes:
    """Pack flags, least significant bit first."""
    text = "".join("1" if flag else "0" for flag in flags)
    return int(text[::-1], 2).to_bytes(bitmap_size(len(text)), "little")


def has_bit(bitmap: bytes, index: int) -> bool:
    """Tell whether a flag is set."""
    return bool(bitmap[index >> 3] >> (index & 7) & 1)


def rank(bitmap: bytes, index: int) -> int:
    """Count the flags set before ``index``."""
    return (int.from_bytes(bitmap[: (index >> 3) + 1], "little") & ((1 << index) - 1)).bit_count()


def bitmap_size(count: int) -> int:
    """Return the bytes of a bitmap of ``count`` flags."""
    return (count + 7) >> 3
