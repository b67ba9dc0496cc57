"""Which caps a set with given weights breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmtl_worlds.contracts.decision_envelope import Violation
from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.bounds import total_value
from qmtl_worlds.decision.codes import OK, PASS, REASONS, TOLERANCE, Floats, Rows, code
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.constraints import EXEMPT, SIDES, Book, Limits, find_conflicts
from qmtl_worlds.decision.scoring import Eligibility


@dataclass(frozen=True, slots=True)
class Breach:
    """A cap, what it is on (a side, the number of a sector), what is used, and the limit."""

    reason: Reason
    subject: str
    value: float
    limit: float


def breaches(rows: Rows, weights: Floats, book: Book, limits: Limits) -> list[Breach]:
    """Return the budgets that ``weights`` of ``rows`` break: sides, sectors, leverage, then single weights."""
    side, bucket = book.side[rows], book.bucket[rows]
    used = [
        Breach(Reason.GROSS_BUDGET, name.value, total_value(weights[side == number]), limits.gross[number])
        for number, name in enumerate(SIDES)
    ]
    used += [
        Breach(Reason.SECTOR_CAP, str(number), total_value(weights[bucket == number]), limits.per_sector)
        for number in sorted(set(bucket.tolist()) - {EXEMPT})
    ]
    load = total_value(weights * book.leverage[rows])
    used.append(Breach(Reason.LEVERAGE_CAP, "", load, limits.leverage))
    used += [
        Breach(Reason.MAX_WEIGHT, str(row), float(weight), limits.max_weight[int(book.side[row])])
        for row, weight in zip(rows.tolist(), weights.tolist(), strict=True)
    ]
    return [breach for breach in used if breach.value > breach.limit + TOLERANCE]


def violations(frame: Frame, eligible: Eligibility, book: Book, limits: Limits) -> tuple[Violation, ...]:
    """Return what the present active set breaks: caps of the whole set first, then the rules of each member by key."""
    rows = np.flatnonzero(frame.active)
    found = [_of_set(frame, breach) for breach in breaches(rows, frame.weight[rows], book, limits)]
    counts = [(Reason.TOTAL_FULL, "active", len(rows), limits.total)]
    for number, name in enumerate(SIDES):
        mine = int(np.sum(book.side[rows] == number))
        counts.append((Reason.SIDE_FULL, name.value, mine, limits.by_side[number]))
    found = [_violation(why, "", name, value, limit) for why, name, value, limit in counts if value > limit] + found
    found += _pairs(frame, rows, limits)
    for row in rows[(eligible.state[rows] != PASS) | frame.held[rows]].tolist():
        why = Reason.HELD if frame.held[row] else REASONS[eligible.reason[row]]
        found.append(_violation(why, frame.keys[row], "", None, None))
    return tuple(found)


def _of_set(frame: Frame, breach: Breach) -> Violation:
    key, rule = "", breach.subject
    if breach.reason is Reason.MAX_WEIGHT:
        key, rule = frame.keys[int(breach.subject)], ""
    if breach.reason is Reason.SECTOR_CAP:
        rule = (*frame.sectors, "(no sector)")[int(breach.subject)]
    return _violation(breach.reason, key, rule, breach.value, breach.limit)


def _pairs(frame: Frame, rows: Rows, limits: Limits) -> list[Violation]:
    """Return one violation for each member that conflicts with one before it, by key."""
    if limits.pairs is None:
        return []
    found = []
    for place in range(1, len(rows)):
        conflict = find_conflicts(limits.pairs, rows[place : place + 1], rows[:place])
        if conflict.reason[0] == OK:
            continue
        other = rows[conflict.blocker]
        rho = float(limits.pairs.figures(rows[place : place + 1], other)[0])
        why = Reason.CORRELATED if conflict.reason[0] == code(Reason.CORRELATED) else Reason.CORRELATION_UNKNOWN
        value = None if np.isnan(rho) else rho
        found.append(_violation(why, frame.keys[rows[place]], frame.keys[int(other[0])], value, limits.pairs.cap))
    return found


def _violation(why: Reason, key: str, rule: str, value: float | None, limit: float | None) -> Violation:
    return {"code": why.value, "key": key, "rule": rule, "value": value, "limit": limit}
