"""Give the outbox to the bus, in order per world and at least once, and compact what was given long ago.

Any process may relay at any time: Redis itself leaves out what it was told, and the row only ever moves forward.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import F

from qmtl_worlds.contracts.errors import StoreUnavailableError
from qmtl_worlds.failpoints import reach
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.models import GateHold, OutboxEvent, Relay, World
from worlds.services.event_log import incarnation_of, restores_of
from worlds.services.projection import origin_of
from worlds.services.restore import SUSPECTED
from worlds.services.tick_memory import Outage
from worlds.stores.bus import BusEvent, BusMark, publish, read_marks
from worlds.stores.clock import database_now

BATCH: Final = 500
"""How many events of one world go at once, so that a flood in one does not keep the others waiting."""
TOLD_AGAIN: Final = 1_000
"""How many events a world is told of again where Redis has forgotten everything."""
_log = structlog.get_logger(__name__)
_OUTAGE: Final = Outage("relay_postponed")


@dataclass(frozen=True, slots=True)
class _Pending:
    """What there may be to tell of a world: rows after ``start``; ``absurd`` is a mark that no row bears out."""

    world: World
    start: int
    absurd: BusMark | None

    @property
    def origin(self) -> str:
        """Return which world of that name it is."""
        return origin_of(self.world)


def relay_outbox(*, world_ids: Iterable[str] | None = None, compared: Collection[str] = ()) -> bool:
    """Give one batch of each world to the bus, or of those that are named; False where Redis is away.

    Where Redis claims to have told more than the rows have, that is a lie for worlds that were ``compared`` with it
    before (``close_restored``); others wait, since their rows may be the older ones. An event that cannot be told keeps
    its own world waiting and no other.
    """
    since = time.monotonic()
    try:
        marks = read_marks()
        for pending in _pending(world_ids, marks):
            if pending.absurd is None or pending.absurd.origin != pending.origin or pending.world.id in compared:
                _guarded(pending)
    except StoreUnavailableError as error:
        _OUTAGE.failed(since=since, cause=repr(error.__cause__))
        return False
    _OUTAGE.over()
    return True


def compact_outbox(*, now: datetime) -> int:
    """Remove a batch of each world's rows that were relayed and are neither among the last nor young.

    Returns:
        How many rows went.
    """
    long = Relay.objects.filter(relayed__gt=F("compacted"), world__sequence__gt=F("compacted") + settings.OUTBOX_KEEP)
    before = now - timedelta(days=settings.OUTBOX_KEEP_DAYS)
    return sum(_compact(relay, before) for relay in long.select_related("world"))


def _pending(world_ids: Iterable[str] | None, marks: dict[str, BusMark]) -> list[_Pending]:
    """List who may have something to tell; a world that awaits its restore fence tells nothing (its ids are taken)."""
    waiting = GateHold.objects.filter(kind=HoldKind.BOOT.value, owner=SUSPECTED).values("world_id")
    worlds = World.objects.exclude(id__in=waiting).select_related("relay")
    if world_ids is not None:
        worlds = worlds.filter(id__in=list(world_ids))
    found = [_start(world, marks.get(world.id)) for world in worlds]
    return [pending for pending in found if pending.absurd or pending.start < pending.world.sequence]


def _start(world: World, mark: BusMark | None) -> _Pending:
    """Begin where the rows say, or before it where Redis has lost what it was told."""
    relay = getattr(world, "relay", None)
    relayed, compacted = (relay.relayed, relay.compacted) if relay else (0, 0)
    absurd = None
    if mark and (mark.origin != origin_of(world) or _is_absurd(mark, world)):
        mark, absurd = None, mark
    if mark is None:
        return _Pending(world, max(compacted, relayed - TOLD_AGAIN), absurd)
    heard = mark.sequence if mark.incarnation == world.incarnation else _end_of(mark.incarnation, world)
    return _Pending(world, max(compacted, min(relayed, heard)), None)


def _end_of(incarnation: int, world: World) -> int:
    """Return the last sequence that was told in an incarnation before the present one."""
    later = [restore.since for restore in restores_of(world.id) if restore.incarnation > incarnation]
    return min(later, default=1) - 1


def _is_absurd(mark: BusMark, world: World) -> bool:
    return (mark.incarnation, mark.sequence) > (world.incarnation, world.sequence)


def _guarded(pending: _Pending) -> None:
    try:
        _relay(pending)
    except StoreUnavailableError:
        raise
    except (DatabaseError, ValueError, TypeError, KeyError) as error:
        _log.exception("relay_refused", world_id=pending.world.id, detail=str(error))


def _relay(pending: _Pending) -> None:
    world = pending.world
    rows = list(OutboxEvent.objects.filter(world=world, sequence__gt=pending.start).order_by("sequence")[:BATCH])
    if not rows:
        return
    if rows[0].sequence != pending.start + 1:
        _log.error("outbox_gap", world_id=world.id, after=pending.start, found=rows[0].sequence)
    restores = restores_of(world.id)
    events = [
        BusEvent(
            world_id=world.id,
            incarnation=incarnation_of(row.sequence, restores, world),
            sequence=row.sequence,
            kind=row.kind,
            payload=row.payload,
            at=row.created_at,
        )
        for row in rows
    ]
    reach("relay.before_publish")
    publish(world_id=world.id, origin=pending.origin, events=events, disbelieved=pending.absurd)
    reach("relay.after_publish")
    _store(world, rows[-1].sequence)


def _store(world: World, relayed: int) -> None:
    """Move the row forward, never back: somebody may have told more meanwhile."""
    now = database_now()
    if getattr(world, "relay", None) is None:
        Relay.objects.bulk_create([Relay(world=world, changed_at=now)], ignore_conflicts=True)
    Relay.objects.filter(world=world, relayed__lt=relayed).update(relayed=relayed, changed_at=now)


@transaction.atomic
def _compact(relay: Relay, before: datetime) -> int:
    last = min(relay.relayed, relay.world.sequence - settings.OUTBOX_KEEP)
    rows = OutboxEvent.objects.filter(world=relay.world_id, sequence__gt=relay.compacted, sequence__lte=last)
    batch = list(rows.order_by("sequence").values_list("sequence", "created_at")[:BATCH])
    young = next((place for place, (_, created_at) in enumerate(batch) if created_at >= before), len(batch))
    if not young:
        return 0
    end = batch[young - 1][0]
    Relay.objects.filter(pk=relay.pk, compacted__lt=end).update(compacted=end)
    gone, _ = OutboxEvent.objects.filter(world=relay.world_id, sequence__lte=end).delete()
    return gone
