"""The deflated Sharpe ratio (Bailey and Lopez de Prado 2014): is it skill, given how many were tried?"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from qmtl_worlds.metrics.kernels import normal_cdf
from qmtl_worlds.metrics.ordered import Floats
from qmtl_worlds.metrics.run import Measured

EULER_GAMMA: Final = 0.5772156649015329
_FEWEST_TRIALS: Final = 2


def deflate(ratio: Measured, error: Measured, *, min_obs: int) -> Measured:
    """Return the probability that each true ratio beats the best that unskilled trials would have reached.

    ``ratio`` and ``error`` are Sharpe ratios of one period and their standard errors. The trials are all instances with
    a finite ratio and at least ``min_obs`` observations.
    """
    is_trial = np.isfinite(ratio.value) & (ratio.n_obs >= min_obs)
    hurdle = expected_best(ratio.value[is_trial])
    return Measured(normal_cdf((ratio.value - hurdle) / error.value), ratio.n_obs)


def expected_best(trials: Floats) -> float:
    """Return the best ratio to expect of M trials without skill; NaN for fewer than two.

    With V their variance (ddof 1) and Q the normal quantile: sqrt(V) ((1 - gamma) Q(1 - 1/M) + gamma Q(1 - 1/(M e))).
    ``fsum`` rounds once, so the order of the trials changes no bit.
    """
    count = len(trials)
    if count < _FEWEST_TRIALS:
        return math.nan
    mean = math.fsum(trials.tolist()) / count
    offsets = trials - mean
    variance = math.fsum((offsets * offsets).tolist()) / (count - 1)
    quantile = NormalDist().inv_cdf
    best = (1.0 - EULER_GAMMA) * quantile(1.0 - 1.0 / count) + EULER_GAMMA * quantile(1.0 - 1.0 / (count * math.e))
    return math.sqrt(variance) * best
