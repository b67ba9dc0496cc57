"""Instances in canonical order, so that the order of the input cannot matter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.decision.codes import Flags, Floats, Rows
from qmtl_worlds.decision.inputs import NO_EVIDENCE, EvaluationInput
from qmtl_worlds.metrics.panel import ReturnPanel

NO_SECTOR = -1


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The columns of an ``EvaluationInput`` sorted by key; ``row`` is each instance's row in the input.

    ``sector`` numbers the sorted names in ``sectors``, ``NO_SECTOR`` where there is none. A side is 0 long, 1 short.
    """

    keys: tuple[str, ...]
    row: Rows
    side: NDArray[np.uint8]
    bound_at: Floats
    sector: NDArray[np.int32]
    sectors: tuple[str, ...]
    active: Flags
    weight: Floats
    dwell_since: Floats
    in_streak: NDArray[np.int32]
    out_streak: NDArray[np.int32]
    evidence: NDArray[np.int64]
    fresh_until: Floats
    held: Flags

    @property
    def count(self) -> int:
        """Return the number of instances."""
        return len(self.keys)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Return the keys of ``rows``, in their order."""
        return tuple(self.keys[row] for row in rows.tolist())


def sort_columns(inputs: EvaluationInput, *, selection_checksum: str) -> Frame:
    """Sort the input by key; streaks of another selection checksum begin anew."""
    order = sorted(range(inputs.count), key=inputs.keys.__getitem__)
    row = np.array(order, dtype=np.int64)
    same = inputs.streak_checksum == selection_checksum
    sectors = tuple(sorted(name for name in set(inputs.sector) if name))
    number: dict[str | None, int] = {name: position for position, name in enumerate(sectors)}
    sector = np.fromiter(map(number.get, inputs.sector, repeat(NO_SECTOR)), np.int32, inputs.count)
    return Frame(
        keys=tuple(map(inputs.keys.__getitem__, order)),
        row=row,
        side=inputs.side[row].astype(np.uint8),
        bound_at=np.where(np.isnan(inputs.bound_at), np.inf, inputs.bound_at)[row],
        sector=sector[row],
        sectors=sectors,
        active=inputs.active[row].astype(bool),
        weight=np.where(inputs.active, inputs.weight, 0.0)[row],
        dwell_since=inputs.dwell_since[row],
        in_streak=_carried(inputs.in_streak, row, same=same),
        out_streak=_carried(inputs.out_streak, row, same=same),
        evidence=inputs.evidence[row] if same else np.full(inputs.count, NO_EVIDENCE, dtype=np.int64),
        fresh_until=inputs.fresh_until[row],
        held=inputs.held[row].astype(bool),
    )


def last_closes(panel: ReturnPanel, *, as_of: int) -> NDArray[np.int64]:
    """Return, for each row of the panel, the close of its last session with a return by ``as_of``; -1 without one."""
    closes = np.full(panel.count, NO_EVIDENCE, dtype=np.int64)
    pending = np.arange(panel.count)
    for column in range(panel.window(as_of=as_of).stop - 1, -1, -1):
        if not len(pending):
            break
        seen = ~np.isnan(panel.returns[pending, column])
        closes[pending[seen]] = panel.closes[column]
        pending = pending[~seen]
    return closes


def _carried(streak: NDArray[np.int32], row: Rows, *, same: bool) -> NDArray[np.int32]:
    return streak[row].astype(np.int32) if same else np.zeros(len(row), dtype=np.int32)
