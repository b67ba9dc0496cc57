"""How much of the capital each member gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.bounds import total_value
from qmtl_worlds.decision.codes import OK, TOLERANCE, Codes, Flags, Floats, Rows, code
from qmtl_worlds.decision.constraints import EXEMPT, Book, Limits
from qmtl_worlds.decision.erc import equal_risk_shares
from qmtl_worlds.decision.expressions import Operand

Scheme = Literal["slot", "inverse_vol", "erc", "score"]
FALLBACKS: Final[dict[Scheme, tuple[Scheme, ...]]] = {
    "erc": ("erc", "inverse_vol", "slot"),
    "inverse_vol": ("inverse_vol", "slot"),
    "score": ("score", "slot"),
    "slot": ("slot",),
}
GRID: Final = 1e9
"""Weights are whole multiples of 1e-9, so that the last bits of a machine do not matter."""
_ROUNDING: Final = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class Sizing:
    """What weights are made from; ``returns`` gives the mid-window session returns (T by n) of rows.

    A plan that changes no membership is made only for moves of more than ``band``.
    """

    book: Book
    limits: Limits
    scheme: Scheme
    volatility: Operand | None
    score: Operand
    returns: Callable[[Rows], Floats]
    min_obs: int
    band: float


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """The weight of each member, what scaled it last (OK: nothing), and the scheme that was used in the end."""

    weight: Floats
    reason: Codes
    scheme: Scheme


def size(members: Rows, sizing: Sizing) -> Sized:
    """Return the weights of ``members`` (shares of world capital) under every cap.

    A side's amount is its filled slots, never more than its budget; the scheme splits it, ``max_weight`` caps each
    part, and then sectors and leverage are scaled down to their caps. What is cut stays cash. A scheme that cannot be
    computed gives way to the next of its fallbacks, for the whole set.
    """
    for scheme in FALLBACKS[sizing.scheme]:
        shares = _shares(scheme, members, sizing)
        if shares is not None:
            weight, reason = _split(members, shares, sizing)
            _scale_sectors(members, weight, reason, sizing)
            _scale_leverage(members, weight, reason, sizing)
            return Sized(_floor(weight), reason, scheme)
    raise AssertionError("slot weights can always be computed")


def _shares(scheme: Scheme, members: Rows, sizing: Sizing) -> list[Floats] | None:
    """Return how each side's amount is split, long and short, each summing to 1; None where that is unknown."""
    sides = [members[sizing.book.side[members] == side] for side in range(2)]
    shares = [_SCHEMES[scheme](rows, sizing) if len(rows) else np.zeros(0) for rows in sides]
    known = [share for share in shares if share is not None]
    return known if len(known) == len(shares) else None


def _slot(rows: Rows, _sizing: Sizing) -> Floats | None:
    return np.full(len(rows), 1.0 / len(rows))


def _inverse_vol(rows: Rows, sizing: Sizing) -> Floats | None:
    volatility = sizing.volatility
    if volatility is None or np.any(volatility.reason[rows] != OK) or not np.all(volatility.value[rows] > 0):
        return None
    return _normalized(1.0 / volatility.value[rows])


def _by_score(rows: Rows, sizing: Sizing) -> Floats | None:
    score = sizing.score
    if np.any(score.reason[rows] != OK) or not np.all(score.value[rows] > 0):
        return None
    return _normalized(score.value[rows])


def _erc(rows: Rows, sizing: Sizing) -> Floats | None:
    returns = sizing.returns(rows)
    return equal_risk_shares(returns[~np.isnan(returns).any(axis=1)], min_obs=sizing.min_obs)


_SCHEMES: Final[dict[Scheme, Callable[[Rows, Sizing], Floats | None]]] = {
    "slot": _slot,
    "inverse_vol": _inverse_vol,
    "score": _by_score,
    "erc": _erc,
}


def _normalized(parts: Floats) -> Floats:
    return parts / total_value(parts)


def _split(members: Rows, shares: list[Floats], sizing: Sizing) -> tuple[Floats, Codes]:
    weight, reason = np.zeros(len(members)), np.zeros(len(members), dtype=np.uint8)
    for side, share in enumerate(shares):
        mine = sizing.book.side[members] == side
        filled, slot, budget = int(mine.sum()), sizing.limits.slot[side], sizing.limits.gross[side]
        over = filled * slot > budget + TOLERANCE
        if over:
            reason[mine] = code(Reason.SCALED_SIDE)
        weight[mine] = (budget if over else filled * slot) * share
        capped = mine & (weight > sizing.limits.max_weight[side] + _ROUNDING)
        weight[capped] = sizing.limits.max_weight[side]
        reason[capped] = code(Reason.MAX_WEIGHT)
    return weight, reason


def _scale_sectors(members: Rows, weight: Floats, reason: Codes, sizing: Sizing) -> None:
    bucket = sizing.book.bucket[members]
    for number in sorted(set(bucket.tolist()) - {EXEMPT}):
        _scale(weight, reason, bucket == number, (weight, sizing.limits.per_sector), Reason.SCALED_SECTOR)


def _scale_leverage(members: Rows, weight: Floats, reason: Codes, sizing: Sizing) -> None:
    load = weight * sizing.book.leverage[members]
    _scale(weight, reason, load > 0, (load, sizing.limits.leverage), Reason.SCALED_LEVERAGE)


def _scale(weight: Floats, reason: Codes, mine: Flags, cap: tuple[Floats, float], why: Reason) -> None:
    """Scale the members in ``mine`` in place, where what they use together is over the limit."""
    used, limit = total_value(cap[0][mine]), cap[1]
    if used > limit + TOLERANCE:
        weight[mine] *= limit / used
        reason[mine] = code(why)


def _floor(weight: Floats) -> Floats:
    """Return the largest multiples of 1e-9 not above ``weight``, forgiving the last bits."""
    steps = np.rint(weight * GRID)
    return np.where(steps / GRID <= weight + _ROUNDING, steps, steps - 1) / GRID
