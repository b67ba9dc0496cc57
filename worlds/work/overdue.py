"""Evaluations that nobody finishes: a lost bell is rung again, a hopeless run is ended, so that no schedule waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from worlds.services.dispatch import EVALUATE, ring
from worlds.work.evaluate import give_up

RING_EVERY: Final = timedelta(seconds=45)
"""Longer than a worker's hard limit: the one that was rung for is dead by then."""
GIVE_UP_AFTER: Final = timedelta(minutes=10)
_log = structlog.get_logger(__name__)


def see_to_evaluations(*, last: datetime | None, act: Act) -> None:
    """Ring for what is overdue each time another ``RING_EVERY`` has passed since the tick at ``last``; then give up.

    Computing an evaluation twice stores it once, so a bell too many does no harm.
    """
    running = AuditRun.objects.filter(state=AuditRunState.RUNNING, started_at__lte=act.now - RING_EVERY)
    for run in list(running.only("world_id", "run_id", "started_at")):
        if act.now - run.started_at >= GIVE_UP_AFTER:
            _give_up(run, act)
        elif last is None or _bells(run, act.now) > _bells(run, last):
            ring(task=EVALUATE, queue="compute", world_id=run.world_id, run_id=run.run_id)


def _bells(run: AuditRun, now: datetime) -> int:
    return (now - run.started_at) // RING_EVERY


def _give_up(run: AuditRun, act: Act) -> None:
    minutes = GIVE_UP_AFTER // timedelta(minutes=1)
    try:
        give_up(world_id=run.world_id, run_id=run.run_id, error=f"No worker finished it in {minutes} minutes.", act=act)
    except WorldsError as error:
        _log.warning("give_up_refused", world_id=run.world_id, run_id=run.run_id, code=error.code)
