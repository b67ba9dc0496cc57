"""Take candidates in order while every constraint still holds, in growing blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.decision_steps import NOBODY
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import OK, Codes, Flags, Floats, Rows, code
from qmtl_worlds.decision.constraints import Bindings, Book, Conflicts, Limits, Usage, find_conflicts, first_binding

_FIRST_BLOCK: Final = 32
_LARGEST_BLOCK: Final = 512
_NOT_OPTIMAL: Final = code(Reason.NOT_OPTIMAL)
_BY_CORRELATION: Final = (code(Reason.CORRELATED), code(Reason.CORRELATION_UNKNOWN))


@dataclass(frozen=True, slots=True, eq=False)
class Rejections:
    """For each candidate, in order: the first constraint that kept it out (OK: taken), figures, and the blocker.

    ``blocker`` is a place in ``Selection.members`` for correlations, NOBODY for other constraints, whose blockers are
    the members of the same side or sector.
    """

    reason: Codes
    value: Floats
    limit: Floats
    blocker: NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """``members`` are the fixed rows and then the ``admitted`` ones, in the order in which they were taken."""

    order: Rows
    members: Rows
    admitted: Rows
    rejections: Rejections


def select(order: Rows, fixed: Rows, book: Book, limits: Limits, *, allowed: Flags | None = None) -> Selection:
    """Take each of ``order`` that no constraint keeps out, given those before it and the ``fixed`` rows.

    The fixed rows are in whatever they break. ``allowed`` (over all instances) restricts who is taken: an exact
    solver's answer is replayed with it, and whoever it leaves out without a binding constraint is ``not_optimal``.
    """
    walk = _Walk(order, fixed, book, limits, np.ones(len(book.side), dtype=bool) if allowed is None else allowed)
    start, size = 0, _FIRST_BLOCK
    while start < len(order):
        walk.visit(start, min(start + size, len(order)))
        start, size = start + size, min(2 * size, _LARGEST_BLOCK)
    return walk.result()


class _Walk:
    """A selection being made; arrays are aligned with ``order``."""

    def __init__(self, order: Rows, fixed: Rows, book: Book, limits: Limits, allowed: Flags) -> None:
        self._order, self._fixed, self._limits, self._allowed = order, fixed, limits, allowed
        self._usage = Usage(book)
        self._members: list[int] = []
        for row in fixed.tolist():
            self._take(row)
        count = len(order)
        self._found = Rejections(
            np.zeros(count, dtype=np.uint8),
            np.full(count, np.nan),
            np.full(count, np.nan),
            np.full(count, NOBODY, dtype=np.int16),
        )

    def visit(self, start: int, stop: int) -> None:
        rows = self._order[start:stop]
        conflicts = self._conflicts(rows)
        at = 0
        while at < len(rows):
            bindings = first_binding(rows[at:], _tail(conflicts, at), self._usage, self._limits)
            free = np.flatnonzero((bindings.reason == OK) & self._allowed[rows[at:]])
            passed = int(free[0]) if len(free) else len(rows) - at
            self._reject(start + at, passed, bindings, conflicts.blocker[at:])
            at += passed
            if at < len(rows):
                self._take(int(rows[at]))
                self._add_conflicts(conflicts, rows, at)
                at += 1

    def result(self) -> Selection:
        members = np.array(self._members, dtype=np.int64)
        self._fill_coefficients(members)
        return Selection(self._order, members, members[len(self._fixed) :], self._found)

    def _take(self, row: int) -> None:
        self._usage.add(row)
        self._members.append(row)

    def _open(self, rows: Rows) -> Flags:
        """Tell which rows still have a slot; only these need a look at correlations."""
        if self._usage.total >= self._limits.total:
            return np.zeros(len(rows), dtype=bool)
        side = self._usage.book.side[rows]
        return self._usage.by_side[side] < np.array(self._limits.by_side)[side]

    def _conflicts(self, rows: Rows) -> Conflicts:
        conflicts, places = Conflicts.none(len(rows)), np.flatnonzero(self._open(rows))
        found = find_conflicts(self._limits.pairs, rows[places], np.array(self._members, dtype=np.int64))
        conflicts.blocker[places], conflicts.reason[places] = found.blocker, found.reason
        return conflicts

    def _add_conflicts(self, conflicts: Conflicts, rows: Rows, at: int) -> None:
        """Add the conflicts of the rest of the block with the row just taken."""
        rest = np.arange(at + 1, len(rows))
        places = rest[self._open(rows[rest]) & (conflicts.reason[rest] == OK)]
        found = find_conflicts(self._limits.pairs, rows[places], rows[at : at + 1])
        hit = found.reason != OK
        conflicts.blocker[places[hit]] = len(self._members) - 1
        conflicts.reason[places[hit]] = found.reason[hit]

    def _reject(self, start: int, count: int, bindings: Bindings, blocker: NDArray[np.int16]) -> None:
        there, here = slice(start, start + count), slice(0, count)
        reason = bindings.reason[here]
        self._found.reason[there] = np.where(reason == OK, _NOT_OPTIMAL, reason)
        self._found.value[there] = bindings.value[here]
        self._found.limit[there] = bindings.limit[here]
        self._found.blocker[there] = np.where(np.isin(reason, _BY_CORRELATION), blocker[here], NOBODY)

    def _fill_coefficients(self, members: Rows) -> None:
        places = np.flatnonzero(self._found.blocker != NOBODY)
        if self._limits.pairs is not None and len(places):
            blockers = members[self._found.blocker[places]]
            self._found.value[places] = self._limits.pairs.figures(self._order[places], blockers)


def _tail(conflicts: Conflicts, at: int) -> Conflicts:
    return Conflicts(conflicts.blocker[at:], conflicts.reason[at:])
