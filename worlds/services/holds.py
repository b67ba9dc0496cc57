"""Freeze and pause: what an operator may do at once, and take back."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.holds import Hold, HoldKind, make_hold
from worlds.models import GateHold, World
from worlds.services.changes import announce, locked_world
from worlds.services.projection import project_after_commit
from worlds.stores.world_rows import read_holds


@transaction.atomic
def freeze(*, world_id: str, act: Act) -> World:
    """Let only orders that reduce risk through; the active set is kept. Twice is once."""
    act.require("gate.close", world_id)
    world = locked_world(world_id)
    if place_hold(world=world, hold=make_hold(HoldKind.FREEZE, "operator"), act=act):
        announce(world, kind="activation_updated", payload={"hold": HoldKind.FREEZE}, now=act.now)
        project_after_commit(world_id=world.id)
        record(chain=world.id, kind="gate.frozen", act=act, subject=world.id)
        transaction.on_commit(partial(reach, "hold.after_commit", "freeze"))
        reach("hold.before_commit", "freeze")
    return world


@transaction.atomic
def unfreeze(*, world_id: str, act: Act) -> World:
    """Lift the operators' freeze, and nothing else: other holds stay."""
    act.require("gate.reopen", world_id)
    world = locked_world(world_id)
    if lift_hold(world=world, kind=HoldKind.FREEZE, owner="operator"):
        announce(world, kind="activation_updated", payload={"hold_lifted": HoldKind.FREEZE}, now=act.now)
        project_after_commit(world_id=world.id)
        record(chain=world.id, kind="gate.unfrozen", act=act, subject=world.id)
        transaction.on_commit(partial(reach, "hold.after_commit", "unfreeze"))
        reach("hold.before_commit", "unfreeze")
    return world


@transaction.atomic
def pause(*, world_id: str, act: Act) -> World:
    """Start no increase by itself any more; what is active goes on trading."""
    act.require("gate.close", world_id)
    return _set_paused(world_id, act, paused=True)


@transaction.atomic
def resume(*, world_id: str, act: Act) -> World:
    """Let the schedule request increases again."""
    act.require("gate.reopen", world_id)
    return _set_paused(world_id, act, paused=False)


def place_hold(*, world: World, hold: Hold, act: Act) -> bool:
    """Add a hold to the set, and tell whether that changes anything; of two that are the same the stricter stays.

    The caller holds the world's lock, so nobody else adds the same one meanwhile.
    """
    named = {"scope": hold.key.text if hold.key else "", "kind": hold.kind.value, "owner": hold.owner}
    told = {"level": hold.level.value, "reason": act.reason, "placed_by": act.actor, "placed_at": act.now}
    placed = (row for row in read_holds(world.id) if (row.scope, row.kind, row.owner) == tuple(named.values()))
    if (same := next(placed, None)) is None:
        GateHold.objects.create(world=world, **named, **told)
        return True
    if hold.level.strictness <= GateLevel(same.level).strictness:
        return False
    GateHold.objects.filter(world=world, **named).update(**told)
    return True


def lift_hold(*, world: World, kind: HoldKind, owner: str, scope: str = "") -> bool:
    """Take exactly this hold away; tell whether it was there."""
    deleted, _ = GateHold.objects.filter(world=world, scope=scope, kind=kind.value, owner=owner).delete()
    return deleted > 0


def _set_paused(world_id: str, act: Act, *, paused: bool) -> World:
    world = locked_world(world_id)
    if world.paused != paused:
        world.paused = paused
        world.save(update_fields=["paused"])
        announce(world, kind="world_updated", payload={"paused": paused}, now=act.now)
        record(chain=world.id, kind="gate.paused" if paused else "gate.unpaused", act=act, subject=world.id)
    return world
