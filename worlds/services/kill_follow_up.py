"""What follows a kill, once it has closed the gates: its record, the bus, and the run that drops a killed instance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from django.db import OperationalError, transaction

from audit.chain import KILL_SUFFIX
from audit.models import AuditHead
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.contracts.states import LIVE_STATES, RunKind
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.models import ApplyRun, GateHold, OutboxEvent, World
from worlds.services.changes import announce, locked_world
from worlds.services.kills import record_filed
from worlds.services.projection import project_after_commit
from worlds.services.withdrawals import drop_members

EVENT: Final = "activation_updated"
_log = structlog.get_logger(__name__)


def follow_up_kills(*, act: Act) -> None:
    """Do what kills have left to others; a world that cannot be changed now is seen to at the next tick."""
    _guarded(record_filed)
    for world_id, count in _kills_by_world().items():
        if count > _told(world_id):
            _guarded(partial(_tell, world_id=world_id, act=act))
    for world_id in _worlds_with_killed_instances():
        _guarded(partial(drop_killed, world_id=world_id, act=act))


@transaction.atomic
def drop_killed(*, world_id: str, act: Act) -> ApplyRun | None:
    """Start the reduce run that takes killed instances out of the set; None where none is in it, or one is under way.

    Their cool-down counts from the hold.
    """
    world = locked_world(world_id)
    live = [state.value for state in LIVE_STATES]
    if ApplyRun.objects.filter(world=world, kind=RunKind.REDUCE, state__in=live).exists():
        return None
    scopes = GateHold.objects.filter(world=world, kind=HoldKind.KILL.value).exclude(scope="").values_list("scope")
    keys = {InstanceKey.from_text(scope) for (scope,) in scopes}
    return drop_members(world=world, keys=keys, cause=ChangeReason.KILLED, act=act)


@transaction.atomic
def _tell(*, world_id: str, act: Act) -> None:
    """Give the kills so far an outbox row; the world's sequence rises here, after they took effect."""
    world = locked_world(world_id, alive=False)
    count = AuditHead.objects.get(chain=f"{world_id}{KILL_SUFFIX}").seq
    announce(world, kind=EVENT, payload={"hold": HoldKind.KILL.value, "hold_sequence": count}, now=act.now)
    project_after_commit(world_id=world_id)


def _kills_by_world() -> dict[str, int]:
    heads = AuditHead.objects.filter(chain__endswith=KILL_SUFFIX, seq__gt=0).values_list("chain", "seq")
    return {chain.removesuffix(KILL_SUFFIX): seq for chain, seq in heads}


def _told(world_id: str) -> int:
    """Return how many kills the bus has heard of; 0 too where that row was compacted away: then it hears again."""
    events = OutboxEvent.objects.filter(world_id=world_id, kind=EVENT, payload__hold=HoldKind.KILL.value)
    payload = events.order_by("-sequence").values_list("payload", flat=True).first()
    return int(payload["hold_sequence"]) if payload else 0


def _worlds_with_killed_instances() -> list[str]:
    holds = GateHold.objects.filter(kind=HoldKind.KILL.value).exclude(scope="")
    living = holds.exclude(world__state=World.State.DELETED)
    return sorted(set(living.values_list("world_id", flat=True)))


def _guarded(step: Callable[[], object]) -> None:
    try:
        step()
    except WorldsError as error:
        _log.warning("kill_follow_up_refused", code=error.code, detail=error.detail)
    except OperationalError as error:
        _log.warning("kill_follow_up_postponed", detail=str(error))
