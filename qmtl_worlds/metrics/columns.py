"""The answer of the kernels: one metric for every instance of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.statuses import MetricStatus


@dataclass(frozen=True, slots=True, eq=False)
class MetricColumn:
    """One metric over one window for N instances, in the panel's row order.

    ``value`` is NaN wherever ``status`` is not OK. ``n_obs`` counts the observations the value was made of.
    ``window_start`` and ``window_end`` are the closes (epoch seconds) of the first and the last session of the window,
    both inside it; both are ``as_of`` where the panel has no session in the window.
    """

    value: NDArray[np.float64]
    status: NDArray[np.uint8]
    n_obs: NDArray[np.int32]
    window_start: int
    window_end: int

    @property
    def is_ok(self) -> NDArray[np.bool_]:
        """Tell where the value may be used."""
        ok: NDArray[np.bool_] = self.status == np.uint8(MetricStatus.OK)
        return ok
