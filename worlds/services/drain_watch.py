"""How long this process has seen a drain go on: counted on its own clock, since the database's may jump (I28)."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

MOST_RUNS: Final = 1000
FIRST_SEEN: Final[dict[tuple[str, str], tuple[datetime, float]]] = {}
"""By world and run: which drain, and the monotonic time of the first look at it."""


def watched_seconds(*, world_id: str, run_id: str, drain_until: datetime | None) -> float:
    """Return the age of this process's first look at this drain; the first look starts the count.

    A drain that was started again is another one. A process that has only just come to a run waits a whole lease, which
    costs a delay and never opens anything.
    """
    if drain_until is None:
        return 0.0
    now = time.monotonic()
    if len(FIRST_SEEN) > MOST_RUNS:
        FIRST_SEEN.clear()
    seen, since = FIRST_SEEN.setdefault((world_id, run_id), (drain_until, now))
    if seen != drain_until:
        FIRST_SEEN[world_id, run_id] = (drain_until, now)
        return 0.0
    return now - since
