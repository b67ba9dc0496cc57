"""What a selected set must satisfy, and how much of it is used up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.decision_steps import NOBODY
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import OK, TOLERANCE, Codes, Flags, Floats, Rows, code, first_reason
from qmtl_worlds.decision.columns import NO_SECTOR, Frame
from qmtl_worlds.decision.expressions import Operand
from qmtl_worlds.decision.pairs import PairRule
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.document import Exposure

SIDES: Final = (Side.LONG, Side.SHORT)
_BLOCKER = np.int16
EXEMPT: Final = -1
"""The bucket of instances that no sector cap touches."""


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """The caps of a policy; pairs of numbers are long, short. ``per_sector`` is infinite where there is no cap."""

    total: int
    by_side: tuple[int, int]
    slot: tuple[float, float]
    max_weight: tuple[float, float]
    per_sector: float
    gross: tuple[float, float]
    leverage: float
    pairs: PairRule | None


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """What each instance would use: its side, sector bucket, slot weight, and leverage (that of the cap if unknown)."""

    side: NDArray[np.uint8]
    bucket: NDArray[np.int32]
    slot: Floats
    leverage: Floats
    buckets: int


def limits_of(policy: CompiledPolicy, pairs: PairRule | None) -> Limits:
    """Return the caps of ``policy``."""
    selection = policy.document.selection
    exposure = selection.constraints.exposure
    long, short = SIDES
    return Limits(
        total=selection.topk.total,
        by_side=(_slots(policy, long), _slots(policy, short)),
        slot=(policy.slot_weight(long), policy.slot_weight(short)),
        max_weight=(policy.max_weight(long), policy.max_weight(short)),
        per_sector=exposure.sector_cap.per_sector if exposure.sector_cap else np.inf,
        gross=(exposure.gross_budget[long], exposure.gross_budget[short]),
        leverage=exposure.leverage_cap,
        pairs=pairs,
    )


def _slots(policy: CompiledPolicy, side: Side) -> int:
    """Return the slots of a side, none where a slot is worth nothing: a member always has a weight."""
    return policy.document.selection.topk.by_side[side] if policy.slot_weight(side) > 0 else 0


def book_of(frame: Frame, leverage: Operand, limits: Limits, exposure: Exposure) -> Book:
    """Return what each instance uses; instances without a sector share one bucket, or have none if exempt."""
    missing = EXEMPT if exposure.on_missing_sector == "exempt" else len(frame.sectors)
    assumed = exposure.assume_leverage if exposure.assume_leverage is not None else _unreported(exposure)
    return Book(
        side=frame.side,
        bucket=np.where(frame.sector == NO_SECTOR, missing, frame.sector).astype(np.int32),
        slot=np.asarray(limits.slot)[frame.side],
        leverage=np.where(leverage.reason == OK, leverage.value, assumed),
        buckets=len(frame.sectors) + 1,
    )


def _unreported(exposure: Exposure) -> float:
    """Take an unknown leverage for 1 where no cap is given, else for the whole cap."""
    return 1.0 if exposure.max_leverage is None else exposure.max_leverage


def exposure_faults(frame: Frame, leverage: Operand, exposure: Exposure) -> Codes:
    """Return OK, or what an instance lacks that the exposure rules need to know: its sector, its leverage."""
    no_sector = (frame.sector == NO_SECTOR) & (exposure.on_missing_sector == "reject") & bool(exposure.sector_cap)
    needed = exposure.max_leverage is not None and exposure.assume_leverage is None
    no_leverage = (leverage.reason != OK) & needed
    return first_reason(
        [(no_sector, code(Reason.SECTOR_MISSING)), (no_leverage, code(Reason.LEVERAGE_MISSING))], otherwise=OK
    )


@dataclass(slots=True, eq=False)
class Usage:
    """How much of the caps a growing set uses."""

    book: Book
    total: int = 0
    by_side: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, dtype=np.int64))
    gross: Floats = field(default_factory=lambda: np.zeros(2))
    by_bucket: Floats = field(init=False)
    leverage: float = 0.0

    def __post_init__(self) -> None:
        """Start with empty sectors."""
        self.by_bucket = np.zeros(self.book.buckets)

    def add(self, row: int) -> None:
        """Count one more member."""
        side, bucket, slot = self.book.side[row], self.book.bucket[row], float(self.book.slot[row])
        self.total += 1
        self.by_side[side] += 1
        self.gross[side] += slot
        if bucket != EXEMPT:
            self.by_bucket[bucket] += slot
        self.leverage += slot * float(self.book.leverage[row])


@dataclass(frozen=True, slots=True, eq=False)
class Conflicts:
    """For each candidate the first member it conflicts with (its place in the set, NOBODY for none), and how."""

    blocker: NDArray[np.int16]
    reason: Codes

    @classmethod
    def none(cls, count: int) -> Conflicts:
        """Return ``count`` candidates without conflict."""
        return cls(np.full(count, NOBODY, dtype=_BLOCKER), np.zeros(count, dtype=np.uint8))


def find_conflicts(pairs: PairRule | None, rows: Rows, members: Rows) -> Conflicts:
    """Find the first conflict of each row with ``members``; a known one comes before an unknown one."""
    found = Conflicts.none(len(rows))
    if pairs is None or not len(rows) or not len(members):
        return found
    known, unknown = pairs.conflicts(rows, members)
    for hits, reason in ((unknown, Reason.CORRELATION_UNKNOWN), (known, Reason.CORRELATED)):
        where = hits.any(axis=1)
        found.blocker[where] = hits.argmax(axis=1)[where]
        found.reason[where] = code(reason)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Bindings:
    """The first constraint that keeps each candidate out (OK: none), and the figures that were compared."""

    reason: Codes
    value: Floats
    limit: Floats


def first_binding(rows: Rows, conflicts: Conflicts, usage: Usage, limits: Limits) -> Bindings:
    """Find what keeps each of ``rows`` out: total, side, correlation, sector, gross, leverage, in this order.

    Coefficients are filled in later, once, for those that end up rejected by them: until then NaN.
    """
    book, side = usage.book, usage.book.side[rows]
    slot, bucket = book.slot[rows], book.bucket[rows]
    in_sector = np.where(bucket == EXEMPT, 0.0, usage.by_bucket[bucket] + slot)
    total = np.full(len(rows), usage.total + 1.0)
    leverage = usage.leverage + slot * book.leverage[rows]
    gross_limit, side_limit = np.array(limits.gross)[side], np.array(limits.by_side, dtype=np.float64)[side]
    cap = np.nan if limits.pairs is None else limits.pairs.cap
    tests: tuple[_Test, ...] = (
        _over(Reason.TOTAL_FULL, total, np.full(len(rows), float(limits.total))),
        _over(Reason.SIDE_FULL, (usage.by_side[side] + 1).astype(np.float64), side_limit),
        (conflicts.reason != OK, conflicts.reason, np.full(len(rows), np.nan), np.full(len(rows), cap)),
        _over(Reason.SECTOR_CAP, in_sector, np.full(len(rows), limits.per_sector)),
        _over(Reason.GROSS_BUDGET, usage.gross[side] + slot, gross_limit),
        _over(Reason.LEVERAGE_CAP, leverage, np.full(len(rows), limits.leverage)),
    )
    found = Bindings(np.full(len(rows), OK), np.full(len(rows), np.nan), np.full(len(rows), np.nan))
    for where, reason, value, limit in reversed(tests):
        found.reason[where] = reason[where]
        found.value[where] = value[where]
        found.limit[where] = limit[where]
    return found


_Test = tuple[Flags, Codes, Floats, Floats]


def _over(reason: Reason, value: Floats, limit: Floats) -> _Test:
    return value > limit + TOLERANCE, np.full(len(value), code(reason)), value, limit
