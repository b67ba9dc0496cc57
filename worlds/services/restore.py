"""Restore a database without lying to whoever remembers more than it: close, count anew, and let a person open.

A backup knows nothing of what came after it. Runners that have seen later positions stay closed by themselves; the
fence gives every world an incarnation above all that was ever told, so that they follow again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from django.db import DatabaseError, transaction
from django.db.models import F

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import HOLDING_STATES, RunState
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from worlds.models import ApplyRun, Relay, World
from worlds.selectors import position_of, positions_of
from worlds.services.changes import announce, locked_world
from worlds.services.event_log import RESTORED
from worlds.services.holds import lift_hold, place_hold
from worlds.services.projection import origin_of, project_after_commit
from worlds.services.tick_memory import Memory
from worlds.stores.bus import read_marks
from worlds.stores.redis_projection import read_copy

SUSPECTED: Final = "suspected"
"""Owner of the boot hold of a world whose rows are older than what is remembered of it; only the fence lifts it."""
FENCED: Final = "restored"
"""Owner of the boot hold that the fence leaves for a person."""
_DAY_SECONDS: Final = 86_400
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fence:
    """What the fence did to a world: its incarnations, and the runs that a person must now decide on."""

    world_id: str
    incarnation_before: int
    incarnation: int
    held: tuple[str, ...]
    void: tuple[str, ...]


def close_restored(*, memory: Memory, act: Act) -> None:
    """Close every world whose rows are older than this process, or Redis at first sight, remembers.

    Redis is asked once for each world and process; where it is away that waits. A copy or a mark of Redis may be a lie:
    then this closes in vain, which the fence ends.
    """
    worlds = list(World.objects.exclude(state=World.State.DELETED))
    positions = positions_of(worlds)
    for world in worlds:
        remembered = memory.highest.get(world.id)
        if remembered is None or positions[world.id] >= remembered or _closed(world.id, remembered, act):
            memory.highest[world.id] = positions[world.id]
    strangers = [world for world in worlds if world.id not in memory.compared]
    if not strangers:
        return
    try:
        claims = claims_of_redis(strangers)
    except StoreUnavailableError:
        return
    for world in strangers:
        claimed = claims.get(world.id)
        if claimed is None or _rev(claimed) <= _rev(positions[world.id]) or _closed(world.id, claimed, act):
            memory.compared.add(world.id)


@transaction.atomic
def suspect_restore(*, world_id: str, remembered: Position, act: Act) -> bool:
    """Close a world whose rows are older than ``remembered``; tell whether it was open to that.

    Nothing is told to the bus until the fence: the numbers of what would be told are taken.
    """
    act.require("gate.close", world_id)
    world = locked_world(world_id, alive=False)
    found = position_of(world)
    if found >= remembered:
        return False
    _log.error(
        "restore_suspected",
        world_id=world_id,
        rows=found.text,
        remembered=remembered.text,
        advice="the database is older than what was told; run manage.py world_restore_fence",
    )
    if not place_hold(world=world, hold=make_hold(HoldKind.BOOT, SUSPECTED), act=act):
        return False
    announce(world, kind="activation_updated", payload={"hold": HoldKind.BOOT}, now=act.now)
    project_after_commit(world_id=world.id)
    facts = {"rows": found.text, "remembered": remembered.text}
    record(chain=world.id, kind="gate.hold_placed", act=act, subject=HoldKind.BOOT, after=facts)
    return True


@transaction.atomic
def fence_world(*, world_id: str, remembered: Position | None = None, act: Act) -> Fence:
    """Count in a new incarnation and close the world until a person opens it (``lift_boot``).

    ``remembered`` is what Redis claims, where it could be asked. The incarnation rises above it and above the number of
    this second, hence above that of every fence before, those included which the backup has forgotten. Runs that were
    under way get a new epoch and are overdue, so that their next step holds them; approvals given so far are void.
    """
    act.require("gate.lift_kill", world_id)
    world = locked_world(world_id, alive=False)
    before = world.incarnation
    second = int(act.now.timestamp())
    claimed = remembered.incarnation if remembered and remembered.incarnation <= second + _DAY_SECONDS else 0
    world.incarnation = max(before, claimed, second - 1) + 1
    world.save(update_fields=["incarnation"])
    lift_hold(world=world, kind=HoldKind.BOOT, owner=SUSPECTED)
    place_hold(world=world, hold=make_hold(HoldKind.BOOT, FENCED), act=act)
    held, void = _stop_runs(world, act)
    fence = Fence(world.id, before, world.incarnation, held, void)
    relayed = Relay.objects.filter(world=world).values_list("relayed", flat=True).first() or 0
    facts = {"incarnation": fence.incarnation, "incarnation_before": before}
    announce(world, kind=RESTORED, payload={**facts, "since": relayed + 1}, now=act.now)
    project_after_commit(world_id=world.id)
    record(
        chain=world.id,
        kind="system.restored",
        act=act,
        subject=world.id,
        before={"incarnation": before},
        after={**facts, "held": list(held), "void": list(void), "remembered": remembered.text if remembered else None},
    )
    return fence


@transaction.atomic
def lift_boot(*, world_id: str, act: Act) -> bool:
    """Open a fenced world again, as far as nothing else holds it; tell whether it was held by the fence.

    What the backup holds was compared with what was true later by whoever does this. A suspicion is not lifted here:
    the fence comes first.
    """
    act.require("gate.lift_kill", world_id)
    world = locked_world(world_id, alive=False)
    if not lift_hold(world=world, kind=HoldKind.BOOT, owner=FENCED):
        return False
    announce(world, kind="activation_updated", payload={"hold_lifted": HoldKind.BOOT}, now=act.now)
    project_after_commit(world_id=world.id)
    record(chain=world.id, kind="gate.hold_released", act=act, subject=HoldKind.BOOT)
    return True


def claims_of_redis(worlds: Iterable[World]) -> dict[str, Position]:
    """Return the highest position that Redis remembers of each world: of its copy, or of what it told.

    Raises:
        StoreUnavailableError: Redis does not answer.
    """
    marks = read_marks()
    claims: dict[str, Position] = {}
    for world in worlds:
        origin, found = origin_of(world), []
        mark, copy = marks.get(world.id), read_copy(world.id)
        if mark is not None and mark.origin == origin:
            found.append(Position(mark.incarnation, mark.sequence, 0))
        if copy is not None and copy.meta.get("origin") == origin:
            found.append(copy.position)
        if found:
            claims[world.id] = max(found)
    return claims


def _stop_runs(world: World, act: Act) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make runs that hold the gate overdue, for the machine to hold them, and approvals void."""
    moving = [state.value for state in HOLDING_STATES - {RunState.HELD, RunState.ROLLING_BACK}]
    held = ApplyRun.objects.select_for_update().filter(world=world, kind=ApplyRun.Kind.INCREASE, state__in=moving)
    held_ids = tuple(held.order_by("id").values_list("run_id", flat=True))
    past = act.now - timedelta(seconds=1)
    held.update(epoch=F("epoch") + 1, deadline_at=past, lease_until=None)
    void = ApplyRun.objects.filter(world=world, state__in=[RunState.REQUESTED.value, RunState.QUEUED.value], auto=False)
    void_ids = tuple(void.order_by("id").values_list("run_id", flat=True))
    void.update(approval_round=F("approval_round") + 1)
    return held_ids, void_ids


def _closed(world_id: str, remembered: Position, act: Act) -> bool:
    """Close the world; False where its row cannot be had now, so that the next tick tries again."""
    try:
        suspect_restore(world_id=world_id, remembered=remembered, act=act)
    except DatabaseError as error:
        _log.warning("restore_check_postponed", world_id=world_id, detail=str(error))
        return False
    return True


def _rev(position: Position) -> tuple[int, int]:
    """Leave kills out: marks of the bus do not count them."""
    return position.incarnation, position.sequence
