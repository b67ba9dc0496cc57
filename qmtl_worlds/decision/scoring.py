"""Who is eligible, and in which order the eligible stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import FAIL, OK, PASS, UNKNOWN, Codes, Floats, Rows, code, first_reason
from qmtl_worlds.decision.columns import Frame
from qmtl_worlds.decision.expressions import Judgement, Operand

_FAILURES = np.array(
    [
        code(reason)
        for reason in (
            Reason.GATE_FAILED,
            Reason.SCORE_BELOW_MINIMUM,
            Reason.SECTOR_MISSING,
            Reason.LEVERAGE_MISSING,
        )
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Eligibility:
    """PASS, FAIL or UNKNOWN for each instance, and why; ``score`` is NaN where it is unknown.

    ``value`` is what selection maximizes: the score, plus the incumbent's bonus where the instance is active.
    ``order`` holds the eligible rows that are not held, best first.
    """

    state: Codes
    reason: Codes
    score: Operand
    value: Floats
    order: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Checks:
    """What eligibility rests on, stage by stage; ``currency`` and ``exposure`` are reasons, OK where all is well."""

    currency: Codes
    gates: Judgement
    score: Operand
    exposure: Codes


def eligibility(frame: Frame, checks: Checks, *, min_score: float, bonus: float) -> Eligibility:
    """Sum the checks up; the first stage that does not pass gives the reason.

    Eligible means fresh, with enough history, every gate PASS, and a finite score of at least ``min_score``. Order:
    value descending, incumbents first, older instances, ids.
    """
    score = checks.score
    reason = first_reason(
        [
            (checks.currency != OK, checks.currency),
            (checks.gates.verdict == FAIL, code(Reason.GATE_FAILED)),
            (checks.gates.verdict == UNKNOWN, checks.gates.reason),
            (score.reason != OK, score.reason),
            (~(score.value >= min_score), code(Reason.SCORE_BELOW_MINIMUM)),
        ],
        otherwise=checks.exposure,
    )
    state = np.where(reason == OK, PASS, np.where(np.isin(reason, _FAILURES), FAIL, UNKNOWN)).astype(np.uint8)
    value = np.where(frame.active, score.value + bonus, score.value)
    rows = np.flatnonzero((state == PASS) & ~frame.held)
    ranks = np.lexsort((frame.bound_at[rows], ~frame.active[rows], -value[rows]))
    return Eligibility(state, reason, score, value, rows[ranks])
