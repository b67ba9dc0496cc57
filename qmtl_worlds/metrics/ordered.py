"""Sums and running products whose last bit does not depend on the machine.

``np.sum`` adds in an order that changes with the processor, the memory layout and the number of rows. Here every column
of a time-major block goes through the same elementwise additions, wherever and among however many others it stands.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A series of equal returns has a deviation of a few 1e-17 by rounding alone, where it should have none.
ROUNDING: Final = 1e-13


class Scratch:
    """Named arrays that every block of a run uses again: to be given fresh memory costs more than the arithmetic."""

    def __init__(self) -> None:
        self._arrays: dict[str, Floats] = {}

    def array(self, name: str, rows: int, columns: int) -> Floats:
        """Return a float64[rows, columns] with anything in it; the last one of that name is given up."""
        flat = self._arrays.get(name)
        if flat is None or flat.size < rows * columns:
            flat = self._arrays[name] = np.empty(rows * columns)
        return flat[: rows * columns].reshape(rows, columns)


def ordered_sum(block: Floats, scratch: Scratch | None = None) -> Floats:
    """Return the sum over the first axis of float64[T, B].

    The order is that of folding in half, again and again, a block filled up with zeros in front to a power of two. So
    a series gives the same sum whatever history others have before it.
    """
    count, width = block.shape
    if count < 2:  # noqa: PLR2004 - nothing to fold
        return block[0].copy() if count else np.zeros(width)
    half = 1 << (count - 1).bit_length() - 1
    extra = count - half
    folded = (scratch or Scratch()).array("sum", half, width)
    folded[: half - extra] = block[extra:half]
    np.add(block[half:], block[:extra], out=folded[half - extra :])
    while half > 1:
        half //= 2
        np.add(folded[:half], folded[half : 2 * half], out=folded[:half])
    total: Floats = folded[0].copy()
    return total


def running_product(block: Floats) -> Floats:
    """Multiply up along the first axis, in place, in the order of time."""
    for before, here in pairwise(block):
        np.multiply(before, here, out=here)
    return block


def running_sum(block: Floats) -> Floats:
    """Add up along the first axis, in place, in order."""
    for before, here in pairwise(block):
        np.add(before, here, out=here)
    return block


def running_max(block: Floats, *, start: float, out: Floats) -> Floats:
    """Write the largest of ``start`` and all values so far along the first axis to ``out``."""
    np.maximum(block[:1], start, out=out[:1])
    for here, (before, after) in zip(block[1:], pairwise(out), strict=True):
        np.maximum(before, here, out=after)
    return out
