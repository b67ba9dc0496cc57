"""What happens every second, whoever else is alive: runs go on, slots are claimed, the copy in Redis is renewed.

It needs the database only. It never sleeps inside a step, and a second copy of it does no harm.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from audit.checkpoints import sign_due
from audit.keys import SigningKeyError
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.apply import Event
from worlds.models import ApplyRun
from worlds.services.advance import fire_event
from worlds.services.authority import act_of_schedule, act_of_system
from worlds.services.conditions import watch_alerts
from worlds.services.flat import watch_flats
from worlds.services.gate_levels import expire_gates
from worlds.services.heartbeats import TICK, beat
from worlds.services.kill_follow_up import follow_up_kills
from worlds.services.overrides import expire_overrides
from worlds.services.pins import expire_pins
from worlds.services.projection import reconcile_copies
from worlds.services.relay import compact_outbox, relay_outbox
from worlds.services.restore import close_restored
from worlds.services.scheduling import claim_due_slots
from worlds.services.tick_memory import Memory
from worlds.work.live_runs import carry_on, guarded
from worlds.work.overdue import see_to_evaluations
from worlds.work.risk import watch_circuits

_log = structlog.get_logger(__name__)


def tick(memory: Memory | None = None) -> None:
    """Do everything that is due now; a world that refuses does not keep the others waiting.

    ``memory`` is what the process remembers of its ticks before; without it this one counts as the first.
    """
    memory = memory if memory is not None else Memory()
    act = act_of_system(reason="tick")
    last = beat(process=TICK, now=act.now)
    close_restored(memory=memory, act=act)  # before anything goes on from rows that may be old
    follow_up_kills(act=act)
    expire_gates(act=act)
    watch_circuits(now=act.now)
    expire_overrides(act=act)
    expire_pins(act=act)
    watch_flats(act=act)
    reach("tick.before", "advance")
    carry_on(act=act)
    reach("tick.before", "expire")
    for run in _expired_runs(act.now):
        guarded(_expire, run, act)
    reach("tick.before", "claim")
    claim_due_slots(act=act_of_schedule(reason="schedule"))
    reach("tick.before", "evaluations")
    see_to_evaluations(last=last, act=act)
    watch_alerts(act=act)
    reach("tick.before", "projection")
    redis_is_there = reconcile_copies(memory=memory, act=act)
    reach("tick.before", "relay")
    if redis_is_there:
        relay_outbox(compared=memory.compared)
    compact_outbox(now=act.now)
    _sign_checkpoints(act.now)
    reach("tick.before", "end")


def _sign_checkpoints(now: datetime) -> None:
    try:
        sign_due(now=now)
    except SigningKeyError as error:
        _log.warning("checkpoints_unsigned", detail=str(error))


def _expired_runs(now: datetime) -> list[ApplyRun]:
    return list(ApplyRun.objects.filter(state=RunState.REQUESTED, approval_expires_at__lte=now))


def _expire(run: ApplyRun, act: Act) -> None:
    fire_event(world_id=run.world_id, run_id=run.run_id, event=Event.EXPIRE, act=act)
