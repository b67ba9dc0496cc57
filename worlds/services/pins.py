"""Pins: after a rollback no increase starts by itself until somebody unpins, another policy, or the expiry."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import OperationalError, transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from worlds.models import Pin, World
from worlds.selectors import find_pin
from worlds.services.changes import announce, locked_world

_log = structlog.get_logger(__name__)


def is_pinned(world: World, *, now: datetime) -> bool:
    """Tell whether automatic increases wait; a pin whose time is over holds nothing, though it is still there."""
    pin = find_pin(world.id)
    return pin is not None and (pin.expires_at is None or now < pin.expires_at)


def pin_set(*, world: World, generation: int, expires_at: datetime | None, act: Act) -> Pin:
    """Pin the set to a generation that somebody went back to; an older pin gives way. The caller holds the lock."""
    pin, _ = Pin.objects.update_or_create(
        world=world,
        defaults={
            "generation": generation,
            "policy_version": world.policy.version if world.policy else None,
            "reason": act.reason,
            "pinned_by": act.actor,
            "pinned_at": act.now,
            "expires_at": expires_at,
        },
    )
    announce(world, kind="world_updated", payload={"pinned": True, "generation": generation}, now=act.now)
    record(chain=world.id, kind="rollback.pinned", act=act, subject=f"g{generation}", after=_facts(pin))
    return pin


@transaction.atomic
def unpin(*, world_id: str, act: Act) -> World:
    """Let increases start by themselves again. Twice is once."""
    act.require("gate.reopen", world_id)
    world = locked_world(world_id)
    remove_pin(world=world, cause="unpinned", act=act)
    return world


def expire_pins(*, act: Act) -> None:
    """Take away the pins whose time is over, by the database's clock."""
    for world_id in list(Pin.objects.filter(expires_at__lte=act.now).values_list("world_id", flat=True)):
        try:
            _expire(world_id, act)
        except OperationalError as error:  # somebody holds the world's lock
            _log.warning("unpin_postponed", world_id=world_id, detail=str(error))


def remove_pin(*, world: World, cause: str, act: Act) -> bool:
    """Take the world's pin away, for ``cause``; tell whether there was one. The caller holds the world's lock."""
    pin = find_pin(world.id)
    if pin is None:
        return False
    facts = _facts(pin)
    pin.delete()
    announce(world, kind="world_updated", payload={"pinned": False}, now=act.now)
    record(
        chain=world.id,
        kind="rollback.unpinned",
        act=act,
        subject=f"g{pin.generation}",
        before=facts,
        after={"cause": cause},
    )
    return True


@transaction.atomic
def _expire(world_id: str, act: Act) -> None:
    world = locked_world(world_id, alive=False)
    if not is_pinned(world, now=act.now):
        remove_pin(world=world, cause="expired", act=act)


def _facts(pin: Pin) -> dict[str, object]:
    return {
        "generation": pin.generation,
        "policy_version": pin.policy_version,
        "expires_at": pin.expires_at.isoformat() if pin.expires_at else None,
    }
