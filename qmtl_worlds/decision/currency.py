"""Data currency and sample sufficiency: may the metrics of an instance decide anything?"""

from __future__ import annotations

import numpy as np

from qmtl_worlds.contracts.reasons import Reason
from qmtl_worlds.decision.codes import OK, Codes, Flags, Floats, code, first_reason


def fresh(fresh_until: Floats, *, now: float) -> Flags:
    """Tell which instances are fresh at ``now`` (epoch seconds), the last instant included; NaN never is."""
    return fresh_until >= now


def currency(fresh_until: Floats, history: Floats, *, now: float, min_history: int) -> Codes:
    """Return OK, or why the metrics of an instance are advisory: no data, stale, or a history below ``min_history``.

    ``history`` counts sessions with a return; NaN is none.
    """
    return first_reason(
        [
            (np.isnan(fresh_until), code(Reason.NO_DATA)),
            (~fresh(fresh_until, now=now), code(Reason.STALE)),
            (~(np.nan_to_num(history) >= min_history), code(Reason.SHORT_HISTORY)),
        ],
        otherwise=OK,
    )
