"""One computation: whose data, as of when, by which conventions; and what it measures before that is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.metric_names import MetricRef
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.metrics.settings import MetricSettings


class Measured(NamedTuple):
    """Values of all instances, NaN or infinite where undefined, and how many observations each was made of."""

    value: NDArray[np.float64]
    n_obs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MetricRun:
    """A panel read at ``as_of`` (epoch seconds); sessions that close later do not exist."""

    panel: ReturnPanel
    as_of: int
    settings: MetricSettings

    def columns(self, ref: MetricRef) -> slice:
        """Return the panel's columns in the window of ``ref``; all by ``as_of`` where it names none."""
        return self.panel.window(as_of=self.as_of, sessions=self.settings.sessions(ref))

    def nothing(self) -> Measured:
        """Return what is measured where nobody reports anything."""
        return Measured(np.full(self.panel.count, np.nan), np.zeros(self.panel.count, dtype=np.int64))
