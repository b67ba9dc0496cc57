"""From the target to the membership: who stays, who comes in, who leaves, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qmtl_worlds.contracts.decision_steps import OUTCOMES
from qmtl_worlds.contracts.reasons import Outcome, Reason
from qmtl_worlds.decision.codes import EMPTY, FAIL, OK, PASS, UNKNOWN, Codes, Flags, Rows, code, first_reason
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.constraints import Book, Limits, find_conflicts
from qmtl_worlds.decision.hysteresis import Memory, admittable, kept
from qmtl_worlds.decision.scoring import Eligibility
from qmtl_worlds.decision.selection import Selection
from qmtl_worlds.decision.solver import Problem, select_beside
from qmtl_worlds.policy.document import Selection as SelectionPolicy

_NUMBER = {outcome: np.uint8(number) for number, outcome in enumerate(OUTCOMES)}


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What membership is decided from; ``blocked`` is why nothing may be raised in this run, None where it may."""

    frame: Frame
    eligible: Eligibility
    target: Selection
    memory: Memory
    problem: Problem
    policy: SelectionPolicy
    blocked: Reason | None

    @property
    def in_target(self) -> Flags:
        """Tell who is in the selection without memory."""
        return _flags(self.frame.count, self.target.members)

    @property
    def slotless(self) -> Flags:
        """Tell whose side has no slot, or slots that are worth nothing."""
        flags: Flags = self.problem.book.slot <= 0
        return flags


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """``final`` members after the whole plan, ``stay`` after its reducing part alone, best rank first.

    ``late`` is the selection beside the kept members. ``outcome`` and ``reason`` are for every instance.
    """

    final: Rows
    stay: Rows
    queued: Rows
    late: Selection
    outcome: Codes
    reason: Codes


def settle(scene: Scene) -> Membership:
    """Decide the membership.

    Final is the selection over the kept members (fixed in) and the admittable instances; a change budget queues the
    last ones. Where kept members alone break a count or the correlation cap, nothing is promoted. Where increases are
    blocked, nothing is promoted and nobody leaves for being outranked. On a side without slots or budget nobody stays:
    hysteresis protects no member that may have no weight.
    """
    frame, policy = scene.frame, scene.policy
    ranked = by_rank(scene.eligible.order, frame.count)
    keep = kept(frame, scene.eligible.state, scene.in_target, scene.memory, demote_after=policy.hysteresis.demote_after)
    keep = keep[~scene.slotless[keep]]
    leaves_now = frame.held | scene.slotless | ((scene.eligible.state == FAIL) & ~_flags(frame.count, keep))
    stay = _sorted(np.flatnonzero(frame.active & ~leaves_now), ranked)
    ready = admittable(frame, scene.in_target, scene.memory, promote_after=policy.hysteresis.promote_after)
    order = scene.eligible.order[ready[scene.eligible.order]]
    keep = _sorted(keep, ranked)
    over = _breaks(keep, scene.problem.book, scene.problem.limits)
    late = select_beside(replace(scene.problem, order=EMPTY if scene.blocked or over else order, fixed=keep))
    taken, queued = _budget(late.admitted, policy.max_changes_per_apply)
    final = stay if scene.blocked else _sorted(np.concatenate([keep, taken]), ranked)
    outcome = _outcomes(frame, final, queued)
    reason = _reasons(scene, final, queued, ready=ready, over=over)
    return Membership(final, stay, queued, late, outcome, reason)


def by_rank(order: Rows, count: int) -> Rows:
    """Return the rank of every instance from 1, ``count + 1`` for those that are not in ``order``."""
    ranks = np.full(count, count + 1, dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def _sorted(rows: Rows, ranks: Rows) -> Rows:
    return rows[np.lexsort((rows, ranks[rows]))]


def _flags(count: int, rows: Rows) -> Flags:
    flags = np.zeros(count, dtype=bool)
    flags[rows] = True
    return flags


def _breaks(members: Rows, book: Book, limits: Limits) -> bool:
    sides = np.bincount(book.side[members], minlength=2)
    if len(members) > limits.total or bool(np.any(sides > np.array(limits.by_side))):
        return True
    return any(
        bool(find_conflicts(limits.pairs, members[place : place + 1], members[:place]).reason[0] != OK)
        for place in range(1, len(members))
    )


def _budget(admitted: Rows, limit: int | None) -> tuple[Rows, Rows]:
    return (admitted, EMPTY) if limit is None else (admitted[:limit], admitted[limit:])


def _outcomes(frame: Frame, final: Rows, queued: Rows) -> Codes:
    member, waiting = _flags(frame.count, final), _flags(frame.count, queued)
    cases: list[tuple[Flags, Codes | np.uint8]] = [
        (frame.active & member, _NUMBER[Outcome.HOLD]),
        (frame.active, _NUMBER[Outcome.DEMOTE]),
        (member, _NUMBER[Outcome.PROMOTE]),
        (waiting, _NUMBER[Outcome.QUEUED]),
    ]
    return first_reason(cases, otherwise=_NUMBER[Outcome.OUT])


def _reasons(scene: Scene, final: Rows, queued: Rows, *, ready: Flags, over: bool) -> Codes:
    frame, state = scene.frame, scene.eligible.state
    member, target, active = _flags(frame.count, final), scene.in_target, frame.active
    rejected = np.zeros(frame.count, dtype=np.uint8)
    rejected[scene.target.order] = scene.target.rejections.reason
    hysteresis, memory = scene.policy.hysteresis, scene.memory
    no_room = Reason.KEPT_OVER_CAPS if over else Reason.NO_ROOM
    cases: list[tuple[Flags, Codes | np.uint8]] = [
        (frame.held, code(Reason.HELD)),
        (active & scene.slotless, code(Reason.SIDE_FULL)),
        (active & member & target, code(Reason.KEPT)),
        (active & member & (state == UNKNOWN), code(Reason.KEPT_UNKNOWN)),
        (active & member & (memory.out_streak < hysteresis.demote_after), code(Reason.KEPT_BY_STREAK)),
        (active & member & (memory.dwell_left > 0) & (state != FAIL), code(Reason.KEPT_BY_DWELL)),
        (active & member, code(scene.blocked or Reason.KEPT)),
        (active & (state != PASS), scene.eligible.reason),
        (active, code(Reason.OUTRANKED)),
        (member, code(Reason.PROMOTED)),
        (_flags(frame.count, queued), code(Reason.QUEUED_CHANGE_BUDGET)),
        (ready, code(scene.blocked or no_room)),
        (target & (memory.in_streak < hysteresis.promote_after), code(Reason.STREAK_SHORT)),
        (target, code(Reason.COOLING_DOWN)),
        (state != PASS, scene.eligible.reason),
    ]
    return first_reason(cases, otherwise=rejected)
