"""When worlds are evaluated by themselves: slots, each claimed once, whoever asks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import OperationalError, transaction

from audit.models import AuditRun, AuditRunState, RunKind
from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import scheduled_run_id
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.lifecycle.schedule import BarCloseSlot, EverySlot, Schedule, due_slot, slot_as_of
from qmtl_worlds.policy.operation import BarCloseSchedule, EverySchedule
from worlds.models import PolicyVersion, World
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.run_rows import compiled
from worlds.stores.clock import world_now

_INSTANT: Final = timedelta(microseconds=1)
_log = structlog.get_logger(__name__)


def claim_due_slots(*, act: Act) -> list[AuditRun]:
    """Start one evaluation for every world with a due slot; twice, or in two places at once, is once."""
    worlds = World.objects.select_related("policy").filter(state=World.State.ACTIVE, policy__isnull=False)
    runs = [_claim_guarded(world, act) for world in worlds]
    return [run for run in runs if run is not None]


def next_due(world: World, *, now: datetime) -> datetime | None:
    """Return the slot that is due in the world now, by its own clock; None where none is.

    History that was never stepped into has no present, hence no slot.
    """
    if world.mode == World.Mode.REPLAY and world.replay_now is None:
        return None
    if world.policy is None or (schedule := schedule_of(world.policy)) is None:
        return None
    calendar = Calendar.load(compiled(world.policy).document.metrics.calendar)
    return due_slot(schedule, last_slot=world.last_slot_at, now=world_now(world, now=now), calendar=calendar)


def schedule_of(policy: PolicyVersion) -> Schedule | None:
    """Return when the policy wants to be evaluated, None for by hand only."""
    match compiled(policy).document.schedule:
        case None:
            return None
        case EverySchedule(every=every, offset=offset):
            return EverySlot(every, offset)
        case BarCloseSchedule(delay=delay):
            return BarCloseSlot(delay)


def _claim_guarded(world: World, act: Act) -> AuditRun | None:
    """A world that refuses does not keep the others from their slots."""
    try:
        return _claim(world, act)
    except WorldsError as error:
        _log.warning("slot_refused", world_id=world.id, code=error.code, detail=error.detail)
    except OperationalError as error:  # somebody holds the world's lock
        _log.warning("slot_postponed", world_id=world.id, detail=str(error))
    return None


@transaction.atomic
def _claim(world: World, act: Act) -> AuditRun | None:
    slot = next_due(world, now=act.now)
    schedule = schedule_of(world.policy) if world.policy else None
    if slot is None or schedule is None:
        return None
    if not World.objects.claim_slot(world.id, last=world.last_slot_at, slot=slot):
        return None
    if AuditRun.objects.filter(world_id=world.id, state=AuditRunState.RUNNING).exists():
        record(chain=world.id, kind="evaluation.skipped", act=act, subject=slot.isoformat())
        return None
    request = EvaluationRequest(
        run_id=scheduled_run_id(world.id, slot),
        kind=RunKind.SCHEDULED,
        as_of=slot_as_of(schedule, slot),
        slot=slot,
    )
    if (missed := _missed_before(world, schedule, slot)) is not None:
        facts = {"slot": slot.isoformat(), "missed": missed.isoformat()}
        record(chain=world.id, kind="evaluation.caught_up", act=act, after=facts, run_id=request.run_id)
    return request_evaluation(world_id=world.id, request=request, act=act)


def _missed_before(world: World, schedule: Schedule, slot: datetime) -> datetime | None:
    """Return the newest slot before ``slot`` that nobody claimed, None where there is none since the last one."""
    if world.last_slot_at is None or world.policy is None:
        return None
    calendar = Calendar.load(compiled(world.policy).document.metrics.calendar)
    return due_slot(schedule, last_slot=world.last_slot_at, now=slot - _INSTANT, calendar=calendar)
