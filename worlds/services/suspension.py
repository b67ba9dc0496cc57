"""Suspend a world: every gate closed, nothing deleted, until somebody with the right takes it up again."""

from __future__ import annotations

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from worlds.models import World
from worlds.services.changes import announce, locked_world
from worlds.services.projection import project_after_commit


@transaction.atomic
def suspend_world(*, world_id: str, act: Act) -> World:
    """Close every gate of the world, for exits too; the active set is kept. Twice is once."""
    act.require("gate.close", world_id)
    return _set_state(world_id, World.State.SUSPENDED, "world.suspended", act)


@transaction.atomic
def take_up_world(*, world_id: str, act: Act) -> World:
    """Take a suspended world up again; holds of every other kind stay."""
    act.require("apply.approve", world_id)
    return _set_state(world_id, World.State.ACTIVE, "world.resumed", act)


def _set_state(world_id: str, state: World.State, kind: str, act: Act) -> World:
    world = locked_world(world_id)
    if world.state == state:
        return world
    before = world.state
    world.state, world.changed_at = state, act.now
    world.save(update_fields=["state", "changed_at"])
    announce(world, kind="world_updated", payload={"state": state.value}, now=act.now)
    project_after_commit(world_id=world.id)
    record(chain=world.id, kind=kind, act=act, subject=world.id, before={"state": before}, after={"state": state})
    return world
