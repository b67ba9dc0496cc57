"""Memory between evaluations: streaks on distinct evidence, and dwell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.decision.codes import FAIL, UNKNOWN, Codes, Flags, Floats, Rows
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.policy.document import Hysteresis


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Streaks after this evaluation, the evidence they stand on, and the seconds of dwell that are left (0: over)."""

    in_streak: NDArray[np.int32]
    out_streak: NDArray[np.int32]
    evidence: NDArray[np.int64]
    dwell_left: Floats


def remember(frame: Frame, state: Codes, target: Flags, closes: NDArray[np.int64], *, dwell_left: Floats) -> Memory:
    """Count this evaluation where ``closes`` (each instance's last complete period) is later than what was counted.

    In the target: the promote streak grows and the demote streak ends; outside it the other way round. UNKNOWN and held
    instances lose their promote streak at once; UNKNOWN leaves the demote streak and the evidence alone. Whoever left
    the active set (withdrawn, deactivated, rolled back) after the evidence that was counted begins anew.
    """
    known = state != UNKNOWN
    counted = known & (closes > frame.evidence)
    left = ~frame.active & (frame.dwell_since > frame.evidence)
    before = np.where(left, 0, frame.in_streak)
    in_streak = np.where(counted, np.where(target, before + 1, 0), before)
    out_streak = np.where(counted, np.where(target, 0, frame.out_streak + 1), frame.out_streak)
    return Memory(
        in_streak=np.where(known & ~frame.held, in_streak, 0).astype(np.int32),
        out_streak=out_streak.astype(np.int32),
        evidence=np.where(counted, closes, frame.evidence),
        dwell_left=dwell_left,
    )


def dwell_left(frame: Frame, hysteresis: Hysteresis, *, now: float) -> Floats:
    """Return the seconds until each instance has been in its state for ``min_dwell``; never changed: none."""
    left = frame.dwell_since + hysteresis.min_dwell.total_seconds() - now
    return np.where(np.isnan(left), 0.0, np.maximum(left, 0.0))


def kept(frame: Frame, state: Codes, target: Flags, memory: Memory, *, demote_after: int) -> Rows:
    """Return the active instances that stay whatever the target says.

    Those in the target; those outside it for less than ``demote_after`` evaluations; those that cannot be judged; and
    those merely outranked whose dwell is not over. A failed rule is not delayed by dwell, and nothing keeps a held one.
    """
    protected = (memory.out_streak < demote_after) | (state == UNKNOWN) | ((memory.dwell_left > 0) & (state != FAIL))
    return np.flatnonzero(frame.active & ~frame.held & (target | protected))


def admittable(frame: Frame, target: Flags, memory: Memory, *, promote_after: int) -> Flags:
    """Tell which inactive instances may come in: in the target for long enough, and out for the minimum dwell."""
    ready = (memory.in_streak >= promote_after) & (memory.dwell_left <= 0)
    return target & ready & ~frame.active & ~frame.held
