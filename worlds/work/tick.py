"""What happens every second, whoever else is alive: runs go on, slots are claimed, the copy in Redis is renewed.

It needs the database only. It never sleeps inside a step, and a second copy of it does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import DatabaseError

from audit.models import AuditRun, AuditRunState
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import StoreUnavailableError, WorldsError
from qmtl_worlds.contracts.states import LIVE_STATES, RunState
from qmtl_worlds.lifecycle.apply import Event
from worlds.models import ApplyRun, World
from worlds.services.advance import advance, count_failure, fire_event
from worlds.services.authority import act_of_schedule, act_of_system
from worlds.services.dispatch import EVALUATE, ring
from worlds.services.heartbeats import beat
from worlds.services.projection import project_world
from worlds.services.scheduling import claim_due_slots

RING_AGAIN_AFTER: Final = timedelta(seconds=45)
_log = structlog.get_logger(__name__)


def tick() -> None:
    """Do everything that is due now; a world that refuses does not keep the others waiting."""
    act = act_of_system(reason="tick")
    beat(process="tick", now=act.now)
    for run in _live_runs():
        _guarded(_advance, run, act)
    for run in _expired_runs(act.now):
        _guarded(_expire, run, act)
    claim_due_slots(act=act_of_schedule(reason="schedule"))
    _ring_again(act.now)
    _project_all()


def _live_runs() -> Iterator[ApplyRun]:
    states = [state.value for state in LIVE_STATES]
    return ApplyRun.objects.filter(state__in=states).order_by("kind", "id").iterator()


def _expired_runs(now: datetime) -> Iterator[ApplyRun]:
    return ApplyRun.objects.filter(state=RunState.REQUESTED, approval_expires_at__lte=now).iterator()


def _advance(run: ApplyRun, act: Act) -> None:
    advance(world_id=run.world_id, run_id=run.run_id, act=act)


def _expire(run: ApplyRun, act: Act) -> None:
    fire_event(world_id=run.world_id, run_id=run.run_id, event=Event.EXPIRE, act=act)


def _ring_again(now: datetime) -> None:
    """An evaluation whose bell was lost, or whose worker died, is rung for again; computing it twice stores it once."""
    overdue = AuditRun.objects.filter(state=AuditRunState.RUNNING, started_at__lte=now - RING_AGAIN_AFTER)
    for run in overdue.only("world_id", "run_id"):
        ring(task=EVALUATE, queue="compute", world_id=run.world_id, run_id=run.run_id)


def _project_all() -> None:
    try:
        for world_id in World.objects.exclude(state=World.State.DELETED).values_list("id", flat=True):
            project_world(world_id=world_id)
    except StoreUnavailableError:
        _log.warning("projection_postponed")


def _guarded(step: Callable[[ApplyRun, Act], None], run: ApplyRun, act: Act) -> None:
    try:
        step(run, act)
    except WorldsError as error:
        _log.warning("tick_refused", world_id=run.world_id, run_id=run.run_id, code=error.code, detail=error.detail)
    except DatabaseError:
        raise
    except Exception:  # noqa: BLE001 - the task boundary: one broken run must not stop the other worlds
        _log.exception("tick_broke", world_id=run.world_id, run_id=run.run_id)
        count_failure(run_id=run.run_id, world_id=run.world_id)
