"""Which session a bar belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAY_SECONDS = 86_400


def session_edges(ts: NDArray[np.int64], *, closes: NDArray[np.int64], after: int) -> NDArray[np.int64]:
    """Return for T sessions the T + 1 positions in ``ts`` at which they begin, the last one being the end.

    Session i owns the bars in (closes[i - 1], closes[i]]; the first one those in (``after``, closes[0]]. ``ts`` and
    ``closes`` ascend.
    """
    edges = np.concatenate((np.array([after], dtype=np.int64), closes))
    return np.searchsorted(ts, edges, side="right").astype(np.int64)


def utc_day_closes(first: int, last: int) -> NDArray[np.int64]:
    """Return the ends of the UTC days from the one that holds ``first`` up to the last one ended by ``last``.

    A day is (00:00, 24:00], so that a bar closing at midnight belongs to the day before.
    """
    start = -(-first // DAY_SECONDS) * DAY_SECONDS
    return np.arange(start, last + 1, DAY_SECONDS, dtype=np.int64)
