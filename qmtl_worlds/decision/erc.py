"""Equal risk contribution: every member adds the same to the variance of the whole.

Cyclical coordinate descent for the convex form of the problem (Griveau-Billion, Richard and Roncalli, "A fast algorithm
for computing high-dimensional risk parity portfolios", 2013), in plain floats, so that every machine rounds alike.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from qmtl_worlds.decision.codes import Floats
from qmtl_worlds.metrics.ordered import ordered_sum

_SWEEPS: Final = 500
_CLOSE: Final = 1e-13


def equal_risk_shares(returns: Floats, *, min_obs: int) -> Floats | None:
    """Return shares that sum to 1 for the columns of ``returns`` (T sessions by n members, no NaN).

    None where there are too few sessions (fewer than ``min_obs``, or no more than members), a member does not vary, or
    the descent does not settle.
    """
    sessions, count = returns.shape
    if sessions < max(min_obs, count + 1):
        return None
    covariance = _covariance(returns)
    if any(not covariance[i][i] > 0 for i in range(count)):
        return None
    weights = [1.0 / math.sqrt(covariance[i][i]) for i in range(count)]
    for _ in range(_SWEEPS):
        moved = max([_descend(covariance, weights, i) for i in range(count)])
        if moved <= _CLOSE:
            whole = math.fsum(weights)
            return np.array([weight / whole for weight in weights])
    return None


def _covariance(returns: Floats) -> list[list[float]]:
    sessions, count = returns.shape
    centered = returns - ordered_sum(returns) / sessions
    columns = [ordered_sum(centered * centered[:, i : i + 1]) / (sessions - 1) for i in range(count)]
    return [column.tolist() for column in columns]


def _descend(covariance: list[list[float]], weights: list[float], i: int) -> float:
    """Set one weight to its best value beside the others; return how far it moved, as a share of itself."""
    row = covariance[i]
    others = math.fsum(row[j] * weights[j] for j in range(len(weights)) if j != i)
    best = (math.sqrt(others * others + 4.0 * row[i] / len(weights)) - others) / (2.0 * row[i])
    moved = abs(best - weights[i]) / best
    weights[i] = best
    return moved
