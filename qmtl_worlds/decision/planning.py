"""From a membership to a plan: the weights after it, the part that waits for nobody, and the reason of each change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import FAIL, OK, PASS, TOLERANCE, Codes, Floats, Rows, code
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.exposure import breaches
from qmtl_worlds.decision.membership import Membership
from qmtl_worlds.decision.weights import Scheme, Sizing, size


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """Weights of every instance now, after the reducing part, and after the whole plan; 0 where not a member.

    ``final`` are the members after the plan, best rank first. Without ``has_plan`` all three are equal.
    """

    before: Floats
    reduced: Floats
    after: Floats
    final: Rows
    reason: Codes
    reasons: Mapping[str, ChangeReason]
    has_plan: bool
    scheme: Scheme


def plan_weights(frame: Frame, state: Codes, membership: Membership, sizing: Sizing, *, blocked: bool) -> Planned:
    """Size the membership, and split off what only reduces.

    The reducing part drops who failed or is held, and cuts every other member to the least of what it has, what the set
    that remains may have, and what it will have: a subset of what is permitted now, under every cap. Where increases
    are ``blocked`` it is the whole plan. Nobody is raised who does not pass every rule now.
    """
    before = np.where(frame.active, frame.weight, 0.0)
    sized = size(membership.final, sizing)
    after, reason = _spread(frame.count, membership.final, sized.weight), np.zeros(frame.count, dtype=np.uint8)
    reason[membership.final] = sized.reason
    unproven = frame.active & (state != PASS) & (after > before)
    after, reason = np.where(unproven, before, after), np.where(unproven, code(Reason.NO_RAISE), reason)
    stays = _spread(frame.count, membership.stay, size(membership.stay, sizing).weight)
    reduced = np.minimum(before, stays)
    reduced[membership.final] = np.minimum(reduced, after)[membership.final]
    if blocked:
        after, reason = reduced, np.where(after > reduced, code(Reason.NO_RAISE), reason)
    if not _worth_it(frame, before, after, sizing):
        active = membership.final
        within = np.where(after != before, code(Reason.WITHIN_BAND), reason)
        return Planned(before, before, before, active, within, {}, has_plan=False, scheme=sized.scheme)
    final = membership.final[after[membership.final] > 0]
    planned = Planned(before, reduced, after, final, reason, {}, has_plan=True, scheme=sized.scheme)
    return replace(planned, reasons=_change_reasons(frame, state, planned))


def _spread(count: int, rows: Rows, values: Floats) -> Floats:
    column = np.zeros(count)
    column[rows] = values
    return column


def _worth_it(frame: Frame, before: Floats, after: Floats, sizing: Sizing) -> bool:
    """Tell whether membership changes, a weight moves by more than the band, or a cap is broken and gets mended."""
    moved = np.abs(after - before)
    if bool(np.any((after > 0) != frame.active)) or bool(np.any(moved > sizing.band + TOLERANCE)):
        return True
    rows = np.flatnonzero(before > 0)
    return bool(np.any(after < before)) and bool(breaches(rows, before[rows], sizing.book, sizing.limits))


def _change_reasons(frame: Frame, state: Codes, planned: Planned) -> dict[str, ChangeReason]:
    before, after, found = planned.before, planned.after, {}
    for row in np.flatnonzero(after != before).tolist():
        if before[row] == 0:
            found[frame.keys[row]] = ChangeReason.SELECTED
        elif after[row] == 0:
            found[frame.keys[row]] = _leaving(frame, state, planned, row)
        else:
            cut = after[row] < before[row] and planned.reason[row] != OK
            found[frame.keys[row]] = ChangeReason.CAP if cut else ChangeReason.RESIZED
    return found


def _leaving(frame: Frame, state: Codes, planned: Planned, row: int) -> ChangeReason:
    """Return why a member leaves; only who leaves for being outranked waits for the increasing part."""
    if frame.held[row]:
        return ChangeReason.WITHDRAWN
    if state[row] == FAIL:
        return ChangeReason.GATE_FAIL
    return ChangeReason.CAP if planned.reduced[row] == 0 else ChangeReason.OUTRANKED
