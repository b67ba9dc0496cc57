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


def ordered_sum(block: Floats) -> Floats:
    """Return the sum over the first axis, adding neighbors in pairs, counted from the last one.

    Zeros in front change no bit, so a series gives the same sum whatever history others have before it.
    """
    if not len(block):
        return np.zeros(block.shape[1:])
    while (count := len(block)) > 1:
        odd = count & 1
        pairs = np.empty((count // 2 + odd, *block.shape[1:]))
        np.add(block[odd::2], block[odd + 1 :: 2], out=pairs[odd:])
        pairs[:odd] = block[:odd]
        block = pairs
    total: Floats = block[0]
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


def running_max(block: Floats) -> Floats:
    """Replace each value by the largest so far along the first axis, in place."""
    for before, here in pairwise(block):
        np.maximum(before, here, out=here)
    return block
