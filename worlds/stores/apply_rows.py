"""What every look at an apply run asks of the rows, each by one statement that is written out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.states import TERMINAL_STATES
from worlds.stores.clock import now_expression
from worlds.stores.statements import rows_of, time_of

_ENDED: Final = ", ".join(f"'{state.value}'" for state in sorted(TERMINAL_STATES))
_REDUCING: Final = f"""
SELECT r.run_id FROM worlds_applyrun i JOIN worlds_applyrun r ON r.id = i.reduce_run_id
WHERE i.world_id = %s AND i.run_id = %s AND r.state NOT IN ({_ENDED})
"""  # noqa: S608 - only names of states
_CHANGES: Final = "SELECT payload FROM worlds_outboxevent WHERE world_id = %s AND kind = %s AND created_at >= %s"

_RUN: Final = "SELECT state, epoch, attempts, approval_round, {now} FROM worlds_applyrun WHERE id = %s"


@dataclass(frozen=True, slots=True)
class RunRow:
    """What tells whether a run is as its worker left it, and the database's time of the look."""

    state: str
    epoch: int
    attempts: int
    approval_round: int
    now: datetime


def read_run_row(pk: int) -> RunRow:
    """Return what the row says of a run that there is."""
    sql = _RUN.format(now=now_expression().replace("%", "%%"))
    ((state, epoch, attempts, approval_round, now),) = rows_of(sql, pk)
    return RunRow(state, epoch, attempts, approval_round, time_of(now))


def unfinished_reduction(world_id: str, run_id: str) -> str | None:
    """Return the run of the part of a plan that only takes away, while it has not ended; None where nothing waits."""
    return next((reduce_run_id for (reduce_run_id,) in rows_of(_REDUCING, world_id, run_id)), None)


def leases_before(world_id: str, *, since: datetime) -> list[int]:
    """Return what the world's lease was before each change of its settings since then, in milliseconds; 0 where not."""
    rows = rows_of(_CHANGES, world_id, "world_updated", since)
    return [int(json.loads(payload).get("lease_ms_before", 0)) for (payload,) in rows]
