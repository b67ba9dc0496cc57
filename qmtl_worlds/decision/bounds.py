"""What no selection can exceed, and who cannot be part of a better one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qmtl_worlds.decision.codes import OK, Floats, Rows
from qmtl_worlds.decision.constraints import Book, Limits, Usage, find_conflicts, first_binding


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Choose among ``rows`` (best first, each possible by itself) beside the ``fixed`` ones, which use ``usage``.

    ``value`` belongs to ``rows``; ``slots`` are left in all, ``by_side`` long and short.
    """

    rows: Rows
    fixed: Rows
    value: Floats
    book: Book
    limits: Limits
    usage: Usage
    slots: int
    by_side: tuple[int, int]


def program_of(order: Rows, fixed: Rows, book: Book, limits: Limits, value: Floats) -> Program:
    """Return the selection problem without the candidates that the fixed rows alone keep out."""
    usage = Usage(book)
    for row in fixed.tolist():
        usage.add(row)
    rows = order[first_binding(order, find_conflicts(limits.pairs, order, fixed), usage, limits).reason == OK]
    left = [max(0, limit - int(used)) for limit, used in zip(limits.by_side, usage.by_side, strict=True)]
    slots = max(0, limits.total - usage.total)
    return Program(rows, fixed, value[rows], book, limits, usage, slots, (left[0], left[1]))


def total_value(values: Floats) -> float:
    """Return the sum, rounded once: the same in every order, on every machine and Python."""
    return math.fsum(values.tolist())


def relaxed_bound(program: Program) -> float:
    """Return the value of the best set under the counts alone: no set can be worth more."""
    return _best(program, program.slots, program.by_side)


def promising(program: Program, *, beat: float) -> Rows:
    """Return the places of candidates that could be part of a set worth at least ``beat``.

    Whoever cannot reach it even beside the best of all others is left out.
    """
    long, short = program.by_side
    rest = np.array(
        [
            _best(program, program.slots - 1, (long - 1, short)),
            _best(program, program.slots - 1, (long, short - 1)),
        ]
    )
    return np.flatnonzero(program.value + rest[program.book.side[program.rows]] >= beat - 1e-9)


def _best(program: Program, slots: int, by_side: tuple[int, int]) -> float:
    side = program.book.side[program.rows]
    tops = [program.value[side == number][: max(0, count)] for number, count in enumerate(by_side)]
    union = np.sort(np.concatenate(tops))[::-1][: max(0, slots)]
    return total_value(union[union > 0])
