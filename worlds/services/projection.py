"""Copy a world's active set to Redis, after every visible change, and compare the copy with the rows each second."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

import structlog
from django.db import DatabaseError, transaction
from django.db.models import Min

from audit.recorder import record
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import StoreUnavailableError, WorldsError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.gate import EntryFacts, gates
from strategies.models import StrategyInstance
from worlds.models import Alert, World
from worlds.selectors import positions_of
from worlds.services.alerts import clear_alert, raise_alert
from worlds.services.changes import locked_world
from worlds.services.gate_facts import Committed, member_facts, read_committed
from worlds.services.tick_memory import Drift, Known, Memory, Outage
from worlds.stores.clock import database_now, world_now
from worlds.stores.redis_projection import (
    Found,
    confirm_copy,
    drop_copy,
    mark_of,
    read_copy,
    redis_now_ms,
    replace_copy,
)

DRIFT: Final = "drift"
REPEATED: Final = 3
"""So many repairs of one incident call a person."""
INCIDENT_SECONDS: Final = 60.0
"""A copy that nobody touches for so long is an incident that is over."""
_log = structlog.get_logger(__name__)
Content = Committed[dict[InstanceKey, EntryFacts]]
_OUTAGE: Final = Outage("projection_postponed")


def project_after_commit(*, world_id: str) -> None:
    """Project once the change is committed; Redis away is no reason to fail or wait, the tick comes by each second."""
    transaction.on_commit(lambda: _project_if_possible(world_id))


def project_world(*, world_id: str, disbelieved: Position | None = None) -> bool:
    """Write the world's copy, valid for one lease.

    False where Redis holds a newer one (that does not claim just to be ``disbelieved``), it took too long, or the world
    would not stand still.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    reach("project.before_time")
    started_ms = redis_now_ms()  # before the rows are read (R2)
    reach("project.before_rows")
    reading = read_committed(world_id=world_id, read=lambda world: member_facts(world=world))
    if not reading.facts.confirmed:
        return False
    reach("project.before_lua")
    done = replace_copy(
        world_id=world_id,
        position=reading.facts.position,
        deadline_ms=started_ms + reading.world.lease_ms,
        meta=_meta(reading),
        entries=_entries(reading),
        disbelieved=disbelieved,
    )
    reach("project.after_lua")
    return done


