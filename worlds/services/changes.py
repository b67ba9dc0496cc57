"""What every change of a world shares: its row's lock, its sequence, its outbox row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from qmtl_worlds.contracts.errors import WorldArchivedError, WorldNotFoundError
from worlds.models import OutboxEvent, World
from worlds.stores.notices import tell_after_commit


def locked_world(world_id: str, *, alive: bool = True) -> World:
    """Return the world with its row locked until the transaction ends; one order of events per world.

    The lock is ``FOR NO KEY UPDATE``: a kill, which only inserts a hold that points here, never waits for it. SQLite
    has one writer at a time anyway.

    Raises:
        WorldNotFoundError: there is no such world.
        WorldArchivedError: ``alive`` is asked for and the world is archived.
    """
    try:
        world = World.objects.select_for_update(no_key=True).get(id=world_id)
    except World.DoesNotExist as error:
        raise WorldNotFoundError(world_id) from error
    if alive and world.state == World.State.DELETED:
        raise WorldArchivedError(world_id, state=world.state)
    return world


def announce(world: World, *, kind: str, payload: Mapping[str, object], now: datetime) -> int:
    """Give a visible change its sequence number and its outbox row, in the transaction of the change.

    Returns:
        The world's new sequence.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("announce() belongs in the transaction of the change")
    world.sequence = World.objects.bump(world.id)
    OutboxEvent.objects.create(world=world, sequence=world.sequence, kind=kind, payload=dict(payload), created_at=now)
    tell_after_commit(world.id)
    return world.sequence
