"""Read a world's outbox as a log: from any kept sequence on, and as a snapshot where the asked ones are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from worlds.models import OutboxEvent, World
from worlds.selectors import get_world
from worlds.services.activation import WholeSet, activations_of

RESTORED: Final = "world_restored"
"""The kind of the row with which a world counts in a new incarnation."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One visible change, as it was told."""

    incarnation: int
    sequence: int
    kind: str
    payload: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True)
class Events:
    """What follows the sequence that was asked for, in order and without gap; none where there is nothing new."""

    events: tuple[LoggedEvent, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state in place of events that cannot be had; go on from its position."""

    state: WholeSet


@dataclass(frozen=True, slots=True)
class Restore:
    """From ``since`` on the world's events belong to ``incarnation``, those before it to an earlier one."""

    since: int
    incarnation: int
    before: int


def events_since(
    *, world_id: str, sequence: int, incarnation: int | None = None, limit: int = 500
) -> Events | Snapshot:
    """Return what came after ``sequence``, at most ``limit``; a snapshot where that is not to be had.

    It is not where those rows were compacted away, the sequence was never reached, or ``incarnation`` (of who asks) is
    not the world's: numbers of another one mean other changes.

    Raises:
        WorldNotFoundError: there is no such world.
    """
    world = get_world(world_id)
    if incarnation in {None, world.incarnation} and 0 <= sequence <= world.sequence:
        rows = list(OutboxEvent.objects.filter(world=world, sequence__gt=sequence).order_by("sequence")[:limit])
        if [row.sequence for row in rows] == list(range(sequence + 1, sequence + 1 + len(rows))) and (
            rows or sequence == world.sequence
        ):
            restores = restores_of(world_id)
            return Events(tuple(_logged(row, restores, world) for row in rows))
    return Snapshot(activations_of(world_id=world_id))


def restores_of(world_id: str) -> tuple[Restore, ...]:
    """Return the world's restores that are still in the log, in order."""
    rows = OutboxEvent.objects.filter(world_id=world_id, kind=RESTORED).order_by("sequence")
    return tuple(
        Restore(told["since"], told["incarnation"], told["incarnation_before"])
        for told in rows.values_list("payload", flat=True)
    )


def incarnation_of(sequence: int, restores: Sequence[Restore], world: World) -> int:
    """Return in which incarnation the world was told of ``sequence``."""
    for restore in reversed(restores):
        if restore.since <= sequence:
            return restore.incarnation
    return restores[0].before if restores else world.incarnation


def _logged(row: OutboxEvent, restores: Sequence[Restore], world: World) -> LoggedEvent:
    told_in = incarnation_of(row.sequence, restores, world)
    return LoggedEvent(told_in, row.sequence, row.kind, row.payload, row.created_at)
