"""Until when the data that one evaluation reads is fresh."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from strategies.freshness import FreshnessRule
from strategies.register import CandidateColumns
from worlds.work.panel_loader import NO_BAR, LoadedBars


def fresh_ends(
    register: CandidateColumns, loaded: LoadedBars, *, rule: FreshnessRule, as_of: datetime
) -> NDArray[np.float64]:
    """Return the end of freshness of each instance's bars up to ``as_of``, in epoch seconds; NaN without data.

    What came later, or under another rule, keeps nothing fresh. An instance without a bar in the panel has old data, as
    the register tells, or none yet.
    """
    pairs = list(zip(loaded.last_close.tolist(), register.interval_seconds, strict=True))
    ends = {
        (close, seconds): rule.until(datetime.fromtimestamp(close, UTC), interval_seconds=seconds).timestamp()
        for close, seconds in set(pairs)
        if close != NO_BAR
    }
    known = np.array(register.fresh_until)
    older = np.where(known < as_of.timestamp(), known, math.nan)
    found = np.array([ends.get(pair, math.nan) for pair in pairs])
    return np.where(loaded.last_close == NO_BAR, older, found)