def project_anew(*, world_id: str) -> bool:
    """Take away whatever Redis holds of the world, and write the copy.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    drop_copy(world_id)
    return project_world(world_id=world_id)


def origin_of(world: World) -> str:
    """Return what tells this world from one of the same name in another database."""
    return world.created_at.isoformat()


def reconcile_copies(*, memory: Memory, act: Act) -> bool:
    """Let every copy that equals the rows live on, and rewrite the others (I26); False where Redis is away.

    One call to Redis a world where nothing has changed. What is wrong with one world does not keep the others waiting.
    """
    since = time.monotonic()
    if memory.drifts is None:
        told = Alert.objects.filter(kind=DRIFT, cleared_at=None).values_list("world_id", flat=True)
        memory.drifts = {world_id: Drift(since, REPEATED) for world_id in told}
    try:
        started_ms = redis_now_ms()  # before the rows are read (R2)
        worlds = list(World.objects.exclude(state=World.State.DELETED))
        positions, now = positions_of(worlds), database_now()
        for world in worlds:
            _guarded(world, positions[world.id], now, started_ms, memory, act)
    except StoreUnavailableError as error:
        _OUTAGE.failed(since=since, cause=repr(error.__cause__))
        return False
    _OUTAGE.over()
    return True


def _guarded(world: World, position: Position, now: datetime, started_ms: int, memory: Memory, act: Act) -> None:
    try:
        _reconcile(world, position, now, started_ms, memory, act)
    except StoreUnavailableError:
        raise
    except (WorldsError, DatabaseError) as error:
        _log.warning("projection_refused", world_id=world.id, detail=str(error))


def _reconcile(world: World, position: Position, now: datetime, started_ms: int, memory: Memory, act: Act) -> None:
    known = memory.known.get(world.id)
    at = world_now(world, now=now)
    if known is None or not known.still_true(position=position, lease_ms=world.lease_ms, at=at):
        known = _read(world.id)
        if known is None:
            return
        memory.known[world.id] = known
    found, claimed = confirm_copy(world_id=world.id, mark=known.mark, deadline_ms=started_ms + known.lease_ms)
    if found is Found.SAME:
        _calm_down(world, memory, act)
    elif found is Found.NEWER and claimed is not None:
        _contradict(world, claimed, memory, act)
    else:
        project_world(world_id=world.id)
        if found is Found.ALTERED:
            _note_drift(world, memory, act, f"altered at {known.mark.position.text}")


def _contradict(world: World, claimed: Position, memory: Memory, act: Act) -> None:
    """Redis claims more than the rows had; they are read again, since they may have gone on meanwhile.

    A claim of a newer incarnation, or one that ``close_restored`` has not looked at, stays until it expires: the rows
    may be the older ones, and it opens nothing here.
    """
    if project_world(world_id=world.id):
        return
    if claimed.incarnation > world.incarnation or world.id not in memory.compared:
        _log.warning("projection_refused", world_id=world.id, detail=f"Redis holds {claimed.text}")
        return
    copy = read_copy(world.id)
    is_ours = copy is None or copy.meta.get("origin") == origin_of(world)
    if project_world(world_id=world.id, disbelieved=claimed) and is_ours:
        _note_drift(world, memory, act, f"claimed {claimed.text}")


def _note_drift(world: World, memory: Memory, act: Act, what: str) -> None:
    """Count a repair; the first of an incident is audited, the third calls a person."""
    drifts = memory.drifts if memory.drifts is not None else {}
    now = time.monotonic()
    drift = drifts.setdefault(world.id, Drift(now))
    drift.count, drift.last = drift.count + 1, now
    _log.warning("projection_repaired", world_id=world.id, detail=what, count=drift.count)
    if drift.count not in {1, REPEATED}:
        return
    with transaction.atomic():
        if drift.count == 1:
            record(chain=world.id, kind="projection.repaired", act=act, subject=world.id, after={"found": what})
        else:
            raise_alert(world=locked_world(world.id), kind=DRIFT, act=act, facts={"found": what, "count": drift.count})


def _calm_down(world: World, memory: Memory, act: Act) -> None:
    """End an incident that has been over for a while."""
    drift = (memory.drifts or {}).get(world.id)
    if drift is None or time.monotonic() - drift.last < INCIDENT_SECONDS:
        return
    if drift.count >= REPEATED:
        with transaction.atomic():
            clear_alert(world=locked_world(world.id), kind=DRIFT, act=act)
    (memory.drifts or {}).pop(world.id, None)


def _read(world_id: str) -> Known | None:
    """Read the world's content whole; None where it would not stand still."""
    read_at = time.monotonic()
    reading = read_committed(world_id=world_id, read=lambda world: member_facts(world=world))
    if not reading.facts.confirmed:
        return None
    mark = mark_of(reading.facts.position, meta=_meta(reading), entries=_entries(reading))
    return Known(mark, reading.world.lease_ms, _true_until(reading), read_at)


def _true_until(reading: Content) -> datetime | None:
    """Return when time alone may change the answers: the next end of any instance's freshness."""
    bound = StrategyInstance.objects.filter(world=reading.world, withdrawn_at=None, fresh_until__gte=reading.at)
    ends = [entry.fresh_until for entry in reading.entries.values()] + [bound.aggregate(end=Min("fresh_until"))["end"]]
    return min((end for end in ends if end is not None and end >= reading.at), default=None)


def _meta(reading: Content) -> dict[str, object]:
    world = reading.world
    return {"generation": world.generation, "sequence": world.sequence, "origin": origin_of(world)}


def _entries(reading: Content) -> dict[str, dict[str, object]]:
    told: dict[str, dict[str, object]] = {}
    entries = sorted(reading.entries.items())
    found = gates((entry for _, entry in entries), reading.facts, reading.at)
    for (key, _), (gate, weight) in zip(entries, found, strict=True):
        active = gate.level is GateLevel.OPEN
        told[key.text] = {"active": active, "weight": weight, "gate": gate.level.value, "reason": gate.reason.value}
    return told


def _project_if_possible(world_id: str) -> None:
    """Project unless Redis has just let us wait for nothing."""
    if _OUTAGE.is_costly:
        return
    since = time.monotonic()
    try:
        project_world(world_id=world_id)
    except StoreUnavailableError as error:
        _OUTAGE.failed(since=since, cause=repr(error.__cause__))
