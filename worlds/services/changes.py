"""What every change of a world shares: its row's lock, its sequence, its outbox row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from qmtl_worlds.contracts.errors import WorldArchivedError, WorldNotFoundError
from worlds.models import World
from worlds.stores.notices import tell_after_commit
from worlds.stores.world_rows import insert_events


class VisibleChange(NamedTuple):
    """What is told of a change to whoever follows the world; ``payload`` is a JSON object."""

    kind: str
    payload: Mapping[str, object]


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
    """Tell of one visible change, as ``announce_all`` does of several, and return its sequence number."""
    (sequence,) = announce_all(world, [VisibleChange(kind=kind, payload=payload)], now=now)
    return sequence


def announce_all(world: World, changes: Sequence[VisibleChange], *, now: datetime) -> range:
    """Give visible changes a sequence number and an outbox row each, in the transaction of the changes.

    Returns:
        Their numbers; the last one is the world's new sequence.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("What is announced belongs in the transaction of the change.")
    world.sequence = World.objects.bump(world.id, by=len(changes))
    numbers = range(world.sequence - len(changes) + 1, world.sequence + 1)
    rows = [(number, one.kind, one.payload) for number, one in zip(numbers, changes, strict=True)]
    insert_events(world.id, rows, now=now)
    tell_after_commit(world.id)
    return numbers
